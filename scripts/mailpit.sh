#!/usr/bin/env bash
# Builds Mailpit, the mail server of the tests, unless it is in the cache, and prints the path of the program, for
# MAILPIT in the environment of the tests. Its web interface, which needs Node.js, is not built: the tests do not need
# it.
set -euo pipefail
cd "$(dirname "$0")/../cmd/gatehouse/testdata/mailpit"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/gatehouse-tests
program=$cache/mailpit-$(cksum <go.sum | cut -d' ' -f1)
if [ ! -x "$program" ]; then
	mkdir -p "$cache"
	building=$(mktemp -d "$cache/mailpit.XXXXXX")
	trap 'rm -rf "$building"' EXIT
	CGO_ENABLED=0 go build -ldflags='-s -w' -o "$building/mailpit" github.com/axllent/mailpit >&2
	mv "$building/mailpit" "$program"
fi
echo "$program"
