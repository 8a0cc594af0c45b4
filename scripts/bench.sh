#!/usr/bin/env bash
# Runs the benchmarks and writes the results into docs/performance.md and docs/scale.md, each part between its marks:
# bench.sh [part …]. Without arguments it runs all parts except growth, which first loads twenty million rows (12 GB of
# disk and ten minutes; GROWTH_ROWS sets the number). Run nothing else on this host. It needs psql and curl.
set -euo pipefail
cd "$(dirname "$0")/.."
document=docs/performance.md
work=$(mktemp -d)
chmod 755 "$work"
pids=()
finish() {
	for p in "${pids[@]}"; do kill "$p" 2>/dev/null || true; done
	wait
	scripts/postgres.sh stop "$work/pg"
	rm -rf "$work"
}
trap finish EXIT

# A separate durable PostgreSQL, and the settings of all processes. Limits, log, metrics and audit are enabled; the
# limits are high enough for one client with the traffic of thousands.
DSN=$(OWN=1 DURABLE=1 scripts/postgres.sh start "$work/pg")
export GATEHOUSE_DATABASE_URL=$DSN TEST_POSTGRES_DSN=$DSN
export GATEHOUSE_SECRET_KEY=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=
limits=(authorize sign_in stored_request stored_requests token_address token_client token_person introspection
	revocation)
GATEHOUSE_RATE_LIMITS=$(printf '%s=1000000/1s,' "${limits[@]}")
export GATEHOUSE_RATE_LIMITS=${GATEHOUSE_RATE_LIMITS%,} GATEHOUSE_ISSUER=http://127.0.0.1:18080
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/gatehouse" ./cmd/gatehouse
CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o "$work/oauthbench" ./cmd/oauthbench
gatehouse=$work/gatehouse oauthbench=$work/oauthbench

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

# serve PORT starts a process and waits until it is ready; its pid is in $server, and the flags that measure it and its
# database in $processes.
serve() {
	if curl -s -o /dev/null "http://127.0.0.1:$1/"; then
		echo "another process listens on port $1" >&2
		exit 1
	fi
	GATEHOUSE_LISTEN=127.0.0.1:$1 GATEHOUSE_ADMIN_LISTEN=127.0.0.1:$(($1 + 1000)) "$gatehouse" serve 2>"$work/log.$1" &
	server=$!
	pids+=("$server")
	processes=(--server-pid "$server" --database-pid "$(head -n 1 "$work/pg/data/postmaster.pid" 2>/dev/null || echo 0)")
	until curl -sf "http://127.0.0.1:$1/readyz" >/dev/null 2>&1; do
		kill -0 "$server" 2>/dev/null || { cat "$work/log.$1" >&2; exit 1; }
	done
}

resident() { awk '/VmRSS/ { printf "%.0f", $2 / 1024 }' "/proc/$1/status"; }

prepare() {
	[ -f "$work/profile.json" ] && return
	"$gatehouse" migrate up >/dev/null
	"$oauthbench" prepare >"$work/profile.json"
}

bench() { "$oauthbench" --profile "$work/profile.json" "$@"; }

# table prints the table of oauthbench as Markdown.
table() {
	awk '{ gsub(/  +/, " | "); sub(/ \| $/, ""); sub(/ +$/, "") }
		NR == 1 {
			print "| " tolower($0) " |"; n = gsub(/ \| /, " | ")
			printf "|"; for (i = 0; i <= n; i++) printf "---|"
			print ""; next
		}
		{ print "| " $0 " |" }'
}

