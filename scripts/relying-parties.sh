#!/usr/bin/env bash
# Runs relying parties built with third-party libraries against Gatehouse: openid-client and oidc-client-ts from npm
# (the latter in Chromium) and zitadel/oidc from Go. `relying-parties.sh` runs them all; `relying-parties.sh prepare
# DIR` only installs them into DIR, for RELYING_PARTIES=DIR of the tests in cmd/gatehouse.
set -euo pipefail
cd "$(dirname "$0")/.."

prepare() {
	local dir=$1
	cp -R cmd/gatehouse/testdata/relying-parties/. "$dir/"
	(cd "$dir" && npm ci --silent --ignore-scripts >&2)
	(cd "$dir/zitadel" && CGO_ENABLED=0 go build -o ../relying-party . >&2)
}

case ${1:-run} in
prepare)
	prepare "$2"
	;;
run)
	tools=$(scripts/setup.sh)
	eval "$tools"
	dir=$(mktemp -d)
	trap 'rm -rf "$dir"' EXIT
	prepare "$dir"
	RELYING_PARTIES=$dir CI=true \
		go test -count=1 -v -run RelyingParties ./cmd/gatehouse
	;;
*)
	echo "usage: relying-parties.sh [run | prepare DIR]" >&2
	exit 2
	;;
esac
