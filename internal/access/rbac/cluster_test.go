// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rbac_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/snapshot"
	"berth.dev/berth/internal/testkit"
)

const (
	patience = time.Minute

	// The random test asks this many questions, with a seed that the environment can replace.
	questions   = 20_000
	seedSetting = "BERTH_RBAC_SEED"
	defaultSeed = 6
	askers      = 24
)

// clients are for a cluster of the test's own: what one binds, another must not find.
func clients(t *testing.T) *kubernetes.Clientset {
	t.Helper()
	config := testkit.StartCluster(t, testkit.WithoutIstio(), testkit.WithoutBerth()).Config()
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.WarningHandler = rest.NoWarnings{}
	c, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The API server, asked the same, says the same: with the rules that Kubernetes aggregated, and with those that we do.
func TestAuthorizer_agreesWithTheAPIServer(t *testing.T) {
	seed := uint64(defaultSeed)
	if text := os.Getenv(seedSetting); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", seedSetting, err)
		}
	}
	t.Logf("the seed is %d; %s=N replaces it", seed, seedSetting)
	c := clients(t)
	w := newWorld(seed)
	made := w.snapshot()
	create(t, c, made)
	awaitSettled(t, c)

	live := listed(t, c)
	filled := rbac.New(live)
	written := map[string]bool{} // in a role that aggregates, some rules were written by us
	for _, r := range made.ClusterRoles {
		written[r.Name] = len(r.Rules) > 0
	}
	cleared := 0
	for i, r := range live.ClusterRoles {
		if r.AggregationRule != nil && len(r.Rules) > 0 && !written[r.Name] {
			live.ClusterRoles[i] = r.DeepCopy()
			live.ClusterRoles[i].Rules = nil
			cleared++
		}
	}
	if cleared < 5 {
		t.Fatalf("only %d ClusterRoles have aggregated rules", cleared)
	}
	aggregated := rbac.New(live)

	type asked struct {
		user rbac.User
		q    rbac.Question
	}
	asks := make(chan asked, askers)
	var allowed, wrong atomic.Int64
	var group sync.WaitGroup
	for range askers {
		group.Go(func() {
			for ask := range asks {
				want, err := review(t.Context(), c, ask.user, ask.q)
				if err != nil {
					t.Errorf("%+v, %v: %v", ask.user, ask.q, err)
					continue
				}
				if want {
					allowed.Add(1)
				}
				d := filled.Can(ask.user, ask.q)
				fast, again := filled.Allowed(ask.user, ask.q), aggregated.Allowed(ask.user, ask.q)
				if (d.Allowed != want || fast != want || again != want) && wrong.Add(1) <= 10 {
					t.Errorf("%+v, %+v: the API server says %t; Can %+v, Allowed %t, with our aggregation %t", ask.user, ask.q, want, d, fast, again)
				}
			}
		})
	}
	for range questions {
		u, q := w.ask(made)
		asks <- asked{u, q}
	}
	close(asks)
	group.Wait()
	t.Logf("%d of %d questions are allowed, %d answers differ", allowed.Load(), questions, wrong.Load())
	if n := allowed.Load(); n < questions/20 || n > questions*19/20 {
		t.Errorf("%d of %d questions are allowed: too one-sided to prove anything", n, questions)
	}
}

// review asks the API server.
func review(ctx context.Context, c kubernetes.Interface, u rbac.User, q rbac.Question) (bool, error) {
	r := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: u.Name, Groups: u.Groups}}
	if q.Path != "" {
		r.Spec.NonResourceAttributes = &authorizationv1.NonResourceAttributes{Verb: q.Verb, Path: q.Path}
	} else {
		r.Spec.ResourceAttributes = &authorizationv1.ResourceAttributes{
			Verb: q.Verb, Group: q.Group, Resource: q.Resource, Subresource: q.Subresource, Name: q.Name, Namespace: q.Namespace,
		}
	}
	answer, err := c.AuthorizationV1().SubjectAccessReviews().Create(ctx, r, metav1.CreateOptions{})
	if err != nil {
		return false, err
	}
	return answer.Status.Allowed, nil
}

// create makes all that s has.
func create(t *testing.T, c kubernetes.Interface, s *snapshot.Snapshot) {
	t.Helper()
	ctx, opts := t.Context(), metav1.CreateOptions{}
	var problems []error
	made := func(_ any, err error) { problems = append(problems, err) }
	for _, namespace := range s.Namespaces {
		made(c.CoreV1().Namespaces().Create(ctx, namespace, opts))
	}
	for _, r := range s.ClusterRoles {
		made(c.RbacV1().ClusterRoles().Create(ctx, r, opts))
	}
	for _, r := range s.Roles {
		made(c.RbacV1().Roles(r.Namespace).Create(ctx, r, opts))
	}
	for _, b := range s.RoleBindings {
		made(c.RbacV1().RoleBindings(b.Namespace).Create(ctx, b, opts))
	}
	for _, b := range s.ClusterRoleBindings {
		made(c.RbacV1().ClusterRoleBindings().Create(ctx, b, opts))
	}
	if err := errors.Join(problems...); err != nil {
		t.Fatal(err)
	}
}