handlers() {
	go test ./oauth -run '^$' -bench 'ClientCredentials|Introspection|Revocation|Refresh|Code|Metadata' \
		-benchtime "${BENCH_TIME:-2s}" -count "${BENCH_COUNT:-3}" | tee "$work/handlers.txt" >&2
	if grep -q -e '--- FAIL' "$work/handlers.txt"; then return 1; fi
	echo '| Operation | Engine | Gatehouse µs | allocs | bare µs | allocs | ratio |'
	echo '|---|---|---|---|---|---|---|'
	awk '/^Benchmark/ {
		split($1, p, "/"); sub(/-[0-9]+$/, "", p[3]); sub(/^Benchmark/, "", p[1])
		k = p[1] "|" p[2]; if (!(k in seen)) { seen[k] = ++n; keys[n] = k }
		c[k, p[3]]++; t[k, p[3], c[k, p[3]]] = $3 / 1000
		for (i = 4; i <= NF; i++) if ($i == "allocs/op") a[k, p[3]] = $(i - 1)
	}
	function median(k, w,   m, i, j, x) {
		m = c[k, w]
		for (i = 1; i <= m; i++) x[i] = t[k, w, i]
		for (i = 1; i <= m; i++) for (j = i + 1; j <= m; j++) if (x[j] < x[i]) { s = x[i]; x[i] = x[j]; x[j] = s }
		return x[int((m + 1) / 2)]
	}
	END {
		for (i = 1; i <= n; i++) {
			k = keys[i]; split(k, p, "|"); g = median(k, "gatehouse"); b = median(k, "bare")
			printf "| %s | %s | %.0f | %d | %.0f | %d | %.0f %% |\n",
				p[1], p[2], g, a[k, "gatehouse"], b, a[k, "bare"], 100 * b / g
		}
	}' "$work/handlers.txt"
}

http() {
	prepare
	serve 18080
	bench --bare --time "${BENCH_TIME:-3s}" --rounds "${BENCH_COUNT:-3}" "${processes[@]}" | tee "$work/http.txt" >&2
	resident "$server" >"$work/loaded"
	table <"$work/http.txt"
	kill "$server" && wait "$server" || true
	local ready=() began
	for _ in 1 2 3 4 5; do
		began=$(milliseconds)
		serve 18080
		ready+=($(($(milliseconds) - began)))
		sleep 3 # idle: its startup work is done
		resident "$server" >"$work/idle"
		kill "$server" && wait "$server" || true
	done
	printf '\nReady %s ms after its start on a migrated database (median of five); %s MiB resident when idle, ' \
		"$(printf '%s\n' "${ready[@]}" | sort -n | sed -n 3p)" "$(cat "$work/idle")"
	printf '%s MiB after\nthe load above; ' "$(cat "$work/loaded")"
	awk -v n="$(stat -c %s "$gatehouse")" 'BEGIN { printf "the binary has %.1f MB.\n", n / 1e6 }'
}

overload() {
	prepare
	serve 18080
	echo 'Throughput with increasing concurrency, at the default limit of concurrent requests (1024):'
	echo
	bench --workload client_credentials,refresh --connections 8,64,256,1000 --time "${BENCH_TIME:-3s}" --rounds 3 |
		tee "$work/overload.txt" >&2
	table <"$work/overload.txt"
	kill "$server" && wait "$server" || true
	GATEHOUSE_MAX_REQUESTS=16 serve 18080
	echo
	echo 'The same at a limit of 16 concurrent requests: the requests that were served, and refusals (503 with'
	echo '`Retry-After`) as errors:'
	echo
	bench --workload client_credentials --connections 8,64,256 --time "${BENCH_TIME:-3s}" --rounds 3 2>/dev/null |
		tee "$work/shed.txt" >&2
	table <"$work/shed.txt"
	kill "$server" && wait "$server" || true
	serve 18080
	echo
	echo 'Token requests of two connections, without and during a burst of sign-ins (16 connections that sign in with a'
	echo 'password without pause):'
	echo
	bench --workload client_credentials,refresh --connections 2 --time 10s --rounds 1 |
		sed '1s/^/when  /; 2,$s/^/idle  /' >"$work/burst.txt"
	bench --workload sign_in --connections 16 --time 40s --rounds 1 >"$work/signins.txt" &
	local burst=$!
	sleep 4 # until the burst has begun
	bench --workload client_credentials,refresh --connections 2 --time 10s --rounds 1 |
		sed '1d; s/^/burst  /' >>"$work/burst.txt"
	wait "$burst" || true
	tee -a /dev/stderr <"$work/burst.txt" | table
	printf '\nSign-ins in that time: %s a second.\n' "$(awk 'NR == 2 { print $3 }' "$work/signins.txt")"
	kill "$server" && wait "$server" || true
}

