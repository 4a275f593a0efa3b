#!/usr/bin/env bash
# Builds the addon with AddressSanitizer and UBSan, and terminates workers that use it.
#
#   npm run test:addon [-- --cycles 10000]
#
# Three hundred cycles where nothing is said. Ten thousand are a campaign of hours, as a worker under
# AddressSanitizer takes a second of a CPU to begin and end; `pkill -INT -f teardown.mjs` ends it
# early, and it says of how many cycles.
# Node itself is not instrumented, so the run-time libraries are loaded before it. It leaks on
# purpose as it exits: of what LeakSanitizer finds, only allocations of ours count.
set -euo pipefail
cd "$(dirname "$0")/.."

cycles=300
if [ "${1:-}" = --cycles ] && [[ ${2:-} =~ ^[0-9]+$ ]]; then
  cycles=$2
elif [ $# -gt 0 ]; then
  echo "usage: test-addon.sh [--cycles N]" >&2
  exit 2
fi

build=native/build/addon-asan
headers=$(node -e "import('./scripts/node-headers.mjs').then((m) => console.log(m.installedHeaders() ?? ''))")
if [ -z "$headers" ]; then
  echo "test-addon: no C headers beside $(command -v node)" >&2
  exit 2
fi
cmake -S native -B "$build" -G Ninja -DCMAKE_CXX_COMPILER=g++ -DCFC_SANITIZE=address,undefined \
  -DCMAKE_JS_INC="$headers/include/node" -DCFC_BUILD_TESTS=OFF -DCFC_BUILD_MODELS=OFF \
  -DCFC_BUILD_CLI=OFF --log-level=WARNING >/dev/null
cmake --build "$build" --target cfc_addon -j2
mkdir -p "$build/package/build/Release"
cp "$build/cfc.node" "$build/package/build/Release/"

library() { g++ -print-file-name="$1"; }
report=$(mktemp)
verdict=$(mktemp)
trap 'rm -f "$report" "$verdict"' EXIT
status=0
CFC_PREBUILD="$PWD/$build/package" \
  LD_PRELOAD="$(library libasan.so) $(library libubsan.so) $(library libstdc++.so.6)" \
  ASAN_OPTIONS=detect_leaks=1:handle_segv=0:handle_sigbus=0:use_sigaltstack=0:fast_unwind_on_malloc=0 \
  UBSAN_OPTIONS=print_stacktrace=1 \
  timeout --kill-after=10 $((120 + 2 * cycles)) node scripts/teardown.mjs "$cycles" 2>"$report" |
  tee "$verdict" || status=$?

# Blocks of the report begin with a size; the first frames say who allocated.
ours=$(awk '/(leak|Leak) of [0-9]+ byte/ { block = $0; frames = 0; next }
  /^ *#[0-9]+ / && ++frames <= 3 && /cfc\.node/ { print block; print; frames = 9 }' "$report")
if grep -qE 'ERROR: AddressSanitizer|runtime error|FATAL' "$report"; then
  cat "$report"
  exit 1
fi
if [ -n "$ours" ]; then
  echo "$ours"
  exit 1
fi
# Leaks of others alone end the process with the sanitizer's code, so its own word counts.
if ! grep -q '"ok":true' "$verdict"; then
  cat "$report"
  exit "$((status ? status : 1))"
fi
