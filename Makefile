# penstock. `make demo` shows it, `make test` proves it.

GO            ?= go
FOR           ?= 30s
STATICCHECK   := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOFUMPT       := mvdan.cc/gofumpt@v0.12.0
BENCHSTAT     := golang.org/x/perf/cmd/benchstat@latest
MODULES       := . benchmarks e2e

.PHONY: demo build test lint unit race e2e bench proof fuzz fmt clean

## demo: the gateway before two stand-in workers, with traffic, on loopback
demo:
	$(GO) run ./cmd/penstock demo --for $(FOR)

## build: bin/penstock
build:
	$(GO) build -o bin/penstock ./cmd/penstock

## test: everything that must be true, in at most ten minutes on two cores
test: export PENSTOCK_REQUIRE = 1
test: servers lint bench-smoke e2e race
	@echo "make test: all passed"

## servers: other people's programs that tests run, into bin/: Debian's promtool. Nothing is installed or started
.PHONY: servers
servers:
	@command -v promtool >/dev/null || test -x bin/promtool || { \
		command -v apt-get >/dev/null || { echo "promtool is missing; install Prometheus, such as: brew install prometheus"; exit 1; }; \
		set -e; bin="$(CURDIR)/bin"; mkdir -p "$$bin"; tmp=$$(mktemp -d); trap "rm -rf $$tmp" EXIT; cd $$tmp; \
		get="apt-get -qq -o APT::Sandbox::User=root download prometheus"; \
		$$get 2>/dev/null || { apt-get -qq update && $$get; } || { echo "promtool is missing; as root: apt-get install prometheus"; exit 1; }; \
		dpkg-deb --fsys-tarfile prometheus_*.deb | tar -xO ./usr/bin/promtool >promtool; \
		chmod +x promtool; ./promtool --version 2>&1 | head -n 1; mv promtool "$$bin"/; }

## lint: formatting, vet and staticcheck of every module
lint:
	@for m in $(MODULES); do (cd $$m && \
		test -z "$$($(GO) run $(GOFUMPT) -l .)" || { echo "$$m: not formatted: run make fmt"; $(GO) run $(GOFUMPT) -l .; exit 1; }) || exit 1; done
	@for m in $(MODULES); do (cd $$m && $(GO) vet ./... && $(GO) run $(STATICCHECK) ./...) || exit 1; done

## race: all tests of the module, with the race detector
race:
	$(GO) test -race ./...

## unit: all tests of the module, quickly
unit:
	$(GO) test ./...

## e2e: the official SDKs, unmodified, against the program
e2e:
	cd e2e && $(GO) test ./...

## bench-smoke: every benchmark runs, once
.PHONY: bench-smoke
bench-smoke:
	cd benchmarks && $(GO) test -short -bench . -benchtime 1x ./...

## bench: decisions beside their peers, and the gateway beside a bare proxy
bench:
	cd benchmarks && $(GO) run ./cmd/report

## proof: the long ones, in less than an hour: properties many times over, fuzzing, kills, races, everything at once
proof:
	$(GO) test -race -count 1 . ./internal/algorithm ./internal/provider/... ./internal/queue -rapid.checks 300 -timeout 60m
	$(MAKE) fuzz FUZZTIME=100000x
	$(GO) test ./cmd/penstock -run TestKill -count 1 -timeout 60m -kills 30
	$(GO) test -race -count 3 ./internal/gateway ./internal/server ./internal/workers -timeout 60m
	$(GO) test ./internal/soak -count 1 -v -timeout 60m -soak.time 10m
	@echo "make proof: all passed"

## accuracy: what limits hold of what was used, what they admit of what they allow; writes docs/accuracy.md
.PHONY: accuracy
accuracy:
	$(GO) test ./internal/accuracy -count 1 -v -timeout 60m -accuracy.requests 10000 -accuracy.table $(CURDIR)/docs/accuracy.md

## fuzz: every fuzz target for FUZZTIME: so many inputs. With a time, as 30s, go before 1.27 may end one that has found nothing
## as failed, by "context deadline exceeded" (golang/go#75804)
FUZZTIME ?= 300000x
fuzz:
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p | grep '^Fuzz'); do \
		echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1x $$p || exit 1; done; done

## fmt: format every module
fmt:
	@for m in $(MODULES); do (cd $$m && $(GO) run $(GOFUMPT) -w .) || exit 1; done

clean:
	rm -rf bin
