// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package install

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

const (
	fieldOwner   = "devcluster"
	concurrency  = 8
	pollInterval = 25 * time.Millisecond
)

var (
	crdResource         = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	clusterRoleResource = schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: "clusterroles"}
)

// Installer writes into one cluster.
type Installer struct {
	dynamic   dynamic.Interface
	discovery discovery.DiscoveryInterface
}

// New returns an Installer with the rights of config.
func New(config *rest.Config) (*Installer, error) {
	dynamicClient, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	discoveryClient, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Installer{dynamic: dynamicClient, discovery: discoveryClient}, nil
}

// CRDs creates or updates the CRDs and waits until the API server serves all of them.
func (i *Installer) CRDs(ctx context.Context, crds []*unstructured.Unstructured) error {
	if err := i.apply(ctx, crdResource, crds); err != nil {
		return err
	}
	return poll(ctx, func() error {
		_, served, err := i.discovery.ServerGroupsAndResources()
		if err != nil {
			return err // some groups may still be on their way
		}
		return missing(crds, served)
	})
}

// missing names the first version of a CRD that discovery does not list. A CRD is listed once it is Established, so
// clients that ask what there is find everything.
func missing(crds []*unstructured.Unstructured, served []*metav1.APIResourceList) error {
	listed := map[string]bool{}
	for _, list := range served {
		for _, resource := range list.APIResources {
			listed[list.GroupVersion+"/"+resource.Name] = true
		}
	}
	for _, crd := range crds {
		group, _, _ := unstructured.NestedString(crd.Object, "spec", "group")
		plural, _, _ := unstructured.NestedString(crd.Object, "spec", "names", "plural")
		versions, _, _ := unstructured.NestedSlice(crd.Object, "spec", "versions")
		for _, version := range versions {
			version, _ := version.(map[string]any)
			if served, _ := version["served"].(bool); !served {
				continue
			}
			if name := fmt.Sprintf("%s/%s/%s", group, version["name"], plural); !listed[name] {
				return fmt.Errorf("%s is not served", name)
			}
		}
	}
	return nil
}

// apply creates the objects; those that exist already, because the cluster starts again on its data, get our fields.
func (i *Installer) apply(ctx context.Context, resource schema.GroupVersionResource, objects []*unstructured.Unstructured) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(concurrency)
	for _, object := range objects {
		group.Go(func() error {
			client := i.dynamic.Resource(resource)
			_, err := client.Create(ctx, object, metav1.CreateOptions{FieldManager: fieldOwner})
			if apierrors.IsAlreadyExists(err) {
				_, err = client.Apply(ctx, object.GetName(), object, metav1.ApplyOptions{FieldManager: fieldOwner, Force: true})
			}
			if err != nil {
				return fmt.Errorf("install %s %q: %w", object.GetKind(), object.GetName(), err)
			}
			return nil
		})
	}
	return group.Wait()
}

// poll waits until check finds nothing to wait for.
func poll(ctx context.Context, check func() error) error {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w; last seen: %w", ctx.Err(), err)
		case <-tick.C:
		}
	}
}