# costs measures processor time and write-ahead log per operation. Two workloads first request the tokens that they
# consume; that part of the log is subtracted.
costs() {
	serve 18080
	echo '| operation | server µs | PostgreSQL µs | WAL bytes |'
	echo '|---|---|---|---|'
	local w wal_before wal
	for w in client_credentials introspection_hot introspection_spread refresh code revocation; do
		wal_before=$(psql -At -c 'SELECT pg_current_wal_lsn()' "$DSN")
		bench --workload $w --connections 8 --time 5s --warm-up 0s --rounds 1 --json "${processes[@]}" >"$work/cost.json"
		wal=$(psql -At -c "SELECT pg_current_wal_lsn() - '$wal_before'::pg_lsn" "$DSN")
		awk -v w=$w -v wal="$wal" '
			/"operations"/ { n = $2 + 0 } /"server_cpu_us"/ { s = $2 + 0 } /"database_cpu_us"/ { d = $2 + 0 }
			END { print w, n, (w ~ /introspection_spread|revocation/ ? 20000 : 0), s, d, wal }' "$work/cost.json"
	done >"$work/costs.txt"
	awk '{ n = $2 } $1 == "client_credentials" { l = $6 / n }
		{ wal = ($6 - $3 * l) / n; if (wal < 0) wal = 0 # the subtracted value is an estimate
		  printf "| %s | %.0f | %.0f | %.0f |\n", $1, $4, $5, wal }' "$work/costs.txt" | tee -a /dev/stderr
	kill "$server" && wait "$server" || true
}

