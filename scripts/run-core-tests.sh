#!/usr/bin/env bash
# Runs all native tests of a build in three processes beside each other: much of their time goes to
# waiting for processes that they kill, and half of that to one case.
#
#   scripts/run-core-tests.sh BINARY
#
# Where LLVM_PROFILE_FILE is set, the first % in it is preceded by the number of the process.
set -uo pipefail

binary=$1
longest='Crash: the repairer dies as well*'
crashes='*crash_test.cc'
limit_s=900

run() {
  local part=$1
  shift
  if [ -n "${LLVM_PROFILE_FILE:-}" ]; then export LLVM_PROFILE_FILE=${LLVM_PROFILE_FILE/\%/$part%}; fi
  timeout --kill-after=10 "$limit_s" "$binary" "$@"
}

said=$(mktemp -d)
trap 'rm -rf "$said"' EXIT
run 1 --test-case="$longest" >"$said/1" 2>&1 &
first=$!
run 2 --source-file="$crashes" --test-case-exclude="$longest" >"$said/2" 2>&1 &
second=$!
run 3 --source-file-exclude="$crashes"
failed=$?
wait "$first" || failed=$?
wait "$second" || failed=$?
cat "$said/1" "$said/2"
exit "$failed"