// listed is what decides in the cluster now.
func listed(t *testing.T, c kubernetes.Interface) *snapshot.Snapshot {
	t.Helper()
	opts := metav1.ListOptions{}
	clusterRoles, err1 := c.RbacV1().ClusterRoles().List(t.Context(), opts)
	roles, err2 := c.RbacV1().Roles("").List(t.Context(), opts)
	clusterRoleBindings, err3 := c.RbacV1().ClusterRoleBindings().List(t.Context(), opts)
	roleBindings, err4 := c.RbacV1().RoleBindings("").List(t.Context(), opts)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	return &snapshot.Snapshot{
		ClusterRoles: pointers(clusterRoles.Items), Roles: pointers(roles.Items),
		ClusterRoleBindings: pointers(clusterRoleBindings.Items), RoleBindings: pointers(roleBindings.Items),
	}
}

func pointers[T any](items []T) []*T {
	var all []*T
	for i := range items {
		all = append(all, &items[i])
	}
	return all
}

// awaitSettled returns when Kubernetes has aggregated all roles, and the authorizer of the API server has seen that, and
// all bindings.
func awaitSettled(t *testing.T, c kubernetes.Interface) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		return unsettled(listed(t, c).ClusterRoles)
	})
	// The server watches each kind by itself, in order: what is made last is seen last.
	rule := to(list("look"), list(""), list("markers"))
	create(t, c, &snapshot.Snapshot{
		ClusterRoles: []*rbacv1.ClusterRole{clusterRole("marker", rule)}, Roles: []*rbacv1.Role{role("world-0", "marker", rule)},
		ClusterRoleBindings: []*rbacv1.ClusterRoleBinding{clusterRoleBinding("marker", toClusterRole("marker"), user("of-the-cluster"))},
		RoleBindings:        []*rbacv1.RoleBinding{roleBinding("world-0", "marker", toRole("marker"), user("of-the-namespace"))},
	})
	testkit.Eventually(t, patience, func() error {
		for _, name := range list("of-the-cluster", "of-the-namespace") {
			seen, err := review(t.Context(), c, rbac.User{Name: name}, rbac.Question{Verb: "look", Resource: "markers", Namespace: "world-0"})
			if err != nil || !seen {
				return fmt.Errorf("the authorizer has not seen the marker %s (error %w)", name, err)
			}
		}
		return nil
	})
}

// unsettled says which role lacks, or has too much of, what those have that it selects.
func unsettled(roles []*rbacv1.ClusterRole) error {
	for _, r := range roles {
		if r.AggregationRule == nil {
			continue
		}
		var want []rbacv1.PolicyRule
		for i := range r.AggregationRule.ClusterRoleSelectors {
			selector, err := metav1.LabelSelectorAsSelector(&r.AggregationRule.ClusterRoleSelectors[i])
			if err != nil {
				return err
			}
			for _, other := range roles {
				if other.Name != r.Name && selector.Matches(labels.Set(other.Labels)) {
					want = append(want, other.Rules...)
				}
			}
		}
		if len(want) > 0 && !sameRules(want, r.Rules) { // with nothing to put there, Kubernetes leaves what is there
			return fmt.Errorf("ClusterRole %q is not aggregated yet", r.Name)
		}
	}
	return nil
}

func sameRules(x, y []rbacv1.PolicyRule) bool { return within(x, y) && within(y, x) }

func within(some, all []rbacv1.PolicyRule) bool {
	for _, rule := range some {
		found := false
		for _, other := range all {
			found = found || equality.Semantic.DeepEqual(rule, other)
		}
		if !found {
			return false
		}
	}
	return true
}

// One team's editors may read another's InferenceServices, by one Role and RoleBinding, and nothing else.
func TestAuthorizer_exampleOfOneRole(t *testing.T) {
	const ours, theirs = "payments-engineering", "risk-modeling"
	c := clients(t)
	create(t, c, &snapshot.Snapshot{
		Namespaces:   []*corev1.Namespace{{ObjectMeta: metav1.ObjectMeta{Name: ours}}, {ObjectMeta: metav1.ObjectMeta{Name: theirs}}},
		Roles:        []*rbacv1.Role{role(theirs, "read-models", to(list("get", "list"), list("serving.kserve.io"), list("inferenceservices")))},
		RoleBindings: []*rbacv1.RoleBinding{roleBinding(theirs, "payments", toRole("read-models"), account(ours, "default-editor"))},
	})
	editor := rbac.SignedIn("system:serviceaccount:" + ours + ":default-editor")
	models := func(verb string) rbac.Question {
		return rbac.Question{Verb: verb, Group: "serving.kserve.io", Resource: "inferenceservices", Namespace: theirs}
	}
	testkit.Eventually(t, patience, func() error {
		if seen, err := review(t.Context(), c, editor, models("get")); err != nil || !seen {
			return fmt.Errorf("the API server has not seen the binding (error %w)", err)
		}
		return nil
	})
	a := rbac.New(listed(t, c))
	secrets, elsewhere := rbac.Question{Verb: "get", Resource: "secrets", Namespace: theirs}, models("get")
	elsewhere.Namespace = ours
	for q, want := range map[rbac.Question]bool{
		models("get"): true, models("list"): true, models("create"): false, models("watch"): false, secrets: false, elsewhere: false,
	} {
		server, err := review(t.Context(), c, editor, q)
		if d := a.Can(editor, q); err != nil || d.Allowed != want || server != want {
			t.Errorf("%v: %+v, and the API server says %t (error %v), want %t", q, d, server, err, want)
		}
	}
	for _, h := range a.Holds(editor) {
		if h.Binding.Namespace != "" && h.Binding != (rbac.Ref{Kind: rbac.KindRoleBinding, Namespace: theirs, Name: "payments"}) {
			t.Errorf("the editor also has %+v", h)
		}
	}
}
