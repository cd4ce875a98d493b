# SPDX-FileCopyrightText: The Berth Authors
# SPDX-License-Identifier: Apache-2.0

# The control plane for demo and tests, and beside it the CRDs it installs. Included by the Makefile at the root; all
# paths are relative to it. Berth's CRDs are a link, so that freshly generated ones are used without building again.

DEVCLUSTER_SOURCES := $(filter-out %_test.go,$(wildcard devcluster/*.go devcluster/*/*.go)) devcluster/manifests/kubeflow-roles.yaml \
	devcluster/go.mod devcluster/go.sum devcluster/build.mk

# kubectl and client libraries parse the version that the API server reports, which only the linker can set.
DEVCLUSTER_STAMP = k8s.io/component-base/version

bin/devcluster: $(DEVCLUSTER_SOURCES) | bin/devcluster-manifests/istio bin/devcluster-manifests/berth
	@echo "building the control plane: 4-5 minutes the first time, seconds after that"
	@version=$$(go -C devcluster list -m -f '{{.Version}}' k8s.io/kubernetes) && \
	minor=$${version#v*.} && \
	CGO_ENABLED=0 go -C devcluster build -trimpath -o ../bin/devcluster -ldflags "-s -w \
		-X $(DEVCLUSTER_STAMP).gitVersion=$$version \
		-X $(DEVCLUSTER_STAMP).gitMajor=1 \
		-X $(DEVCLUSTER_STAMP).gitMinor=$${minor%%.*} \
		-X $(DEVCLUSTER_STAMP).gitCommit=unknown \
		-X $(DEVCLUSTER_STAMP).gitTreeState=clean \
		-X $(DEVCLUSTER_STAMP).buildDate=$$(go -C devcluster list -m -f '{{.Time.Format "2006-01-02T15:04:05Z"}}' k8s.io/kubernetes)" .

bin/devcluster-manifests/istio: devcluster/go.mod
	@mkdir -p $@
	@go -C devcluster mod download istio.io/api
	@install -m 644 "$$(go -C devcluster list -m -f '{{.Dir}}' istio.io/api)/kubernetes/customresourcedefinitions.gen.yaml" $@
	@touch $@

bin/devcluster-manifests/berth:
	@mkdir -p $(@D)
	@ln -sfn ../../api/crds $@
