# Targets for people and for continuous integration; "make help" lists them.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.ONESHELL:
.DEFAULT_GOAL := help

# Tools of fixed versions: a check must not change its mind overnight.
STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

# Modules of their own, so that their requirements are nobody else's; see
# docs/decisions.md. "./..." does not reach them.
MODULES := deploy/image e2e/gocelery e2e/manifests e2e/promrules

# RACED is for builds with the race detector. The cipher of bcrypt is built without it: it has no
# goroutines, and takes ten times as long with it. It has no generic code either: else the linker
# might take its copy for the whole program, and races would be reported that are none. Programs end
# at once, and not a second later, for each goroutine has an owner who waits for it. Programs that
# tests build are built in the same way. Without paths, another clone finds all in the build cache.
RACED := export GORACE=atexit_sleep_ms=0 GOFLAGS="$${GOFLAGS:-} -trimpath -gcflags=golang.org/x/crypto/blowfish=-race=false"
# Step lint has run all of vet.
RACE := -race -vet=off

# What is built without the race detector is built as a release is, and the checks of step lint see
# the program as the tests build it: nothing is compiled in a third way.
PLAIN := export CGO_ENABLED=0 GOFLAGS="$${GOFLAGS:-} -trimpath"

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
FUZZTIME ?= 30s
RUNS ?= 1

##@ Everyday

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^##@ / {printf "\n%s\n", substr($$0, 5)} /^[a-z0-9-]+:.*## / {printf "  %-13s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

.PHONY: build
build: ## build ./evently-workers, static, as the image has it
	CGO_ENABLED=0 go build -trimpath -ldflags '-s -w -X github.com/evently/workers/app.linked=$(VERSION)' -o evently-workers .

.PHONY: test
test: setup lint vuln allocs unit e2e torture-short selection ## everything: setup, lint, all tests with the race detector

##@ Steps of the test

.PHONY: setup
setup: ## install what the tests need (as root), or say what to install
	@.ci/setup

.PHONY: lint
lint: ## gofmt, go vet, staticcheck, shell syntax; needs a C compiler
	@echo "lint: gofmt, go vet, staticcheck"
	unformatted=$$(gofmt -l .)
	if [[ -n $$unformatted ]]; then
		printf 'not formatted, run gofmt -w on:\n%s\n' "$$unformatted" >&2
		exit 1
	fi
	bash -n .ci/conformance .ci/release .ci/run .ci/setup .ci/vuln
	tools=$$(mktemp -d)
	trap 'rm -rf "$$tools"' EXIT
	CGO_ENABLED=0 GOBIN=$$tools go install -trimpath $(STATICCHECK)
	check() {
		go vet "$$@"
		"$$tools/staticcheck" "$$@"
	}
	(
		$(RACED)
		export GOFLAGS="$$GOFLAGS -race -tags=lint,figures" # also the tests that are left out with the race detector, or by "make unit"
		check ./...
	)
	$(PLAIN)
	for module in $(MODULES); do
		(cd $$module && check ./...)
	done

.PHONY: vuln
vuln: ## known vulnerabilities, if their database can be reached
	@$(PLAIN)
	.ci/vuln $(GOVULNCHECK)

.PHONY: unit
unit: ## tests of the packages, with the race detector
	@# The slow ones first, so that the others run beside them. Most of them wait most of the
	@# time: more of them at once than processors. The tests themselves collect garbage less often, as
	@# memory is not what they lack; the programs of step e2e collect it as in service.
	@packages=$$(go list ./... | grep -vE '/e2e|/torture$$|/internal/house$$')
	slow='/worker/redis$$|/app/cli$$|/mail$$|/app/site$$|/monitor/guard$$|/monitor/web$$|/monitor/pages/workers$$'
	(
		$(PLAIN)
		go build -o /dev/null . # tests of the image and of the release would compile it at the same time
	)
	(
		$(RACED)
		go test $(RACE) -exec 'env GOGC=400' -timeout 20m -p 4 $$(grep -E "$$slow" <<<"$$packages" | sort -r) $$(grep -vE "$$slow" <<<"$$packages")
	)
	$(PLAIN)
	go test -timeout 10m ./internal/house # it reads the source, which the race detector makes slow

