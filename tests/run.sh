#!/usr/bin/env bash
# Installs what the tests need and is missing, then runs all checks: format, lints, docs, protocol,
# every test. From an empty clone, as any user; apt is only used (as root, or through sudo) for
# what is not there yet.
set -euo pipefail
cd "$(dirname "$0")/.."

export PATH="$PATH:$HOME/.cargo/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
export CARGO_INCREMENTAL=0
export RUSTFLAGS="-D warnings"
export RUSTDOCFLAGS="-D warnings"

say() { printf '\n== %s\n' "$*"; }

# PROGRAM PACKAGE: a program, and the Debian package that brings it.
needed=(
  "cc gcc"
  "git git"
  "python3 python3"
  "systemd-notify systemd"
  "unshare util-linux"
  "mount mount"
  "setsid util-linux"
  "df coreutils"
)
missing=()
for line in "${needed[@]}"; do
  read -r program package <<<"$line"
  command -v "$program" >/dev/null || missing+=("$package")
done
venv="$PWD/target/test-venv"
if [ ! -x "$venv/bin/pip" ] && ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
  missing+=(python3-venv)
fi
if [ "${#missing[@]}" -gt 0 ]; then
  say "installing ${missing[*]}"
  as_root=()
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "please install: ${missing[*]}" >&2; exit 1; }
    as_root=(sudo -n)
  fi
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -yq --no-install-recommends "${missing[@]}"
fi
command -v cargo >/dev/null || { echo "please install Rust: https://rustup.rs" >&2; exit 1; }

say "the clients and the linter from PyPI"
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check \
  buf-bin==1.75.0 sdnotify==0.3.2 systemd-watchdog==1.0.1
export LUBDUB_TEST_PYTHON="$venv/bin/python3"

say "protocol: lint and format"
(cd proto && "$venv/bin/buf" lint && "$venv/bin/buf" format -d --exit-code)

say "format"
cargo fmt --all --check

say "lints"
cargo clippy --workspace --all-targets --quiet -- -D warnings

say "docs"
cargo doc --workspace --no-deps --document-private-items --quiet

say "programs under test"
cargo build --workspace --bins --quiet

say "tests"
if cargo nextest --version >/dev/null 2>&1; then
  profile=default
  [ -z "${CI:-}" ] || profile=ci
  cargo nextest run --workspace --profile "$profile"
else
  # The same tests without nextest: one at a time, since those that measure a time need the machine.
  cargo test --workspace --quiet -- --test-threads=1
fi
