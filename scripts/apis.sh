#!/usr/bin/env bash
# Runs the API programs of docs/apis.md (Spring Boot, Node.js, Go, Python) against Gatehouse. `apis.sh prepare DIR` only
# installs their libraries into DIR, for APIS=DIR of the tests in cmd/gatehouse.
set -euo pipefail
cd "$(dirname "$0")/.."

prepare() {
	local dir=$1
	cp -R cmd/gatehouse/testdata/apis/. "$dir/"
	(cd "$dir/node" && npm ci --silent --ignore-scripts >&2)
	(cd "$dir/go" && go mod download >&2)
	(cd "$dir/python" && python3 -m venv venv &&
		venv/bin/pip install --quiet --disable-pip-version-check --no-deps -r requirements.txt >&2)
	(cd "$dir/spring" &&
		mvn --batch-mode --quiet dependency:copy-dependencies -DincludeScope=runtime -DoutputDirectory=lib >&2)
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
	APIS=$dir APIS_STOCK=true CI=true go test -count=1 -v -run 'TestAPIs' ./cmd/gatehouse
	;;
*)
	echo "usage: apis.sh [run | prepare DIR]" >&2
	exit 2
	;;
esac