.PHONY: allocs
allocs: ## allocations per operation, against the golden files
	@$(PLAIN)
	go test -count=1 -run '^TestAllocations$$' ./worker ./worker/protocol ./worker/redis

.PHONY: e2e
e2e: ## the built program against real servers and Python Celery
	@# Verbose, as counts and times are part of the answer; 200 names are not.
	@# Most of them wait most of the time: more of them at once than processors.
	(
		$(RACED)
		go test $(RACE) -timeout 20m -parallel 6 -v ./e2e/... | grep -vE '^ *=== |^ +--- PASS: .*/.*/'
		go -C e2e/gocelery test $(RACE) -timeout 5m ./...
	)
	$(PLAIN)
	go -C e2e/promrules test -vet=off -timeout 5m ./...
	go -C e2e/manifests test -vet=off -timeout 5m ./...
	go -C deploy/image test -vet=off -timeout 5m -v ./...

.PHONY: torture-short
torture-short: setup ## short torture and mutants; some minutes
	@# Most of them wait most of the time: more of them at once than processors.
	$(RACED)
	go test $(RACE) -count=1 -timeout 20m -parallel 6 -v ./torture | grep -vE '^ *=== '

.PHONY: selection
selection: ## a selection of Celery's own tests against our worker
	@$(PLAIN)
	.ci/conformance short

##@ Before a release

.PHONY: release
release: ## archives for linux and darwin, amd64 and arm64, below bin/release
	@.ci/release '$(VERSION)' bin/release

.PHONY: image
image: ## container image for linux, amd64 and arm64, as an OCI layout below bin/image
	@go -C deploy/image run . -version '$(VERSION)' -source '$(CURDIR)' -out '$(CURDIR)/bin/image'

.PHONY: torture
torture: setup ## both workers under faults, all ROWS or some; docs/reliability.md
	@go run ./torture -document docs/reliability.md -plot docs/soak.svg $(if $(ROWS),-rows $(ROWS)) $(if $(SEED),-seed $(SEED))

.PHONY: conformance
conformance: setup ## Celery's integration suite against our worker, RUNS times (1)
	@RUNS=$(RUNS) .ci/conformance

.PHONY: documents
documents: ## write the generated parts of docs/ again, and wrap all documents
	@go test ./worker/conformance -run TestDocuments -update
	@go test ./internal/house -run 'TestArchitecturePage|TestMetricsTable|TestDocumentsAreWrapped' -update

.PHONY: manifests
manifests: ## make deploy/kubernetes from the chart in deploy/helm
	@go -C e2e/manifests test -count=1 -run TestManifests -update ./...

.PHONY: bench
bench: setup ## speed beside Celery, all PARTS or some, ROUNDS (3); 15 minutes
	@go run ./bench $(if $(PARTS),-parts $(PARTS)) $(if $(ROUNDS),-rounds $(ROUNDS))

.PHONY: ledger-figures
ledger-figures: ## times of the ledger's queries and of the pages that read it, at five million mails; 45 minutes
	@go test ./store/ledger -count=1 -timeout 90m -v -run '^TestQueryPlans$$' -ledger.rows 5000000 -ledger.figures
	@go test -tags figures ./monitor/pages/mails -count=1 -timeout 90m -v -run '^TestFigures$$' -pages.rows 5000000
	go test -run '^$$' -bench . ./store/ledger

.PHONY: pictures
pictures: ## the pictures of the documents, made again in a browser
	@MONITOR_PICTURES='$(CURDIR)/docs' go test -tags figures ./app/site -count=1 -v -run '^TestPictures$$'

.PHONY: fuzz
fuzz: ## every fuzz target for FUZZTIME (30s) each
	@# Making one large input smaller takes a minute by default, which is all the time.
	grep -rl --include='*_test.go' '^func Fuzz' . | while read -r file; do
		sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$$file" | while read -r target; do
			echo "fuzz: $$target in $$(dirname "$$file")"
			go test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 1s "$$(dirname "$$file")" </dev/null
		done
	done
