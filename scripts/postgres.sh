#!/usr/bin/env bash
# Provides a PostgreSQL for tests: prints TEST_POSTGRES_DSN if that is set; otherwise creates a temporary cluster from
# local binaries, never as root; otherwise starts a container. `postgres.sh start DIR` prints the URL, `postgres.sh stop
# DIR` stops the server and removes DIR; between the two `down DIR` and `up DIR` stop and start it as an operator does.
# `start` with OWN=1 creates a cluster even when TEST_POSTGRES_DSN is set. Commits are not durable, which makes tests
# faster; with DURABLE=1 they are, as benchmarks need.
set -euo pipefail
command=${1:-} dir=${2:-}
if [ -z "$command" ] || [ -z "$dir" ]; then
	echo "usage: postgres.sh start|down|up|stop DIR" >&2
	exit 2
fi

# run_as_owner runs a command as the owner of the cluster. PostgreSQL refuses to run as root, so for root the owner is
# another account.
run_as_owner() {
	if [ "$(id -u)" = 0 ]; then
		runuser -u "$(cat "$dir/account")" -- "$@"
	else
		"$@"
	fi
}

find_binaries() {
	local found
	found=$(command -v pg_ctl || true)
	if [ -z "$found" ]; then
		found=$(find /usr/lib/postgresql /usr/local/pgsql /opt/homebrew/opt -maxdepth 4 -name pg_ctl 2>/dev/null |
			sort -V | tail -n 1)
	fi
	[ -n "$found" ] && dirname "$(readlink -f "$found")"
}

start_local() {
	local bin=$1 port socket="$dir/socket" fast="-c fsync=off -c full_page_writes=off -c synchronous_commit=off"
	[ -z "${DURABLE:-}" ] || fast="" # benchmarks pay for durability
	if [ "$(id -u)" = 0 ]; then
		if id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi >"$dir/account"
		chown "$(cat "$dir/account")" "$dir"
	fi
	chmod 711 "$dir"
	run_as_owner mkdir -p "$socket"
	run_as_owner "$bin/initdb" -D "$dir/data" -U gatehouse -A trust -E UTF8 --no-sync >"$dir/initdb.log" 2>&1 ||
		{ cat "$dir/initdb.log" >&2; exit 1; }
	for port in $(shuf -i 20000-29999 -n 20 2>/dev/null || seq 20432 20452); do
		if run_as_owner "$bin/pg_ctl" -D "$dir/data" -w -t 60 -l "$dir/data/server.log" \
			-o "-p $port -k $socket -c listen_addresses=127.0.0.1 -c max_connections=300 $fast" \
			start >"$dir/start.log" 2>&1; then
			echo "$bin" >"$dir/bin"
			echo "-p $port -k $socket -c listen_addresses=127.0.0.1 -c max_connections=300 $fast" >"$dir/options"
			echo "postgres://gatehouse@127.0.0.1:$port/postgres?sslmode=disable"
			return
		fi
	done
	cat "$dir/start.log" "$dir/data/server.log" >&2
	exit 1
}

start_docker() {
	local id port
	id=$(docker run -d -e POSTGRES_USER=gatehouse -e POSTGRES_HOST_AUTH_METHOD=trust -p 127.0.0.1::5432 postgres:17 \
		-c max_connections=300 -c fsync=off)
	echo "$id" >"$dir/container"
	for _ in $(seq 60); do
		if docker exec "$id" pg_isready -q -h 127.0.0.1 -U gatehouse; then
			port=$(docker port "$id" 5432/tcp | head -n 1 | sed 's/.*://')
			echo "postgres://gatehouse@127.0.0.1:$port/gatehouse?sslmode=disable"
			return
		fi
		sleep 1
	done
	docker logs "$id" >&2
	exit 1
}

case $command in
start)
	if [ -n "${TEST_POSTGRES_DSN:-}" ] && [ -z "${OWN:-}" ]; then
		echo "$TEST_POSTGRES_DSN"
		exit 0
	fi
	mkdir -p "$dir"
	if bin=$(find_binaries) && [ -n "$bin" ]; then
		start_local "$bin"
	elif docker info >/dev/null 2>&1; then
		start_docker
	else
		cat >&2 <<-'HELP'
			The tests need PostgreSQL, which is not installed. "make test" installs it on Debian and Ubuntu; elsewhere install
			it, start Docker, or use an existing server. Each test has a schema there. Some of them remain, with names that
			begin with spare_ and reference_, and the next run uses them:
			  export TEST_POSTGRES_DSN='postgres://user:password@127.0.0.1:5432/database?sslmode=disable'
		HELP
		exit 1
	fi
	;;
down)
	if [ -f "$dir/container" ]; then
		docker stop "$(cat "$dir/container")" >/dev/null
	else
		run_as_owner "$(cat "$dir/bin")/pg_ctl" -D "$dir/data" -m fast -w stop >/dev/null
	fi
	;;
up)
	if [ -f "$dir/container" ]; then
		docker start "$(cat "$dir/container")" >/dev/null
	else
		run_as_owner "$(cat "$dir/bin")/pg_ctl" -D "$dir/data" -w -t 60 -l "$dir/data/server.log" \
			-o "$(cat "$dir/options")" start >/dev/null
	fi
	;;
stop)
	if [ -f "$dir/container" ]; then
		docker rm -f "$(cat "$dir/container")" >/dev/null
	elif [ -f "$dir/bin" ]; then
		run_as_owner "$(cat "$dir/bin")/pg_ctl" -D "$dir/data" -m immediate -w stop >/dev/null || true
	fi
	rm -rf "$dir"
	;;
*)
	echo "usage: postgres.sh start|down|up|stop DIR" >&2
	exit 2
	;;
esac
