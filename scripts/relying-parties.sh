#!/usr/bin/env bash
# Runs relying parties by others against Gatehouse: openid-client and oidc-client-ts from npm (the latter in Chromium),
# and from Go zitadel/oidc, oauth2-proxy and the authenticator of the Kubernetes API server. `relying-parties.sh` runs
# them all; `relying-parties.sh prepare DIR` only installs them into DIR, for RELYING_PARTIES=DIR of the tests in
# cmd/gatehouse.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/programs.sh

prepare() {
	local dir=$1
	cp -R cmd/gatehouse/testdata/relying-parties/. "$dir/"
	(cd "$dir" && npm ci --silent --ignore-scripts >&2)
	local -x CGO_ENABLED=0
	(cd "$dir/zitadel" && go build -o ../relying-party . >&2)
	# Their go.mod files have the same version of each module that both use, so that it is compiled once.
	(cd "$dir/oauth2-proxy" && go build -ldflags='-s -w' -o oauth2-proxy github.com/oauth2-proxy/oauth2-proxy/v7 >&2)
	(cd "$dir/kubernetes" && go build -ldflags='-s -w' -o kubernetes . >&2)
}

run_programs RELYING_PARTIES RelyingParties "$@"
