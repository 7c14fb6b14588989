# vmnet: build, try, test. `make help` lists the targets.

GO      ?= go
BIN     := bin
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
LDFLAGS := -s -w -X main.version=$(VERSION)
GOLANGCI_VERSION := v2.15.0
ACTIONLINT_VERSION := v1.7.12
GORELEASER_VERSION := v2.12.7
FUZZTIME ?= 60s
BENCHTIME ?= 1s

export CGO_ENABLED ?= 0

.DEFAULT_GOAL := help
.PHONY: soak build demo demo-vm test deps conformance lint race vmnet-matrix fuzz cross bench bench-plots bench-go benchstat bench-vmnet bench-verbs sign release clean help

build: ## build bin/vmnet (the CNI plugin) and bin/vmnet-shim
	@mkdir -p $(BIN)
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/vmnet ./plugins/vmnet
	$(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/vmnet-shim ./cmd/vmnet-shim

demo: build ## ADD, frame fd, DHCP, NAT, two guests, DEL: the main job on this machine, no privilege needed
	@$(GO) build -trimpath -o $(BIN)/vmnet-demo ./conformance/demo
	@$(BIN)/vmnet-demo -bin $(BIN) -net-dir examples/net.d

demo-vm: build ## the same with a real Linux guest in QEMU
	@./conformance/deps.sh vm
	@$(GO) build -trimpath -o $(BIN)/vmnet-demo ./conformance/demo
	@$(BIN)/vmnet-demo -bin $(BIN) -net-dir examples/net.d -vm

cast: build ## record the demo as docs/demo.cast, for asciinema
	@$(GO) build -trimpath -o $(BIN)/vmnet-demo ./conformance/demo
	$(GO) run ./conformance/cast -o docs/demo.cast -title 'vmnet: make demo' -shown 'make demo' -- $(BIN)/vmnet-demo -bin $(BIN) -net-dir examples/net.d

deps: ## install what the tests need beyond Go (as root on Debian; elsewhere says how)
	@./conformance/deps.sh all

test: build ## every test that can run here; installs what it needs as root on Debian
	@./conformance/deps.sh all
	./conformance/test.sh $(TESTFLAGS)

soak: ## guests come and go and the shim is killed for SOAK (15m): nothing may grow
	$(GO) test ./conformance/e2e -count=1 -timeout 60m -v -run '^TestSoak$$' -soak $(or $(SOAK),15m)

conformance: build ## judge the plugin, and the reference plugins, by the letter of the CNI spec
	@./conformance/deps.sh all
	@./conformance/judge.sh

race: ## the tests under the race detector (needs a C compiler)
	CGO_ENABLED=1 ./conformance/test.sh -race $(TESTFLAGS)

vmnet-matrix: build ## driver vmnet with and without cgo, race, checkptr, GOGC=1, address sanitizer; LEGS=...
	@./conformance/deps.sh all
	./conformance/matrix.sh $(LEGS)

fuzz: ## every fuzz target for FUZZTIME (60s)
	./conformance/fuzz.sh $(FUZZTIME)

cross: ## vet, build and compile the tests for linux and darwin, amd64 and arm64
	@for os in linux darwin; do for arch in amd64 arm64; do \
	  echo "== $$os/$$arch"; \
	  GOOS=$$os GOARCH=$$arch CGO_ENABLED=0 $(GO) vet ./... && \
	  GOOS=$$os GOARCH=$$arch CGO_ENABLED=0 $(GO) build ./... && \
	  GOOS=$$os GOARCH=$$arch CGO_ENABLED=0 $(GO) test -c -o /dev/null ./... || exit 1; \
	done; done

lint: $(BIN)/golangci-lint $(BIN)/actionlint ## golangci-lint for linux and darwin, actionlint for the workflows
	$(BIN)/golangci-lint run ./...
	GOOS=darwin $(BIN)/golangci-lint run ./...
	$(BIN)/actionlint

$(BIN)/actionlint: Makefile
	@mkdir -p $(BIN)
	GOBIN=$(abspath $(BIN)) $(GO) install github.com/rhysd/actionlint/cmd/actionlint@$(ACTIONLINT_VERSION)
	@touch $@

$(BIN)/golangci-lint: Makefile
	@mkdir -p $(BIN)
	GOBIN=$(abspath $(BIN)) $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_VERSION)
	@touch $@

