#!/usr/bin/env bash
# Runs all native tests of a build in two processes beside each other. Much of their time goes to
# waiting for processes that they kill, and a good half of that to one case.
#
#   scripts/run-core-tests.sh BINARY
#
# Where LLVM_PROFILE_FILE is set, a % in it is followed by the number of the process.
set -uo pipefail

binary=$1
longest='Crash: the repairer dies as well*'
limit_s=900

run() {
  local part=$1
  shift
  if [ -n "${LLVM_PROFILE_FILE:-}" ]; then export LLVM_PROFILE_FILE=${LLVM_PROFILE_FILE/\%/$part%}; fi
  timeout --kill-after=10 "$limit_s" "$binary" "$@"
}

said=$(mktemp)
trap 'rm -f "$said"' EXIT
run 1 --test-case="$longest" >"$said" 2>&1 &
run 2 --test-case-exclude="$longest"
status=$?
wait $!
other=$?
cat "$said"
exit $((status != 0 ? status : other))
