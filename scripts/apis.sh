#!/usr/bin/env bash
# Runs the API programs of docs/apis.md (Spring Boot, Node.js, Go, Python) against Gatehouse. `apis.sh prepare DIR` only
# installs their libraries into DIR, for APIS=DIR of the tests in cmd/gatehouse.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/programs.sh

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

run_programs APIS TestAPIs "$@"
