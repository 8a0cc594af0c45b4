#!/usr/bin/env bash
# Runs longer fault tests (repeated kill -9, PostgreSQL stopped and started, ten thousand connections), and every
# requirement on three processes. `make test` runs a short form of each.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=$(scripts/setup.sh)
eval "$tools"
dir=$(mktemp -d)
trap 'scripts/postgres.sh stop "$dir"' EXIT
TEST_POSTGRES_DSN=$(scripts/postgres.sh start "$dir")
export TEST_POSTGRES_DSN CI=true TORTURE=1
export CGO_ENABLED=0 # as `make test` compiled everything for vet
faults='TestKillUnderLoad|TestShutdownUnderLoad|TestDatabaseOutageRecovers|TestSlow|TestRollingRestart|TestManyIdle'
go test -count=1 -timeout 45m -run "$faults" ./cmd/gatehouse
requirements='TestEveryFlowOnThree|TestEveryFlowThroughPgBouncer|TestChangeReaches|TestEveryRoute'
go test -count=1 -timeout 45m -run "$requirements|TestRefreshModel|TestStoreMatchesRefreshModel" ./oauth ./storage ./web
