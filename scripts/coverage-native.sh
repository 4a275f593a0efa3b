#!/usr/bin/env bash
# How much of native/core the native tests run: lines and branches, as clang counts them in the
# source. Fails below the limits. Counters lie in a mapped file, so those of processes that the
# tests kill count as well. It is the run of the tests under clang, too.
#
#   scripts/coverage-native.sh           all tests, then the table
#   scripts/coverage-native.sh --show    and every line with its counts, in native/build/coverage/show.txt
set -euo pipefail
cd "$(dirname "$0")/.."

least_lines=95
least_branches=90

build=native/build/coverage
cmake -S native -B "$build" -G Ninja -DCMAKE_CXX_COMPILER=clang++ -DCFC_BUILD_CLI=OFF \
  -DCFC_BUILD_MODELS=OFF -DCFC_FAIL_POINTS=ON -DCMAKE_COMPILE_WARNING_AS_ERROR=ON \
  -DCMAKE_CXX_FLAGS_RELWITHDEBINFO="-O1 -g" -DCMAKE_CXX_FLAGS="-fprofile-instr-generate \
  -fcoverage-mapping -mllvm -runtime-counter-relocation -Wno-unused-command-line-argument" \
  --log-level=WARNING >/dev/null
cmake --build "$build" --target core_tests -j2

profiles=$build/profiles
rm -rf "$profiles"
mkdir -p "$profiles"
LLVM_PROFILE_FILE="$PWD/$profiles/core%c.profraw" scripts/run-core-tests.sh "$build/core_tests"
llvm-profdata merge -o "$build/core.profdata" "$profiles"/*.profraw

sources=("$build/core_tests" -instr-profile="$build/core.profdata" -ignore-filename-regex=/test/)
if [ "${1:-}" = --show ]; then
  llvm-cov show "${sources[@]}" --show-branches=count >"$build/show.txt"
fi
llvm-cov export "${sources[@]}" --summary-only >"$build/summary.json"
node - "$build/summary.json" "$least_lines" "$least_branches" <<'JS'
const [file, lines, branches] = process.argv.slice(2);
const { files, totals } = JSON.parse(require('node:fs').readFileSync(file, 'utf8')).data[0];
const row = (name, { lines: l, branches: b }) =>
  console.log(`${name.padEnd(24)} lines ${l.percent.toFixed(1).padStart(5)} %  branches ${b.percent.toFixed(1).padStart(5)} %  (${b.notcovered} of ${b.count} missed)`);
for (const one of files) row(one.filename.split('/').at(-1), one.summary);
row('native/core', totals);
const low = totals.lines.percent < Number(lines) || totals.branches.percent < Number(branches);
console.log(`wanted: lines ${lines} %, branches ${branches} %: ${low ? 'TOO LOW' : 'reached'}`);
process.exit(low ? 1 : 0);
JS
