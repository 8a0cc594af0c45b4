#!/usr/bin/env bash
# Runs every fuzz target for FUZZ_TIME each (30s). `fuzz.sh list` lists them.
set -euo pipefail
cd "$(dirname "$0")/.."
grep -rl '^func Fuzz' --include='*_test.go' . | xargs -n1 dirname | sort -u | while read -r package; do
	grep -h -o '^func Fuzz[A-Za-z]*' "$package"/*_test.go | sed 's/^func //' | sort -u | while read -r target; do
		if [ "${1:-}" = list ]; then
			echo "$package $target"
		else
			go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZ_TIME:-30s}" "$package" </dev/null
		fi
	done
done
