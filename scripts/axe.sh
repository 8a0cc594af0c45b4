#!/usr/bin/env bash
# Runs the browser tests with the accessibility checker axe-core. `axe.sh prepare DIR` only installs it into DIR, for
# AXE=DIR of the tests in cmd/gatehouse.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/programs.sh

prepare() {
	cp -R cmd/gatehouse/testdata/axe/. "$1/"
	(cd "$1" && npm ci --silent --ignore-scripts >&2)
}

run_programs AXE 'Browser|PageScrolls' "$@"
