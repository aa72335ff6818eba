# Everything here needs Go, git, make, bash and the usual Unix tools. `make help` lists the targets.

GO ?= go
# The modules with code of ours: the command, the tests with real components, those with Cilium's own
# policy engine, with Loki's query engine, and with the packages of the tools that read what is written.
MODULES = . e2e e2e/cilium e2e/formats e2e/loki
LINT = $(GO) tool -modfile=$(CURDIR)/tools/go.mod golangci-lint run --config $(CURDIR)/.golangci.yml

.DEFAULT_GOAL := help
.PHONY: help build test unit controlplane e2e firewall minors components lint bench update

help: ## list the targets
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

build: ## build bin/k8ssec
	$(GO) build -trimpath -o bin/k8ssec ./cmd/k8ssec

test: unit controlplane firewall ## all tests without a cluster; the first run builds a Kubernetes control plane, which takes minutes

unit: ## the tests of the command itself, which need nothing
	$(GO) test ./...

# Never from the cache of test results: go does not see that the command under test has changed.
# Tests that need the older minors are called TestMinors; those that need root, or a cluster, have a
# folder of their own.
controlplane: ## what is emitted against the real API server, etcd, kubeadm and Cilium's policy engine
	cd e2e && $(GO) run ./components/build kubernetes etcd
	cd e2e && $(GO) test -p 1 -parallel 3 -count 1 -timeout 30m -skip '^TestMinors$$' \
		$$($(GO) list ./... | grep -vE '/e2e/(firewall|kind)(/|$$)')
	cd e2e/cilium && $(GO) test ./...
	cd e2e/formats && $(GO) test ./...
	cd e2e/loki && $(GO) test -count 1 ./...

e2e: ## what is emitted in real kind clusters, with Cilium and Flux; needs root on Debian, or Docker
	cd e2e && $(GO) test -v -count 1 -parallel 4 -timeout 60m ./kind
	cd e2e && $(GO) run ./kind/evidence report/matrix.md

firewall: ## the node firewall in a network namespace; needs root, nft and ip
	tools/packages.sh nft:nftables ip:iproute2
	@if [ "$$(id -u)" = 0 ]; then cd e2e && $(GO) test -count 1 ./firewall; \
	else echo "NOT TESTED: the node firewall, because it takes root to load one: sudo make firewall"; fi

minors: ## what is emitted against kubeadm and the API server of each older minor that is supported
	cd e2e && $(GO) run ./components/build kubernetes etcd kubernetes-1.36 kubernetes-1.35 kubernetes-1.34
	cd e2e && $(GO) test -p 1 -count 1 -timeout 30m -run '^TestMinors$$' ./minors ./admission

components: ## build all real components that the tests run, into the user's cache
	tools/packages.sh gcc:gcc pkg-config:pkg-config /usr/include/seccomp.h:libseccomp-dev
	cd e2e && $(GO) run ./components/build

lint: ## gofmt, go vet, golangci-lint, shellcheck, govulncheck
	@files=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
	if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi
	@set -e; for m in $(MODULES); do echo "== lint $$m"; (cd $$m && $(GO) vet ./... && $(LINT) ./...); done
	tools/packages.sh shellcheck:shellcheck
	tools/shellcheck.sh
	tools/vulncheck.sh $(MODULES)

bench: ## Go benchmarks, then k8ssec and helm as whole processes on the same objects
	$(GO) test -run '^$$' -bench . -benchmem ./...
	cd e2e && $(GO) run ./bench

# The packages with golden outputs are those whose tests have a flag -update, or use generatortest's.
update: ## rewrite the golden outputs; an unexpected diff is a bug
	$(GO) test $$(git grep --untracked -lE 'generatortest\.Run\(|Bool\("update"' -- '*_test.go' ':!e2e' | xargs -n 1 dirname | sort -u | sed 's|^|./|') -update
