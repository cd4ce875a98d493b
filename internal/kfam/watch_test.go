// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/internal/kube/scheme"
	"berth.dev/berth/internal/testkit"
)

// policyUsers are the users whom the policies of contributors in a namespace let in, sorted.
func policyUsers(t testing.TB, at place, ns string) []string {
	t.Helper()
	var policies securityv1beta1.AuthorizationPolicyList
	if err := at.client.List(t.Context(), &policies, client.InNamespace(ns)); err != nil {
		t.Fatal(err)
	}
	users := []string{}
	for _, policy := range policies.Items {
		if policy.Name != "ns-owner-access-istio" {
			users = append(users, admitted(policy)...)
		}
	}
	slices.Sort(users)
	return users
}

// admitted are the users whom a policy lets in by the identity header.
func admitted(policy *securityv1beta1.AuthorizationPolicy) []string {
	var users []string
	for _, rule := range policy.Spec.Rules {
		for _, when := range rule.When {
			if strings.HasPrefix(when.Key, "request.headers[") {
				for _, value := range when.Values {
					users = append(users, strings.TrimPrefix(value, userPrefix))
				}
			}
		}
	}
	return users
}

func eventuallyPolicyUsers(t testing.TB, at place, ns string, want ...string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if have := policyUsers(t, at, ns); !slices.Equal(have, want) {
			return fmt.Errorf("want %q let in, have %q", want, have)
		}
		return nil
	})
}

// accessWatch looks at every version of the RoleBindings and policies in a namespace, and notes when somebody has lost
// their access.
type accessWatch struct {
	mu       sync.Mutex
	found    []string
	bindings map[string]bool
	policies map[string]bool
	stop     func()
	done     sync.WaitGroup
}

// watchAccess watches who's access, which they have now.
func watchAccess(t testing.TB, at place, ns, who string) *accessWatch {
	t.Helper()
	scheme, err := scheme.New()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.NewWithWatch(at.config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	w := &accessWatch{bindings: map[string]bool{}, policies: map[string]bool{}}
	var watches []watch.Interface
	for kind, list := range map[string]client.ObjectList{"binding": &rbacv1.RoleBindingList{}, "policy": &securityv1beta1.AuthorizationPolicyList{}} {
		// The first events are what there is; they come before anything that the test does is seen.
		watching, err := c.Watch(t.Context(), list, client.InNamespace(ns))
		if err != nil {
			t.Fatal(err)
		}
		watches = append(watches, watching)
		w.done.Go(func() {
			seen := false
			for event := range watching.ResultChan() {
				w.take(kind, event, who, &seen)
			}
		})
	}
	w.stop = sync.OnceFunc(func() {
		for _, watching := range watches {
			watching.Stop()
		}
		w.done.Wait()
	})
	t.Cleanup(w.stop)
	return w
}

func (w *accessWatch) take(kind string, event watch.Event, who string, seen *bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	have := w.bindings
	var name string
	var gives bool
	switch obj := event.Object.(type) {
	case *rbacv1.RoleBinding:
		name = obj.Name
		gives = slices.ContainsFunc(obj.Subjects, func(s rbacv1.Subject) bool { return s.Name == who })
	case *securityv1beta1.AuthorizationPolicy:
		have, name = w.policies, obj.Name
		gives = obj.Name != "ns-owner-access-istio" && slices.Contains(admitted(obj), who)
	default:
		return
	}
	if gives && event.Type != watch.Deleted {
		have[name], *seen = true, true
	} else {
		delete(have, name)
	}
	if *seen && len(have) == 0 {
		w.found = append(w.found, fmt.Sprintf("%s had no %s after %s of %s", who, kind, event.Type, name))
	}
}

// gaps ends the watch and says when access was lost.
func (w *accessWatch) gaps() []string {
	w.stop()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.found
}
