# make help tells what there is. run and test need nothing but Go and make.
.POSIX:

GO       = go
FUZZTIME = 10s
SEEDS = 1 2 3 4
UPSTREAM =
LISTEN   = 127.0.0.1:8080

help: ## tell what there is
	@grep -E '^[a-z-]+:.*## ' Makefile | sed 's/:.*## /\t/' | sort | while IFS='	' read -r t d; do printf '  %-12s %s\n' "$$t" "$$d"; done

run: ## the demo behind the gateway; UPSTREAM=http://127.0.0.1:3000 protects an application of yours instead
	@if [ -n "$(UPSTREAM)" ]; then exec $(GO) run ./cmd/sallyport serve --upstream "$(UPSTREAM)" --listen "$(LISTEN)"; \
	else exec $(GO) run ./cmd/sallyport demo --listen "$(LISTEN)"; fi

build: ## a static binary in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/sallyport ./cmd/sallyport

test: ## every test
	$(GO) test ./...

race: ## every test with the race detector, but for the exhaustive ones on a single goroutine
	$(GO) test -race -short ./...

check: ## what CI holds a change to
	sh .ci/check

fuzz: ## each fuzz target for FUZZTIME (10s; hours are better)
	sh .ci/fuzz $(FUZZTIME)

differential: ## the fast engine against the stock one over half a million requests (SEEDS), the prover broken in each place, and the fuzz targets that compare with other readers, each for FUZZTIME (an hour)
	for seed in $(SEEDS); do DIFFERENTIAL_REQUESTS=125000 DIFFERENTIAL_SEED=$$seed $(GO) test -count=1 -timeout 4h -v -run '^Test(EnginesAgree|RandomRulesAgree)$$' ./waf || exit 1; done
	SABOTAGE=all $(GO) test -count=1 -timeout 1h -v -run '^TestSabotage$$' ./waf
	sh .ci/fuzz $(FUZZTIME) Differential

bench: ## what a request costs each proxy, with and without rules, through sockets (10 minutes; BENCH_ROUNDS=1 BENCH_MIXES=tiny,form is shorter)
	@$(GO) run ./internal/bench

siege: ## how long visitors wait while 200 connections send the worst requests known (3 minutes)
	@$(GO) run ./internal/bench siege

benchmarks: ## the benchmarks of each package beside the stock alternatives, in one run
	$(GO) test -run '^$$' -bench . -benchmem ./internal/strict ./internal/geo ./limiter ./waf ./waf/rx ./proxy ./proxy/http1 ./internal/audit ./internal/gateway

crs: ## the CRS regression suite, in-process and over the wire
	$(GO) run ./cmd/sallyport rules test --crs
	sh .ci/crs-wire

peers: ## nginx, HAProxy and Apache as backends: the wire corpus through their eyes (as root, installs Debian's packages)
	sh .ci/peers

slow: ## 2,000 slow clients of each kind against the built gateway: what others wait, what memory it takes (3 minutes)
	$(GO) test -tags soak -count=1 -v -run 'TestSlowAndMany|TestOneAddress|TestPipelined' ./cmd/sallyport

reloads: ## 200 reloads with changing rules under load: heap, goroutines and descriptors stay flat (a minute)
	$(GO) test -tags soak -count=1 -v -run TestTwoHundredReloads ./internal/gateway

soak: ## backends that die under load for two minutes, a gigabyte each way, all mixes for ten minutes, at constant memory
	$(GO) test -tags soak -count=1 -v -run 'TestBackendsDieUnderLoad|TestUploadsAndDownloadsStream' ./internal/gateway
	@$(GO) run ./internal/bench soak

site: ## a real site: nginx, DokuWiki and a WebSocket echo behind the gateway (as root, Debian's packages)
	bash .ci/site

app: ## a real application: WordPress and MariaDB behind the gateway with the shipped profile (as root, Debian's packages; half a minute)
	bash .ci/app

.PHONY: help run build test race check fuzz differential bench siege benchmarks crs peers slow reloads soak site app
