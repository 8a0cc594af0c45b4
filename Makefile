# Daily commands. `make help` lists them.
.PHONY: help setup run check test torture e2e parties apis mcp fuzz bench golden migration db words lint build image

LINT = github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0
FUZZ_TIME ?= 30s

help: ## list these commands
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/make \1	\2/p' $(MAKEFILE_LIST) | expand -t 18

setup: ## install what the tests need (Debian, Ubuntu; elsewhere, list it)
	@scripts/setup.sh >/dev/null

run: ## start a complete local setup, with the sample app
	go run ./cmd/gatehouse dev

check: ## format, vet and test on SQLite, before every commit
	@test -z "$$(gofmt -l .)" || { gofmt -l .; exit 1; }
	go vet ./...
	env -u CI -u TEST_POSTGRES_DSN CHROME= go test ./...

test: ## every test: both engines, race detector, browser
	scripts/test.sh

e2e: ## only the browser tests
	@tools=$$(scripts/setup.sh) && eval "$$tools" && axe=$$(mktemp -d) && trap 'rm -rf "$$axe"' EXIT && \
		scripts/axe.sh prepare "$$axe" && AXE=$$axe go test -count=1 \
		-run 'Browser|FormsReach|PageScrolls|StyledLink|ReloadedSignIn|ThatChromiumOpens' ./cmd/gatehouse

torture: ## longer fault tests: kill -9, database outages, many connections, every requirement on three processes
	scripts/torture.sh

parties: ## only the relying parties built with third-party libraries
	scripts/relying-parties.sh

apis: ## only the programs of docs/apis.md
	scripts/apis.sh

mcp: ## only the MCP conformance suite, servers and clients
	scripts/mcp.sh

fuzz: ## every fuzz target for FUZZ_TIME
	FUZZ_TIME=$(FUZZ_TIME) scripts/fuzz.sh

bench: ## benchmarks compared with a bare server, into docs/performance.md
	scripts/bench.sh

golden: ## rewrite generated documents
	go test ./oauth -run TestConformanceDocument -update
	go test ./cmd/gatehouse -run 'TestConfigDocument|TestLimitsDocument' -update

migration: ## create an empty pair of migrations: make migration name=add_x
	@test -n "$(name)" || { echo "usage: make migration name=…"; exit 2; }
	@n=$$(printf %04d $$(( $$(ls migrations/postgres | tail -n 1 | cut -c1-4 | sed 's/^0*//') + 1 ))); \
	for d in postgres sqlite; do echo '-- +goose Up' > migrations/$$d/$${n}_$(name).sql; done; ls migrations/*/$${n}_*

db: ## start a temporary PostgreSQL and print its URL; stop it with scripts/postgres.sh stop .db
	scripts/postgres.sh start $(CURDIR)/.db

words: ## check words, and list what is too long
	go test cmd/gatehouse/words_test.go cmd/gatehouse/wordlist_test.go cmd/gatehouse/sizes_test.go -sizes

lint: ## run golangci-lint
	go run $(LINT) run

build: ## static binaries in bin/: the server, and the load generator oauthbench
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o bin/ ./cmd/gatehouse ./cmd/oauthbench

image: ## container image
	docker build -t gatehouse .
