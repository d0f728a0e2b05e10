#!/usr/bin/env bash
# Compares the sidecar with s6, runit, supervisord and monit: builds it as it is delivered, fetches
# the others from Debian 12, and prints the tables of versus.py, which gets the arguments. The
# packages are unpacked and not installed: an installed one would start a service.
set -euo pipefail
cd "$(dirname "$0")/../.."

packages=(
  s6 libs6-2.11 libskarnet2.13 libexecline2.9
  runit
  supervisor python3-pkg-resources
  # What else it links is on every Debian.
  monit libssl3
)
tools="$PWD/target/versus-tools"

cargo build --profile dist -p lubdub-sidecar

missing=()
mkdir -p "$tools"
for package in "${packages[@]}"; do
  compgen -G "$tools/${package}_*.deb" >/dev/null || missing+=("$package")
done
if [ "${#missing[@]}" -gt 0 ]; then
  as_root=()
  [ "$(id -u)" = 0 ] || as_root=(sudo -n)
  fetch() { (cd "$tools" && apt-get -q -o APT::Sandbox::User=root download "${missing[@]}") >&2; }
  fetch || { "${as_root[@]}" apt-get update -q >&2 && fetch; }
fi
# Always: an earlier run may have been cut off in between.
for package in "$tools"/*.deb; do
  dpkg -x "$package" "$tools"
done

exec python3 -B tests/versus/versus.py --sidecar target/dist/lubdub-sidecar "$@"
