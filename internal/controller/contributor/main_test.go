// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package contributor_test

import (
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	eventsv1 "k8s.io/api/events/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

const patience = controllertest.Patience

// cluster is shared; controllers run one test at a time, as they would undo each other's configuration.
var cluster testkit.SharedCluster

func TestMain(m *testing.M) {
	flag.Parse()
	// Tests wait for the cluster rather than for a processor.
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(testkit.RunWithCluster(m, &cluster))
}

// start runs the controllers on the shared cluster and returns a client for it.
func start(t *testing.T, options ...controllertest.Option) client.Client {
	t.Helper()
	cfg := cluster.Use(t).Config()
	controllertest.Start(t, cfg, options...)
	return controllertest.Client(t, cfg)
}

// team makes a profile and waits until it is ready.
func team(t *testing.T, c client.Client) *kubeflowv1.Profile {
	t.Helper()
	p := controllertest.Create(t, c, controllertest.Profile(testkit.Name(t, "team")))
	controllertest.AwaitReady(t, c, p.Name)
	return p
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}

// binding is a RoleBinding with the two annotations, of a user, as somebody makes it by hand.
func binding(namespace, name string, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	b := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Annotations: map[string]string{"user": "somebody", "role": "edit"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubeflow-edit"},
		Subjects:   subjects,
	}
	if len(subjects) > 0 {
		b.Annotations["user"] = subjects[0].Name
	}
	return b
}

func create[T client.Object](t *testing.T, c client.Client, obj T) T {
	t.Helper()
	if err := c.Create(t.Context(), obj); err != nil {
		t.Fatalf("create %T %q: %v", obj, obj.GetName(), err)
	}
	return obj
}

func remove(t *testing.T, c client.Client, obj client.Object) {
	t.Helper()
	if err := c.Delete(t.Context(), obj); err != nil {
		t.Fatalf("delete %T %q: %v", obj, obj.GetName(), err)
	}
}

// edit changes obj as it is now.
func edit[T client.Object](t *testing.T, c client.Client, obj T, change func(T)) {
	t.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(obj), obj); err != nil {
			return err
		}
		change(obj)
		return c.Update(t.Context(), obj)
	})
	if err != nil {
		t.Fatalf("edit %T %q: %v", obj, obj.GetName(), err)
	}
}

func policy(namespace, name string) *securityv1beta1.AuthorizationPolicy {
	return &securityv1beta1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

// said is a policy in short: whose it is and whom it lets in.
func said(p *kubeflowv1.Profile, policy *securityv1beta1.AuthorizationPolicy) string {
	var words []string
	owned := slices.ContainsFunc(policy.OwnerReferences, func(ref metav1.OwnerReference) bool { return ref.UID == p.UID && ref.Controller != nil })
	switch labelled := policy.Labels[kubeflowv1.ManagedByLabel] == "berth"; {
	case labelled && owned:
		words = append(words, "ours:")
	case !labelled && !owned:
		words = append(words, "foreign:")
	default:
		words = append(words, "half ours:")
	}
	if policy.Spec.Selector != nil {
		words = append(words, "selected")
	}
	if action := policy.Spec.Action.String(); action != "ALLOW" {
		words = append(words, action)
	}
	for _, target := range policy.Spec.TargetRefs {
		words = append(words, "at "+target.Kind+" "+target.Name)
	}
	for _, rule := range policy.Spec.Rules {
		var words1 []string
		for _, from := range rule.From {
			for _, principal := range from.Source.Principals {
				words1 = append(words1, principal[strings.LastIndex(principal, "/")+1:])
			}
		}
		for _, when := range rule.When {
			words1 = append(words1, when.Key+"="+strings.Join(when.Values, "+"))
		}
		for _, to := range rule.To {
			words1 = append(words1, strings.Join(to.Operation.Methods, "+"))
		}
		words = append(words, "["+strings.Join(words1, " ")+"]")
	}
	return strings.Join(words, " ")
}

// lets is what said says of a policy of ours for users, with the default configuration.
func lets(users ...string) string {
	return "ours: [istio-ingressgateway-service-account ml-pipeline-ui request.headers[kubeflow-userid]=" + strings.Join(users, "+") + "]"
}

// saying is what all policies in p's namespace say, besides that for the owner.
func saying(ctx context.Context, c client.Client, p *kubeflowv1.Profile) (map[string]string, error) {
	var list securityv1beta1.AuthorizationPolicyList
	if err := c.List(ctx, &list, client.InNamespace(p.Name)); err != nil {
		return nil, err
	}
	all := map[string]string{}
	for _, policy := range list.Items {
		if policy.Name != "ns-owner-access-istio" {
			all[policy.Name] = said(p, policy)
		}
	}
	return all, nil
}

// perContributor are the policies of a namespace where each contributor has one: want, and the empty one for all.
func perContributor(want map[string]string) map[string]string {
	all := maps.Clone(want)
	if all == nil {
		all = map[string]string{}
	}
	all["ns-access-istio"] = "ours:"
	return all
}

// awaitPolicies waits until the policies in p's namespace, besides that for the owner, are want.
func awaitPolicies(t *testing.T, c client.Client, p *kubeflowv1.Profile, want map[string]string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		have, err := saying(t.Context(), c, p)
		if err != nil {
			return err
		}
		if diff := cmp.Diff(want, have); diff != "" {
			return fmt.Errorf("policies (-want +got):\n%s", diff)
		}
		return nil
	})
}

