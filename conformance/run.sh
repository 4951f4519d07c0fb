#!/usr/bin/env bash
# Runs the official SDKs, Python and Node, against live gateways in front of the provider simulator: one that lets
# everybody in, and one where callers need keys.
#
#   conformance/run.sh              everything
#   conformance/run.sh python -k X  only the Python suite; what follows goes to pytest
#   conformance/run.sh node FILE…   only the Node suite; what follows goes to node's test runner
#
# Builds the binary (or takes TIDEGATE_BIN), installs the pinned SDKs into .venv and node_modules beside this file, and
# stops only what it started. All traffic of the tests stays on 127.0.0.1. Ends with 1 when a test failed or none ran.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

readonly START_SECONDS=20     # a debug build is up within one
readonly SUITE_SECONDS=600    # each suite takes two minutes, twice that on a busy machine; a hang must not take the machine with it

suites=(python node)
if [[ ${1-} == python || ${1-} == node ]]; then
  suites=("$1")
  shift
fi

say() { printf 'conformance: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

processes=()
work=$(mktemp -d)
finish() {
  local status=$?
  local process name
  for process in "${processes[@]}"; do
    kill "$process" 2>/dev/null || true
  done
  for process in "${processes[@]}"; do
    wait "$process" 2>/dev/null || true
  done
  if ((status != 0)); then
    for name in gateway keyed-gateway; do
      [[ -s $work/$name.log ]] || continue
      say "the last lines of the log of the $name:"
      tail -n 20 "$work/$name.log" >&2
    done
  fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

# Installs when the pinned versions have changed since the last time.
install_python() {
  local stamp=.venv/installed
  command -v python3 >/dev/null || die "python3 is missing (Debian: apt-get install python3 python3-venv)"
  if ! cmp -s requirements.txt "$stamp"; then
    say "installing the Python SDKs into conformance/.venv"
    rm -rf .venv
    python3 -m venv .venv || die "python3 cannot make a virtual environment (Debian: apt-get install python3-venv)"
    .venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements.txt
    cp requirements.txt "$stamp"
  fi
}
install_node() {
  local stamp=node_modules/installed
  command -v npm >/dev/null || die "node and npm are missing (Debian: apt-get install nodejs npm); node 20 or newer"
  if ! cmp -s package-lock.json "$stamp"; then
    say "installing the Node SDKs into conformance/node_modules"
    npm ci --silent --no-audit --no-fund --ignore-scripts
    cp package-lock.json "$stamp"
  fi
}

# Starts a server and waits for the address it prints. Sets `process` and `address`.
start() {
  local name=$1
  shift
  : >"$work/$name.out" >"$work/$name.log"
  "$@" >"$work/$name.out" 2>"$work/$name.log" &
  process=$!
  processes+=("$process")
  local deadline=$((SECONDS + START_SECONDS))
  until address=$(grep -hoE 'http://127\.0\.0\.1:[1-9][0-9]*' "$work/$name.out" "$work/$name.log" | head -n 1) && [[ -n $address ]]; do
    kill -0 "$process" 2>/dev/null || { cat "$work/$name.out" "$work/$name.log" >&2; die "the $name did not start"; }
    ((SECONDS < deadline)) || { cat "$work/$name.log" >&2; die "the $name did not say its address in time"; }
    sleep 0.05
  done
}

command -v node >/dev/null || die "node is missing (Debian: apt-get install nodejs npm); node 20 or newer"
for suite in "${suites[@]}"; do
  "install_$suite"
done

binary=${TIDEGATE_BIN-}
if [[ -z $binary ]]; then
  cargo build --quiet --manifest-path ../Cargo.toml --package tidegate
  binary=${CARGO_TARGET_DIR:-../target}/debug/tidegate
fi

# Nothing of the caller's own keys, proxies or addresses may reach the SDKs.
for variable in $(compgen -e | grep -E '^(OPENAI|ANTHROPIC|GEMINI|GOOGLE|GENAI)_|_(PROXY|proxy)$' || true); do
  unset "$variable"
done

# Writes a configuration with what is known by now. Sets `config`.
fill_in() {
  local name=$1
  config=$work/$name
  sed -e "s|SIMULATOR_URL|$SIMULATOR_URL|" -e "s|ISSUER_URL|${ISSUER_URL-}|" -e "s|DATA_FOLDER|$work/data-of-$name|" "$name" >"$config"
}

start simulator "$binary" sim --listen 127.0.0.1:0
export SIMULATOR_URL=$address
start issuer node issuer.mjs
export ISSUER_URL=$address
fill_in tidegate.yaml
start gateway "$binary" serve --config "$config"
export TIDEGATE_URL=$address
fill_in keyed.yaml
start keyed-gateway "$binary" serve --config "$config"
export TIDEGATE_KEYED_URL=$address
# A new store shows its first administrator's key, once.
TIDEGATE_ADMIN_KEY=$(grep -ohE 'tg-[0-9A-Za-z]{49}' "$work/keyed-gateway.log" | head -n 1) || die "the gateway showed no administrator's key"
export TIDEGATE_ADMIN_KEY

failed=0
for suite in "${suites[@]}"; do
  say "$suite"
  case $suite in
  python)
    # pytest ends with 5 when it found nothing to run.
    timeout "$SUITE_SECONDS" .venv/bin/python -m pytest -p no:cacheprovider python "$@" || failed=1
    ;;
  node)
    files=("$@")
    ((${#files[@]})) || files=(node/*.test.mjs)
    timeout "$SUITE_SECONDS" node --import ./node/loopback.mjs --test --test-reporter=spec "${files[@]}" | tee "$work/node.out" || failed=1
    # node's runner is content with nothing to run.
    grep -qE '^ℹ pass [1-9]' "$work/node.out" || { say "no Node test ran"; failed=1; }
    ;;
  esac
done

((failed == 0)) || die "failed"
for process in "${processes[@]}"; do
  kill -0 "$process" || die "a server did not survive the tests"
done
say "passed"
