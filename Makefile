# Everything here needs Go, git, make and a POSIX shell, and nothing else. `make help` lists the targets.

GO ?= go
LINT = $(GO) tool -modfile=$(CURDIR)/tools/go.mod golangci-lint run --config $(CURDIR)/.golangci.yml

.DEFAULT_GOAL := help
.PHONY: help build test unit controlplane minors components lint bench update

help: ## list the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

build: ## build bin/k8ssec
	$(GO) build -trimpath -o bin/k8ssec ./cmd/k8ssec

test: unit controlplane ## all tests; the first run builds a Kubernetes control plane, which takes minutes

unit: ## the tests of the main module, without a control plane
	$(GO) test ./...

controlplane: ## the emitted repository against a real API server, etcd and controller manager
	cd e2e && $(GO) run ./components/build && $(GO) test -timeout 20m $$($(GO) list ./... | grep -v /e2e/minors)

minors: ## the emitted control plane files against kubeadm and kube-apiserver of every supported minor
	cd e2e && $(GO) run ./components/build kubernetes etcd kubernetes-1.36 kubernetes-1.35 kubernetes-1.34 && $(GO) test -timeout 20m ./minors/...

components: ## build the real binaries that the tests run, into the cache
	cd e2e && $(GO) run ./components/build

lint: ## gofmt, go vet, golangci-lint, govulncheck, shellcheck
	@files=$$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l); \
	if [ -n "$$files" ]; then echo "gofmt would change:"; echo "$$files"; exit 1; fi
	$(GO) vet ./...
	cd e2e && $(GO) vet ./...
	$(LINT) ./...
	cd e2e && $(LINT) ./...
	tools/shellcheck.sh
	tools/vulncheck.sh

bench: ## Go benchmarks, then k8ssec and helm as whole processes on the same objects
	$(GO) test -run '^$$' -bench . -benchmem ./...
	cd e2e && $(GO) run ./bench

# The packages with golden outputs are those whose tests have a flag -update, or use generatortest's.
update: ## rewrite the golden outputs; an unexpected diff is a bug
	$(GO) test $$(git grep --untracked -lE 'generatortest\.Run\(|Bool\("update"' -- '*_test.go' ':!e2e' | xargs -n 1 dirname | sort -u | sed 's|^|./|') -update
