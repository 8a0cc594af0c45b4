#!/usr/bin/env bash
# Runs every test: both engines, the race detector, the browser tests in Chromium. scripts/setup.sh installs what is
# missing. This script starts and stops PostgreSQL; the tests start the other servers that they need.
set -euo pipefail
cd "$(dirname "$0")/.."

# This needs none of the tools, and compiles while they are downloaded. It is without cgo, as the product is built: the
# tests that build it find the compiled packages. Only -race needs cgo.
CGO_ENABLED=0 go vet ./... & vet=$!
trap 'wait' EXIT
tools=$(scripts/setup.sh)
eval "$tools"

dir=$(mktemp -d)
parties=$(mktemp -d)
apis=$(mktemp -d)
mcp=$(mktemp -d)
axe=$(mktemp -d)
trap 'wait; scripts/postgres.sh stop "$dir"; rm -rf "$parties" "$apis" "$mcp" "$axe"' EXIT
# These wait for the network most of the time.
scripts/relying-parties.sh prepare "$parties" & installs=($!)
scripts/apis.sh prepare "$apis" & installs+=($!)
scripts/mcp.sh prepare "$mcp" & installs+=($!)
scripts/axe.sh prepare "$axe" & installs+=($!)
scripts/mailpit.sh >/dev/null & installs+=($!)
export RELYING_PARTIES=$parties APIS=$apis MCP=$mcp AXE=$axe
TEST_POSTGRES_DSN=$(scripts/postgres.sh start "$dir")
export TEST_POSTGRES_DSN
# All tools are installed, so no test may be skipped.
export CI=true

wait "$vet"
# The race detector does not instrument the C code of SQLite that is translated to Go: it has locks of its own, and took
# three quarters of the time of the tests on SQLite.
uninstrumented=()
for package in sqlite/lib libc memory; do uninstrumented+=("-gcflags=modernc.org/$package=-race=false"); done
export CGO_ENABLED=1
# This compiles what the tests need, and links nothing, while the programs of others are installed.
go list -race "${uninstrumented[@]}" -export -deps -test ./... >/dev/null
for install in "${installs[@]}"; do wait "$install"; done
MAILPIT=$(scripts/mailpit.sh)
export MAILPIT
# A test that waits, such as for a process or a page, leaves the processor to another one. go vet has run above, with
# more checks than go test would run.
parallel=$((2 * $(getconf _NPROCESSORS_ONLN)))
go test -race "${uninstrumented[@]}" -vet=off -parallel "$parallel" -timeout 45m "$@" ./...