scale() {
	prepare
	costs
	echo
	echo '| processes | workload | per second, all together | worst p99 ms |'
	echo '|---|---|---|---|'
	local n i w started=()
	for n in 1 2 4; do
		for ((i = ${#started[@]}; i < n; i++)); do
			serve $((18080 + i))
			started+=("$server")
			sed "s/127.0.0.1:18080/127.0.0.1:$((18080 + i))/" "$work/profile.json" >"$work/profile.$i.json"
		done
		for w in client_credentials introspection_hot refresh code; do
			local running=()
			for ((i = 0; i < n; i++)); do
				"$oauthbench" --profile "$work/profile.$i.json" --workload $w --connections $((8 / n)) \
					--time "${BENCH_TIME:-3s}" --rounds 1 --json >"$work/scale.$i.json" &
				running+=($!)
			done
			wait "${running[@]}"
			cat "$work"/scale.*.json | awk -v n="$n" -v w="$w" '
				/"per_second"/ { s += $2 } /"p99_ms"/ { if ($2 + 0 > m) m = $2 + 0 }
				END { printf "| %d | %s | %.0f | %.1f |\n", n, w, s, m }' | tee -a /dev/stderr
			rm -f "$work"/scale.*.json
		done
	done
	for p in "${started[@]}"; do kill "$p"; done
	wait "${started[@]}" || true
}

cleanup() {
	go test ./oauth -run '^$' -bench CleanUp -benchtime 1x -timeout 20m | tee "$work/clean.txt" >&2
	echo '| Engine | before ms | during ms | times | rows/s |'
	echo '|---|---|---|---|---|'
	awk '/^BenchmarkCleanUp/ {
		split($1, p, "/"); sub(/-[0-9]+$/, "", p[2])
		for (i = 3; i < NF; i += 2) v[$(i + 1)] = $i
		printf "| %s | %.1f | %.1f | %.2f | %.0f |\n",
			p[2], v["before-p99-µs"] / 1000, v["cleaning-p99-µs"] / 1000, v["times"], v["rows/s"]
	}' "$work/clean.txt"
}

# growth measures two databases on the same PostgreSQL alternately, one of them filled.
growth() {
	prepare
	serve 18080
	local empty=$server w
	psql -q "$DSN" -c 'DROP DATABASE IF EXISTS grown' -c 'CREATE DATABASE grown'
	local grown=${DSN/\/postgres\?//grown?}
	(
		export GATEHOUSE_DATABASE_URL=$grown GATEHOUSE_ISSUER=http://127.0.0.1:18082
		"$gatehouse" migrate up >/dev/null
		"$oauthbench" prepare >"$work/grown.json"
	)
	GATEHOUSE_DATABASE_URL=$grown GATEHOUSE_ISSUER=http://127.0.0.1:18082 serve 18082
	psql -q -v ON_ERROR_STOP=1 -v rows="${GROWTH_ROWS:-10000000}" -f scripts/growth.sql "$grown" >&2
	echo 'when  workload  connections  per second  ±%  p50 ms  p90 ms  p99 ms  max ms  errors' >"$work/growth.txt"
	for w in client_credentials introspection_hot introspection_spread refresh code; do
		bench --workload $w --connections 8 --time "${BENCH_TIME:-4s}" --rounds 5 |
			sed '1d; s/^/empty  /' >>"$work/growth.txt"
		"$oauthbench" --profile "$work/grown.json" --workload $w --connections 8 --time "${BENCH_TIME:-4s}" --rounds 5 |
			sed '1d; s/^/grown  /' >>"$work/growth.txt"
	done
	tee /dev/stderr <"$work/growth.txt" | table
	kill "$empty" "$server" && wait "$empty" "$server" || true
}

# statements prints the cost of each operation from pg_stat_statements: statements that run at least once in ten
# operations, or take a microsecond per operation, as batches do.
statements() {
	prepare
	local count=20000 w
	psql -q "$DSN" -c "ALTER SYSTEM SET shared_preload_libraries = 'pg_stat_statements'"
	scripts/postgres.sh down "$work/pg" && scripts/postgres.sh up "$work/pg"
	psql -q "$DSN" -c 'CREATE EXTENSION IF NOT EXISTS pg_stat_statements'
	serve 18080
	echo '| Operation | Runs per operation | µs each | µs per operation | WAL bytes per operation | Statement |'
	echo '|---|---|---|---|---|---|'
	for w in client_credentials introspection_hot introspection_spread revocation refresh code; do
		psql -qAt "$DSN" -c 'SELECT pg_stat_statements_reset()' >/dev/null
		bench --workload $w --connections 8 --count $count --time 60s --warm-up 0s --rounds 1 >&2
		sleep 2 # the last seal
		psql -qAt "$DSN" -c "SELECT format('| %s | %s | %s | %s | %s | \`%s…\` |', '$w', round(calls / $count.0, 3),
				round((total_exec_time * 1000 / calls)::numeric, 1),
				round((total_exec_time * 1000 / $count)::numeric, 1), round(wal_bytes / $count.0),
				left(regexp_replace(replace(query, '\"', ''), '\s+', ' ', 'g'), 60))
			FROM pg_stat_statements WHERE calls >= $count / 10 OR total_exec_time * 1000 >= $count ORDER BY total_exec_time DESC"
	done
	kill "$server" && wait "$server" || true
}

# replace PART FILE replaces the text between the marks of a part in the document.
replace() {
	[ "$1" != scale ] || document=docs/scale.md
	awk -v part="$1" -v file="$2" '
		$0 == "<!-- " part " -->" { print; print ""; while ((getline line < file) > 0) print line; print ""; skip = 1; next }
		$0 == "<!-- /" part " -->" { skip = 0 }
		!skip' "$document" >"$work/document"
	cat "$work/document" >"$document"
	document=docs/performance.md
}

parts=("$@")
[ ${#parts[@]} -gt 0 ] || parts=(handlers http statements overload scale cleanup)
for part in "${parts[@]}"; do
	"$part" >"$work/part.md"
	measured='Measured at %s with %s, PostgreSQL %s, on %s, %s cores, load by processes on the same host. Repeat'
	printf "\n$measured\nwith \`scripts/bench.sh %s\`.\n" \
		"$(git log -1 --format=%h)" "$(go version | cut -d' ' -f3)" \
		"$(psql -At -c 'SHOW server_version' "$DSN" | sed 's/ .*//')" \
		"$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)" "$(nproc)" "$part" >>"$work/part.md"
	replace "$part" "$work/part.md"
done
