SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# How long each fuzz target is tried for.
FUZZTIME ?= 5s
# Prints the path of a program that the module files pin; compiles it on first use.
TOOL = go run ./dev/cmd/tool

.PHONY: help
help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | awk -F'\t' '{ printf "make %-12s %s\n", $$1, $$2 }'

.PHONY: demo
demo: ## release against a sandbox on this machine, then again with nothing to do; leaves out/
	@go run ./dev/cmd/demo

.PHONY: test
test: lint unit chart fuzz integration lint-node ## everything that can be tested on this machine

.PHONY: unit
unit: ## tests that need no root, in seconds
	@tests=$$(go tool -n gotestsum); $$tests -- -short ./...; (cd ci; $$tests -- ./...); cd image; $$tests -- -short ./...

# The chart is outside of the module ci, where go looks for no changes: without -count=1 it repeats the result for another chart.
.PHONY: chart
chart: ## the chart's tests, and what it renders to held against Kubernetes' schemas; they need no root
	@tests=$$(go tool -n gotestsum); $$tests --format testname -- -timeout 30m ./dev/chart/...; cd ci; $$tests --format testname -- -count=1 -run '^TestChart' ./helmrepo

.PHONY: generate
generate: ## write the READMEs of the charts anew
	@go test ./dev/chart -run '^TestReadme$$' -update

.PHONY: integration
integration: ## tests that build, scan and push for real; they need root
	@tests=$$(go tool -n gotestsum); \
	  $$tests --format testname -- -timeout 80m ./dev/local/... ./dev/sandbox/... ./dev/kube/... ./dev/container/... ./dev/install/... ./dev/e2e/...; \
	  cd image; $$tests --format testname -- -timeout 60m ./...

# Without an upstream it is the sandbox; UPSTREAM_FINGERPRINT, BASE_IMAGE and VERSIONS have defaults: see dev/acceptance.
.PHONY: acceptance
acceptance: ## the image and the chart through a life, with the packages at UPSTREAM, such as https://downloads.opennebula.io; they need root
	@tests=$$(go tool -n gotestsum); \
	  ACCEPTANCE_UPSTREAM='$(UPSTREAM)' ACCEPTANCE_UPSTREAM_FINGERPRINT='$(UPSTREAM_FINGERPRINT)' ACCEPTANCE_BASE_IMAGE='$(BASE_IMAGE)' \
	  ACCEPTANCE_VERSIONS='$(VERSIONS)' $$tests --format testname -- -count=1 -timeout 3h -run '^TestAcceptance$$' ./dev/container ./dev/install

.PHONY: fuzz
fuzz: ## try each fuzz target for FUZZTIME (5s)
	@for module in ci image; do (cd $$module; for package in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$package | sed -n '/^Fuzz/p'); do \
	    go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 10x $$package; \
	  done; \
	done); done

.PHONY: lint
lint: ## golangci-lint on all modules, whether their go.mod is tidy, actionlint on the workflows
	@for module in . ci image; do (cd $$module; go mod tidy -diff); done
	@lint=$$($(TOOL) golangci-lint); $$lint run; for module in ci image; do (cd $$module; $$lint run --config ../.golangci.yaml); done
	@$$($(TOOL) actionlint)

.PHONY: lint-node
lint-node: ## golangci-lint on the Kubernetes node, which compiles it as make integration does
	@cd dev/kube/node; go mod tidy -diff
	@lint=$$($(TOOL) golangci-lint); cd dev/kube/node; CGO_ENABLED=0 $$lint run --config ../../../.golangci.yaml

.PHONY: bench
bench: ## benchmarks, the image's and the chart's figures, calls of the Dagger module, and a whole release against a shell script that does the same
	cd ci; go test -run '^$$' -bench . -benchmem ./...
	go test -run '^$$' -bench Container -benchtime 5x -timeout 60m ./dev/container
	go test -run '^$$' -bench Install -benchtime 5x -timeout 60m ./dev/install
	go test -run '^$$' -bench Dagger -benchtime 5x -timeout 60m ./dev/e2e
	go run ./dev/cmd/bench -rounds 7

.PHONY: clean
clean: ## remove out/; caches stay (see README)
	rm -rf out
