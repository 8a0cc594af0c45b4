#!/usr/bin/env bash
# Runs every test: both engines, the race detector, the browser journeys in Chromium. It finds or starts what it needs
# and says how to install what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

missing=()
command -v go >/dev/null || missing+=("Go 1.26 or newer: https://go.dev/dl/")
# The race detector needs a C compiler.
command -v gcc >/dev/null || command -v clang >/dev/null || missing+=("a C compiler: sudo apt-get install -y gcc libc6-dev")
for name in chromium chromium-browser google-chrome google-chrome-stable; do
	[ -n "${CHROME:-}" ] || CHROME=$(command -v "$name" || true)
done
[ -n "${CHROME:-}" ] || missing+=("Chromium, for the browser journeys: sudo apt-get install -y chromium (or set CHROME to its binary)")
# The relying parties of other people's libraries.
[ "$(node -p 'process.versions.node.split(".")[0]' 2>/dev/null || echo 0)" -ge 20 ] && command -v npm >/dev/null ||
	missing+=("Node.js 20 or newer with npm, for relying parties from npm: https://nodejs.org/")
command -v redis-server >/dev/null || missing+=("Redis, for shared rate limits: sudo apt-get install -y redis-server")
command -v promtool >/dev/null || missing+=("promtool, for metrics and alert rules: sudo apt-get install -y prometheus")
if [ ${#missing[@]} -gt 0 ]; then
	printf 'The tests need, and did not find:\n' >&2
	printf '  - %s\n' "${missing[@]}" >&2
	exit 1
fi
export CHROME

dir=$(mktemp -d)
parties=$(mktemp -d)
apis=$(mktemp -d)
trap 'scripts/postgres.sh stop "$dir"; rm -rf "$parties" "$apis"' EXIT
scripts/relying-parties.sh prepare "$parties"
export RELYING_PARTIES=$parties
scripts/apis.sh prepare "$apis"
export APIS=$apis
TEST_POSTGRES_DSN=$(scripts/postgres.sh start "$dir")
export TEST_POSTGRES_DSN
# With everything found nothing may skip.
export CI=true

go vet ./...
CGO_ENABLED=1 go test -race -timeout 15m "$@" ./...
