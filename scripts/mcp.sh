#!/usr/bin/env bash
# Runs the authorization server tests of the MCP conformance suite (npm), the MCP servers of docs/mcp.md and MCP clients
# (SDKs, FastMCP, mcp-remote) against Gatehouse, with Chromium as the user's browser. `mcp.sh prepare DIR` only installs
# them into DIR, for MCP=DIR of the tests in cmd/gatehouse.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/programs.sh

node_major=22 # of the suite and the TypeScript server

prepare() {
	local dir=$1 omit=() installs=() install
	cp -R cmd/gatehouse/testdata/mcp/. "$dir/"
	if [ "$(node -p 'process.versions.node.split(".")[0]')" -ge "$node_major" ]; then
		omit=(--omit=optional) # the system's Node.js runs it
	fi
	(cd "$dir/conformance" && npm ci --silent --ignore-scripts "${omit[@]}" >&2) & installs+=($!)
	(cd "$dir/node" && npm ci --silent --ignore-scripts >&2) & installs+=($!)
	(cd "$dir/go" && CGO_ENABLED=0 go build github.com/modelcontextprotocol/go-sdk/mcp \
		github.com/coreos/go-oidc/v3/oidc >&2) & installs+=($!) # into the cache
	(cd "$dir/python" && python3 -m venv venv &&
		venv/bin/pip install --quiet --disable-pip-version-check --no-deps --no-compile --require-hashes \
			-r requirements.txt >&2) & installs+=($!)
	for install in "${installs[@]}"; do wait "$install"; done
}

run_programs MCP TestMCP "$@"
