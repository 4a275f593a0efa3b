#!/usr/bin/env bash
# Builds the native tests one way and runs them. Each way has its own folder
# below native/build, so that switching costs no rebuild.
#
#   scripts/test-native.sh gcc|clang|asan|tsan [arguments for core_tests]
#   scripts/test-native.sh gcc --build TARGET… builds these programs, and runs nothing
#   scripts/test-native.sh models|sched        [arguments for ctest]
set -euo pipefail
cd "$(dirname "$0")/.."

variant=${1:?gcc, clang, asan, tsan, models or sched}
shift

options=(-DCFC_BUILD_CLI=OFF -DCFC_BUILD_MODELS=OFF -DCFC_FAIL_POINTS=ON)
options+=(-DCMAKE_COMPILE_WARNING_AS_ERROR=ON -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O2 -g") # assert() stays
target=core_tests
source=native
case $variant in
  gcc) compiler=g++ ;;
  clang) compiler=clang++ ;;
  asan) compiler=clang++ options+=(-DCFC_SANITIZE=address,undefined) ;;
  tsan) compiler=clang++ options+=(-DCFC_SANITIZE=thread) ;;
  models)
    compiler=g++ target=all
    options=(-DCMAKE_BUILD_TYPE=Release -DCFC_BUILD_CLI=OFF -DCFC_BUILD_TESTS=OFF)
    ;;
  sched) compiler=g++ target=all source=native/sched options=(-DCMAKE_BUILD_TYPE=None) ;;
  *)
    echo "test-native: no such variant: $variant" >&2
    exit 2
    ;;
esac

build=native/build/$variant
cmake -S "$source" -B "$build" -G Ninja -DCMAKE_CXX_COMPILER="$compiler" "${options[@]}" \
  --log-level=WARNING >/dev/null
if [ "${1:-}" = --build ]; then
  shift
  exec cmake --build "$build" --target "$@" -j2
fi
cmake --build "$build" --target "$target" -j2

if [ "$variant" = models ] || [ "$variant" = sched ]; then
  exec ctest --test-dir "$build" -j2 --output-on-failure --no-tests=error "$@"
fi

# Sanitizers lay out the address space themselves, which a kernel that
# randomises more of it than they expect can upset.
launch=()
if [ "$variant" = tsan ] && setarch -R true 2>/dev/null; then launch=(setarch -R); fi

export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:detect_stack_use_after_return=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-halt_on_error=1:second_deadlock_stack=1}
if [ $# -gt 0 ]; then exec "${launch[@]}" timeout --kill-after=10 900 "$build/core_tests" "$@"; fi
exec "${launch[@]}" scripts/run-core-tests.sh "$build/core_tests"