bench: build ## ours beside gvproxy, passt, slirp4netns, QEMU, bridge and the kernel: tables, plots, JSON; BENCHFLAGS="-only nat -cpuprofile DIR"
	@./conformance/deps.sh bench
	cd conformance/bench/peers && $(GO) build -trimpath -ldflags '-s -w' -o $(abspath $(BIN))/gvproxy github.com/containers/gvisor-tap-vsock/cmd/gvproxy
	$(GO) build -trimpath -o $(BIN)/vmnet-bench ./conformance/bench
	$(BIN)/vmnet-bench -bin $(BIN) -json $(BIN)/bench.json $(BENCHFLAGS)

bench-plots: ## make bench, with its plots drawn into docs/performance
	$(MAKE) bench BENCHFLAGS="-svg docs/performance $(BENCHFLAGS)"

bench-go: ## the Go benchmarks, with allocations
	$(GO) test -run '^$$' -bench . -benchmem -benchtime $(BENCHTIME) ./...

benchstat: ## the Go benchmarks of two commits compared: OLD=main NEW=HEAD [PKG=./pkg/relay] [BENCH=.] [COUNT=6]
	./conformance/bench/benchstat.sh '$(OLD)' '$(or $(NEW),HEAD)' '$(or $(PKG),./pkg/relay)' '$(or $(BENCH),.)' '$(or $(COUNT),6)'

bench-vmnet: ## frames and round trips through driver vmnet's relay, beside one in C and a bare hop; ROUNDS=15
	$(GO) test -run '^$$' -bench SideBySide -benchtime $(or $(ROUNDS),15)x -timeout 30m ./pkg/vmnet/framework

bench-verbs: ## every verb beside bridge and host-local, direct and through cnitool; as root on Linux; ROUNDS=40
	$(GO) test -run '^$$' -bench Verbs -benchtime $(or $(ROUNDS),40)x ./conformance/bench/verbs

sign: build ## macOS: sign bin/ with the entitlement that vmnet.framework asks for
	@test "$$(uname -s)" = Darwin || { echo "make sign: codesign is part of macOS; nothing to sign here" >&2; exit 1; }
	codesign -f -s - --entitlements packaging/macos/entitlements.plist $(BIN)/vmnet-shim

# GoReleaser knows no commit where git names no remote, so it is told one. Its first
# build takes minutes.
release: $(BIN)/goreleaser ## archives, Debian packages, Homebrew formula, SBOMs and checksums in dist/; offline, the same bytes each time
	GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=remote.origin.url GIT_CONFIG_VALUE_0=https://github.com/vmnet-cni/vmnet \
	  $(BIN)/goreleaser release --snapshot --clean --skip=publish --parallelism 1 # an archive has its programs in the order in which they were built

# What GoReleaser takes from here besides the programs (.goreleaser.yaml, before.hooks).
release-files:
	rm -rf $(BIN)/release
	@mkdir -p $(BIN)/release
	$(GO) build -trimpath -buildvcs=false -o $(BIN)/release/sbom ./packaging/sbom
	$(GO) run -trimpath -buildvcs=false -tags gendocs -ldflags '-X main.version=$(RELEASE_VERSION)' ./cmd/vmnet-shim gendocs $(BIN)/release
	gzip -9 -n -k $(BIN)/release/man/*.1
	gzip -9 -n -c CHANGELOG.md >$(BIN)/release/changelog.gz

$(BIN)/goreleaser: Makefile
	@mkdir -p $(BIN)
	@echo "make: building GoReleaser $(GORELEASER_VERSION); the first time that takes some minutes"
	GOBIN=$(abspath $(BIN)) $(GO) install github.com/goreleaser/goreleaser/v2@$(GORELEASER_VERSION)
	@touch $@

clean: ## remove what the targets built
	rm -rf $(BIN) dist

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
