#!/usr/bin/env bash
# Runs every program in examples against the build; each must end with code 0.
set -uo pipefail
cd "$(dirname "$0")/.."
shopt -s nullglob

PATH="$PWD/node_modules/.bin:$PATH"
failures=0
for example in examples/*.mjs examples/*.ts examples/*.sh; do
  case $example in
    *.ts) runner=tsx ;;
    *.mjs) runner=node ;;
    *.sh) runner=bash ;;
  esac
  if timeout --kill-after=5 120 "$runner" "$example" </dev/null; then
    echo "example passed: $example"
  else
    echo "example failed: $example"
    failures=$((failures + 1))
  fi
done
exit "$((failures > 0))"
