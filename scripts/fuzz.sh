#!/usr/bin/env bash
# Builds the fuzzers and runs them beside each other, with memory in /dev/shm. Prints for each what
# was injected, how often the core met the damage, and violations; fails on a violation or on too few
# inputs.
#
#   scripts/fuzz.sh                           the short form of .ci/run
#   scripts/fuzz.sh --runs N [target...]      N inputs each
#   scripts/fuzz.sh --seconds N [target...]   as long as that, each
#
# Targets: cells, files, live. What is found lies in native/build/fuzz/found, and is run again by
#   native/build/fuzz/fuzz/fuzz_TARGET FILE
# New inputs that reach more code are kept in native/build/fuzz/corpus, for the next run here.
set -euo pipefail
cd "$(dirname "$0")/.."

runs=0
seconds=0
targets=()
while [ $# -gt 0 ]; do
  case $1 in
    --runs) runs=${2:?how many}; shift ;;
    --seconds) seconds=${2:?how many}; shift ;;
    cells | files | live) targets+=("$1") ;;
    *)
      echo "fuzz: no such target or option: $1" >&2
      exit 2
      ;;
  esac
  shift
done
if [ "${#targets[@]}" -eq 0 ]; then targets=(cells files live); fi

build=native/build/fuzz
cmake -S native -B "$build" -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DCFC_BUILD_CLI=OFF \
  -DCFC_BUILD_TESTS=OFF -DCFC_BUILD_MODELS=OFF -DCFC_BUILD_FUZZ=ON \
  -DCFC_SANITIZE=address,undefined -DCMAKE_CXX_FLAGS="-fsanitize=fuzzer-no-link" \
  -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O2 -g" --log-level=WARNING >/dev/null
fuzzers=()
for target in "${targets[@]}"; do fuzzers+=("fuzz_$target"); done
cmake --build "$build" --target "${fuzzers[@]}" -j2

shared=$(mktemp -d /dev/shm/cfc-fuzz-XXXXXX)
trap 'rm -rf "$shared"' EXIT
export ASAN_OPTIONS=detect_leaks=1:allow_user_segv_handler=1:handle_sigbus=0
export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1

# How many inputs each gets in the short form: their cost differs.
declare -A short=([cells]=300000 [files]=20000 [live]=8000)

# Runs one, says what it found; fails where it found something, or did too little.
fuzz() {
  local target=$1 most=$runs at_least limits line injected hit
  if [ "$runs" -eq 0 ] && [ "$seconds" -eq 0 ]; then most=${short[$target]}; fi
  at_least=$most
  limits=(-runs="$most")
  if [ "$seconds" -gt 0 ]; then
    limits=(-max_total_time="$seconds")
    at_least=$((seconds * 50))
  fi
  mkdir -p "$build/found" "$build/corpus/$target"
  mkdir -m 0700 "$shared/$target"
  local log=$build/$target.log
  if ! CFC_FUZZ_DIR="$shared/$target" "$build/fuzz/fuzz_$target" "${limits[@]}" -timeout=20 \
    -rss_limit_mb=2048 -max_len=400 -verbosity=0 -print_final_stats=0 \
    -artifact_prefix="$build/found/$target-" \
    "$build/corpus/$target" "native/fuzz/corpus/$target" >"$log" 2>&1; then
    tail -60 "$log"
    echo "fuzz $target: violations 1; see $build/found"
    return 1
  fi
  line=$(grep "^fuzz $target: " "$log" || true)
  echo "${line:-fuzz $target: no count}"
  injected=$(sed -n 's/.*injected \([0-9]*\) .*/\1/p' <<<"$line")
  hit=$(sed -n 's/.*hit \([0-9]*\) .*/\1/p' <<<"$line")
  if [ "${injected:-0}" -lt "$at_least" ] || [ "${hit:-0}" -lt $((at_least / 10)) ]; then
    echo "fuzz $target: too few inputs, or too few that did something: wanted $at_least"
    return 1
  fi
}

running=()
for target in "${targets[@]}"; do
  fuzz "$target" &
  running+=($!)
done
failed=0
for one in "${running[@]}"; do wait "$one" || failed=1; done
exit "$failed"
