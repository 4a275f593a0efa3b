#!/usr/bin/env bash
# tester.sh: says of each file whether it runs.
source "$(dirname "$0")/common.sh"

look() {
  if node --check "$1" 2>/dev/null; then echo passes; else echo fails; fi
}
serve tester look
