#!/usr/bin/env bash
# Runs every test: both engines, the race detector, the browser journeys in Chromium. It finds or starts what it needs
# and says how to install what is missing.
set -euo pipefail
cd "$(dirname "$0")/.."

if ! command -v go >/dev/null; then
	echo "Go is missing: install Go 1.26 or newer from https://go.dev/dl/ and run this again." >&2
	exit 1
fi
if ! command -v gcc >/dev/null && ! command -v clang >/dev/null; then
	echo "The race detector needs a C compiler: sudo apt-get install -y gcc libc6-dev" >&2
	exit 1
fi
if [ -z "${CHROME:-}" ]; then
	for name in chromium chromium-browser google-chrome google-chrome-stable; do
		if command -v "$name" >/dev/null; then
			CHROME=$(command -v "$name")
			break
		fi
	done
fi
if [ -z "${CHROME:-}" ]; then
	echo "The browser journeys need Chromium: sudo apt-get install -y chromium (or set CHROME to a Chromium binary)" >&2
	exit 1
fi
export CHROME

dir=$(mktemp -d)
trap 'scripts/postgres.sh stop "$dir"' EXIT
TEST_POSTGRES_DSN=$(scripts/postgres.sh start "$dir")
export TEST_POSTGRES_DSN
# With everything found nothing may skip.
export CI=true

go vet ./...
CGO_ENABLED=1 go test -race -timeout 15m "$@" ./...
