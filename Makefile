# SPDX-FileCopyrightText: The Berth Authors
# SPDX-License-Identifier: Apache-2.0

# Every target with a `##` comment is printed by `make help`. Works with GNU Make 3.81 (the one macOS has) and later.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
OVERLAY ?= standalone
IMG ?= ghcr.io/berth-dev/berth:latest
N ?=
ONCE ?=
ARGS ?=

# One set of flags for everything that is built or analysed without the race detector: the linter then reads what the
# build compiled. Without this the 2,400 packages of the devcluster are compiled twice, four minutes each time, and so are
# the 1,600 of conformance/, whose tests compare values and start no goroutines.
PLAIN := CGO_ENABLED=0 GOFLAGS="$(strip $(GOFLAGS) -trimpath -buildvcs=false)"
# The race detector needs a C compiler; where there is none, Go says CGO_ENABLED=0 and the tests run without it.
RACE ?= $(if $(filter 1,$(shell go env CGO_ENABLED)),-race)
# Two packages at a time, because most of them keep a control plane of 500 MB each.
TEST_FLAGS ?= $(RACE) -p 2 -timeout 15m

TOOLS := golangci-lint controller-gen dockerfile-check kustomize
MODULES = $(dir $(wildcard go.mod */go.mod */*/go.mod))
OVERLAYS = $(sort $(dir $(wildcard deploy/kustomize/overlays/*/kustomization.yaml)))
TARGETS := linux/amd64 linux/arm64 darwin/amd64 darwin/arm64

-include devcluster/build.mk

.PHONY: help
help: ## Print this help
	@awk -F ':.*## ' '/^##@/ {print "\n" substr($$0, 5)} /^[a-z-]+:.*## / {printf "  %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

##@ See it

.PHONY: demo
demo: bin/devcluster bin/berth ## Start a real control plane and Berth, and watch a tenant appear (ONCE=1: check and leave)
	bin/berth demo --devcluster bin/devcluster $(if $(ONCE),--once) $(ARGS)

.PHONY: bench
bench: bin/devcluster bin/berth ## Measure against the API server's own floor, in one run (N=10000: with that many profiles)
	go run ./bench $(if $(N),-n $(N)) $(ARGS)

##@ Change it

.PHONY: build
build: bin/berth ## Build bin/berth

.PHONY: test
test: bin/devcluster bin/berth bin/kustomize ## Run all tests, on a real control plane
	go test $(TEST_FLAGS) ./...
	cd devcluster && $(PLAIN) go test -timeout 10m ./...
	cd conformance && $(PLAIN) go test -timeout 10m ./...

.PHONY: lint
lint: bin/golangci-lint ## Run the linters of .golangci.yml
	$(PLAIN) bin/golangci-lint run
	cd devcluster && $(PLAIN) ../bin/golangci-lint run
	cd conformance && $(PLAIN) ../bin/golangci-lint run
	cd conformance/bridge && $(PLAIN) ../../bin/golangci-lint run

.PHONY: generate
generate: bin/controller-gen ## Write the generated code and the CRDs of api/
	bin/controller-gen object:headerFile=hack/boilerplate.go.txt paths=./api/...
	bin/controller-gen crd paths=./api/... output:crd:dir=api/crds

.PHONY: verify
verify: bin/kustomize bin/dockerfile-check ## Check that generated files and modules are current, manifests render, and every system compiles
	@before=$$(find api -type f | sort | xargs cksum); $(MAKE) generate; \
	after=$$(find api -type f | sort | xargs cksum); \
	diff <(echo "$$before") <(echo "$$after") || { echo 'api/ was not current: commit what make generate wrote' >&2; exit 1; }
	@for m in $(MODULES); do echo "go mod tidy -diff ($$m)"; (cd $$m && go mod tidy -diff); done
	@for o in $(OVERLAYS); do echo "kustomize build $$o"; bin/kustomize build $$o >/dev/null; done
	bin/dockerfile-check Dockerfile
	go run ./hack/crosscheck $(TARGETS)
	GOOS=darwin GOARCH=arm64 $(PLAIN) go build -o /dev/null ./cmd/berth
	go run ./hack/crosscheck -C devcluster $(TARGETS)

