#!/usr/bin/env bash
# From a fresh clone to a built tree: Debian packages, npm packages, build.
#
#   scripts/setup.sh              what building and testing the package needs
#   scripts/setup.sh --dev        and what linting and the native tests need
#   scripts/setup.sh --packages   Debian packages only (may be given with --dev)
#
# Packages are installed by root only; anyone else is told the command.
set -euo pipefail
cd "$(dirname "$0")/.."

packages=(g++ make python3)
packages+=(prometheus prometheus-alertmanager strace tmux) # of the tests
only_packages=false
for argument in "$@"; do
  case $argument in
    --dev)
      packages+=(binutils clang clang-format clang-tidy cmake doctest-dev)
      packages+=(libclang-rt-14-dev llvm ninja-build util-linux)
      ;;
    --packages) only_packages=true ;;
    *)
      echo "setup: unknown option: $argument" >&2
      exit 2
      ;;
  esac
done

if ! command -v dpkg-query >/dev/null; then
  echo "setup: no Debian here; make sure that there is: ${packages[*]}" >&2
  packages=()
fi
missing=()
for package in "${packages[@]}"; do
  status=$(dpkg-query --show --showformat='${db:Status-Status}' "$package" 2>/dev/null || true)
  [ "$status" = installed ] || missing+=("$package")
done

if [ "${#missing[@]}" -gt 0 ]; then
  if [ "$(id -u)" -ne 0 ]; then
    echo "setup: missing Debian packages; please run:" >&2
    echo "  sudo apt-get install --no-install-recommends ${missing[*]}" >&2
    exit 1
  fi
  echo "setup: installing ${missing[*]}" >&2
  export DEBIAN_FRONTEND=noninteractive
  # Tests run their own servers; none is started for good by being installed.
  if [ ! -e /usr/sbin/policy-rc.d ]; then
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
  fi
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi
if "$only_packages"; then exit 0; fi

too_old='const [a, b] = process.versions.node.split("."); process.exit(a * 1000 + +b < 20017 ? 1 : 0)'
if ! node --eval "$too_old" 2>/dev/null; then
  echo "setup: Node.js 20.17 or later is needed" >&2
  exit 1
fi
npm ci --ignore-scripts --no-audit --no-fund
npm run build
