#!/usr/bin/env bash
# Installs the core, builds examples/cpp against what was installed, and lets it talk to a Node peer.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d /dev/shm/cfc-example-XXXXXX)
trap 'rm -rf "$work"' EXIT

{
  cmake -S native -B "$work/core" -DCMAKE_BUILD_TYPE=Release \
    -DCFC_BUILD_TESTS=OFF -DCFC_BUILD_MODELS=OFF -DCFC_BUILD_CLI=OFF
  cmake --build "$work/core" -j2
  cmake --install "$work/core" --prefix "$work/installed"
  cmake -S examples/cpp -B "$work/example" -DCMAKE_PREFIX_PATH="$work/installed"
  cmake --build "$work/example"
} >"$work/log" 2>&1 || {
  cat "$work/log"
  exit 1
}

node examples/cpp/peer.mjs "$work/example/upper"