##@ Run it on the cluster that kubectl talks to

.PHONY: run
run: bin/berth ## Run the controller on this machine (ARGS='-userid-header ...')
	bin/berth controller -namespace-labels-path deploy/kustomize/base/manager/namespace-labels.yaml $(ARGS)

# By force, as deploy does: else whoever applied the CRDs before, Kubeflow's included, would keep fields of theirs.
.PHONY: install
install: kubectl ## Install the CRDs
	kubectl apply --server-side --force-conflicts -k api/crds

.PHONY: uninstall
uninstall: kubectl ## Remove the CRDs and so every profile with its namespace (FORCE=1 where there are any)
	@n=$$(kubectl get profiles.kubeflow.org --ignore-not-found -o name | wc -l); \
	if [ $$n -gt 0 ] && [ -z "$(FORCE)" ]; then \
		echo "$$n profiles would go, with their namespaces and all that is in them. FORCE=1 does it." >&2; exit 1; fi
	kubectl delete -k api/crds --ignore-not-found

# A binding's role can't be changed, and Kubeflow's own binding of this name is to cluster-admin.
.PHONY: deploy
deploy: kubectl bin/kustomize ## Install CRDs and controller (OVERLAY=standalone|kubeflow|kubeflow-pss|kfam, IMG=...)
	@[ "$(OVERLAY)" = kfam ] || { role=$$(kubectl get clusterrolebinding profiles-cluster-rolebinding --ignore-not-found -o jsonpath='{.roleRef.name}'); \
	case "$$role" in ''|profiles-controller-role) ;; *) kubectl delete clusterrolebinding profiles-cluster-rolebinding;; esac; }
	bin/kustomize build deploy/kustomize/overlays/$(OVERLAY) | sed 's|image: ghcr.io/berth-dev/berth:latest|image: $(IMG)|' | \
		kubectl apply --server-side --force-conflicts -f -

.PHONY: undeploy
undeploy: kubectl bin/kustomize ## Remove the controller; CRDs, profiles and their namespaces stay (OVERLAY=...)
	@mkdir -p bin/undeploy
	@printf '%s\n' 'resources: [../../deploy/kustomize/overlays/$(OVERLAY)]' 'patches:' '- target: {kind: CustomResourceDefinition}' \
		'  patch: "{apiVersion: v1, kind: Any, metadata: {name: any}, $$patch: delete}"' >bin/undeploy/kustomization.yaml
	bin/kustomize build bin/undeploy | kubectl delete --ignore-not-found -f -

.PHONY: image
image: ## Build the container image IMG (needs docker, podman or buildah)
	@for t in docker podman buildah; do \
		if $$t info >/dev/null 2>&1; then exec $$t build --build-arg VERSION=$(VERSION) -t $(IMG) .; fi; done; \
	echo 'make image needs one of docker (with its daemon running), podman or buildah' >&2; exit 1

.PHONY: clean
clean: ## Remove all that was built
	rm -rf bin

# What the targets above are made of.

# Always asked, because only go knows whether it is current; it answers in a second when it is.
.PHONY: bin/berth
bin/berth:
	@[ -e $@ ] || echo "building Berth: two to three minutes the first time, seconds after that"
	$(PLAIN) go build -ldflags '-X berth.dev/berth/internal/cli.version=$(VERSION)' -o $@ ./cmd/berth

# A tool is built again when its modfile changes. The one that is not a `tool` of its modfile is in that directory.
$(TOOLS:%=bin/%): bin/%: tools/%/go.mod
	cd tools/$* && $(PLAIN) go build -o $(CURDIR)/$@ $$(sed -n 's/^tool //p' go.mod | grep . || echo .)
	@touch $@
bin/dockerfile-check: tools/dockerfile-check/main.go

.PHONY: kubectl
kubectl:
	@command -v kubectl >/dev/null || { echo 'kubectl is not installed: https://kubernetes.io/docs/tasks/tools/' >&2; exit 1; }
