#!/usr/bin/env bash
# reviewer.sh NAME TEXT WORD: says WORD of each file that contains TEXT.
source "$(dirname "$0")/common.sh"

text=$(printf '%b' "$2")
word=$3
look() {
  if grep -qF -- "$text" "$1"; then echo "$word"; else echo fine; fi
}
serve "$1" look