// told are the Events on p with the reason.
func told(ctx context.Context, c client.Client, p *kubeflowv1.Profile, reason string) ([]eventsv1.Event, error) {
	var list eventsv1.EventList
	err := c.List(ctx, &list, client.InNamespace(metav1.NamespaceDefault))
	return slices.DeleteFunc(list.Items, func(e eventsv1.Event) bool { return e.Regarding.UID != p.UID || e.Reason != reason }), err
}

// awaitTold waits for the first Event with the reason and returns its note.
func awaitTold(t *testing.T, c client.Client, p *kubeflowv1.Profile, reason string) (note string) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		events, err := told(t.Context(), c, p, reason)
		if err != nil || len(events) == 0 {
			return fmt.Errorf("no Event %s (error %w)", reason, err)
		}
		note = events[0].Note
		return nil
	})
	return note
}

// activity is what controllers do.
type activity struct {
	mu sync.Mutex
	// writes are by profile, in words: the objects are the controllers' to change.
	writes map[string][]string
	// looks is how often the policies of each namespace were listed.
	looks map[string]int
}

// watch records what the controllers do from now on; spoil may have writes fail.
func (a *activity) watch(spoil func(controllertest.Write) error) controllertest.Option {
	return func(o *controller.Options) {
		controllertest.Intercept(func(w controllertest.Write) error {
			a.mu.Lock()
			if a.writes == nil {
				a.writes = map[string][]string{}
			}
			a.writes[w.Profile()] = append(a.writes[w.Profile()], w.String())
			a.mu.Unlock()
			if spoil != nil {
				return spoil(w)
			}
			return nil
		}, nil)(o)
		writing := o.WrapClient
		o.WrapClient = func(c client.Client) client.Client {
			return writing(interceptor.NewClient(noWatch{c}, interceptor.Funcs{List: a.list}))
		}
	}
}

func (a *activity) list(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
	if _, ok := list.(*securityv1beta1.AuthorizationPolicyList); ok {
		var o client.ListOptions
		o.ApplyOptions(opts)
		a.mu.Lock()
		if a.looks == nil {
			a.looks = map[string]int{}
		}
		a.looks[o.Namespace]++
		a.mu.Unlock()
	}
	return c.List(ctx, list, opts...)
}

// noWatch lets a client pass for one that can watch.
type noWatch struct{ client.Client }

// Watch is never called.
func (noWatch) Watch(context.Context, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
	panic("not reached")
}

// lookedAt waits until namespace was looked at that often.
func (a *activity) lookedAt(t *testing.T, namespace string, times int) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if have := a.looked(namespace); have < times {
			return fmt.Errorf("namespace %q was looked at %d times, want %d", namespace, have, times)
		}
		return nil
	})
}

func (a *activity) looked(namespace string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.looks[namespace]
}

// written are the writes to p and its namespace so far.
func (a *activity) written(p *kubeflowv1.Profile) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.writes[p.Name])
}
