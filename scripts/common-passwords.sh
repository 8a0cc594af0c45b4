#!/bin/sh
# Rewrites identity/commonpassword/passwords.bin from the list of common passwords of an npm package: the passwords of
# zxcvbn (MIT), which occur most often in published breaches. `go generate ./identity/commonpassword` runs it.
set -eu
cd "$(dirname "$0")/../identity/commonpassword"
package=@zxcvbn-ts/language-common@4.1.3
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
(cd "$dir" && npm pack --silent "$package" >/dev/null && tar -xzf ./*.tgz package/src/passwords.json)
go run generate.go "$dir/package/src/passwords.json"
