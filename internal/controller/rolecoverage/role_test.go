// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package rolecoverage_test

import (
	"bytes"
	"context"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/access/coverage"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/controller/rolecoverage"
	"berth.dev/berth/internal/kube/scheme"
	"berth.dev/berth/internal/kube/slim"
	"berth.dev/berth/internal/testkit"
)

const (
	component = "../../../deploy/kustomize/components/role-coverage"
	account   = "profiles-controller-service-account"
)

// installRole creates the controller's account and what the component gives it, and returns the rules besides what it hands
// out. Events are a right of the base.
func installRole(t *testing.T, c client.Client) (rules []rbacv1.PolicyRule) {
	t.Helper()
	create(t, c, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: home, Name: account}})
	for _, file := range []string{"role.yaml", "policy.yaml", "hands-out.yaml", "kinds.yaml"} {
		data, err := os.ReadFile(filepath.Join(component, file))
		if err != nil {
			t.Fatal(err)
		}
		for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
			obj := &unstructured.Unstructured{}
			if err := yaml.Unmarshal(doc, &obj.Object); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			if !strings.HasPrefix(obj.GetKind(), "Cluster") { // what kustomize adds
				obj.SetNamespace(home)
			}
			if subjects, found, _ := unstructured.NestedSlice(obj.Object, "subjects"); found {
				subjects[0].(map[string]any)["namespace"] = home
				if err := unstructured.SetNestedSlice(obj.Object, subjects, "subjects"); err != nil {
					t.Fatal(err)
				}
			}
			if strings.HasSuffix(obj.GetKind(), "Role") && file != "kinds.yaml" {
				var role rbacv1.ClusterRole
				if err := runtime.DefaultUnstructuredConverter.FromUnstructured(obj.Object, &role); err != nil {
					t.Fatal(err)
				}
				rules = append(rules, role.Rules...)
			}
			create(t, c, obj)
		}
	}
	events := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "events"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"events.k8s.io"}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}}},
	}
	create(t, c, events, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "events"}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "events"},
		Subjects: []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: home, Name: account}},
	})
	return append(rules, events.Rules...)
}

// alone runs nothing but role coverage.
func alone(t *testing.T, cfg *rest.Config, before func(client.Client) client.Client) {
	t.Helper()
	controllertest.Logs(t)
	kinds, err := scheme.New()
	if err != nil {
		t.Fatal(err)
	}
	byObject := map[client.Object]cache.ByObject{}
	maps.Copy(byObject, rolecoverage.Cache(home))
	mgr, err := ctrl.NewManager(cfg, ctrl.Options{
		Scheme: kinds, Metrics: server.Options{BindAddress: "0"}, Controller: config.Controller{SkipNameValidation: new(true)},
		Cache:  cache.Options{ByObject: byObject, DefaultTransform: slim.Transform, NewInformer: slim.NewInformer},
		Client: client.Options{Cache: &client.CacheOptions{EnableReadYourWritesConsistency: new(true)}},
	})
	if err != nil {
		t.Fatal(err)
	}
	err = rolecoverage.New(rolecoverage.Options{
		Client: before(mgr.GetClient()), Direct: mgr.GetAPIReader(), Recorder: mgr.GetEventRecorder("berth"), Namespace: home,
	}).Register(mgr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the controller failed: %v", err)
		}
	})
}

func TestRole_isWhatTheControllerNeedsAndNoMore(t *testing.T) {
	t.Parallel()
	records := testkit.NewAudit(t, "system:serviceaccount:"+home+":"+account)
	cluster, c := begin(t, records.Option())
	rules := installRole(t, c)
	// Somebody else makes a role just before the controller does, so that it has to look.
	overtaking := overtaking{of: c, name: coverage.Name("ray.io", "rayjobs", view)}
	alone(t, cluster.ServiceAccountConfig(t, home, account), func(inner client.Client) client.Client {
		overtaking.Client = inner
		return overtaking
	})
	config := policy("groups: [{name: serving.kserve.io}, {name: ray.io}]")
	create(t, c, kind(t), config, another(t, "ray.io", "rayjobs", "RayJob"))
	await(t, c, view, viewing...)
	await(t, c, edit, editing...)
	awaitRole(t, c, overtaking.name, "[rayjobs] [get list watch]", "[rayjobs/status] [get]")
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: coverage.Name("serving.kserve.io", "trainedmodels", edit)}}
	change(t, c, role, func() { role.Rules[0].Verbs = []string{"*"} })
	await(t, c, edit, editing...)
	remove(t, c, kind(t))
	await(t, c, view)
	await(t, c, edit)
	// The second Event of a kind is written otherwise than the first.
	both := config.Data
	change(t, c, config, func() { config.Data = policy("groups: [{name: serving.kserve.io}]").Data })
	awaitRole(t, c, overtaking.name)
	change(t, c, config, func() { config.Data = both })

	records.AwaitExactly(t, patience, rules, []string{
		// Where a server can't begin a watch with a list.
		"list clusterroles.rbac.authorization.k8s.io", "list configmaps", "list customresourcedefinitions.apiextensions.k8s.io",
	})
}

// overtaking makes a role just before somebody else does.
type overtaking struct {
	client.Client

	of   client.Client
	name string
}

// Create creates obj when it is there already, if it is the role.
func (o overtaking) Create(ctx context.Context, obj client.Object, opts ...client.CreateOption) error {
	if role, is := obj.(*rbacv1.ClusterRole); is && role.Name == o.name {
		other := role.DeepCopy()
		other.Rules = other.Rules[:1]
		if err := o.of.Create(ctx, other); err != nil {
			return err
		}
	}
	return o.Client.Create(ctx, obj, opts...)
}

// The API server keeps the controller from giving what nobody let it give, whatever its policy says. That keeps back no
// other role.
func TestRole_handsOutWhatItIsLetAndNoMore(t *testing.T) {
	t.Parallel()
	cluster, c := begin(t)
	installRole(t, c)
	alone(t, cluster.ServiceAccountConfig(t, home, account), func(inner client.Client) client.Client { return inner })
	unknown := another(t, "serving.kserve.io", "brandnewmodels", "BrandNewModel")
	create(t, c, unknown)
	if note := awaitEvent(t, c, rolecoverage.EventGapOpen, unknown.Name); !strings.Contains(note, rolecoverage.GrantLabel) {
		t.Errorf("the Event says %q", note)
	}
	create(t, c, kind(t))
	await(t, c, view, viewing...)
	await(t, c, edit, editing...)
	name := coverage.Name("serving.kserve.io", "brandnewmodels", edit)
	if rules, err := rulesOf(t, c, name); err != nil || len(rules) > 0 {
		t.Errorf("%s has the rules %v (error %v)", name, rules, err)
	}
	create(t, c, &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: "new-models", Labels: map[string]string{rolecoverage.GrantLabel: "true"}},
		Rules: []rbacv1.PolicyRule{
			{APIGroups: []string{"serving.kserve.io"}, Resources: []string{"brandnewmodels"}, Verbs: []string{"get", "list", "watch", "create", "update", "patch", "delete"}},
			{APIGroups: []string{"serving.kserve.io"}, Resources: []string{"brandnewmodels/status"}, Verbs: []string{"get"}},
		},
	})
	awaitRole(t, c, name, "[brandnewmodels] [create update patch delete]")
	awaitEvent(t, c, rolecoverage.EventGapClosed, unknown.Name)

	// Nor can whoever has the account make itself more powerful by it.
	self := as(t, cluster.ServiceAccountConfig(t, home, account))
	for what, rule := range map[string]rbacv1.PolicyRule{
		"secrets":            {APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}},
		"a wildcard":         {APIGroups: []string{"serving.kserve.io"}, Resources: []string{"*"}, Verbs: []string{"get"}},
		"cluster-wide kinds": {APIGroups: []string{"serving.kserve.io"}, Resources: []string{"clusterservingruntimes"}, Verbs: []string{"get"}},
		"escalate":           {APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"}, Verbs: []string{"escalate"}},
	} {
		err := self.Create(t.Context(), &rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: "berth-more", Labels: map[string]string{edit.Label(): "true", rolecoverage.GrantLabel: "true"}},
			Rules:      []rbacv1.PolicyRule{rule},
		})
		wantForbidden(t, "hand out "+what, err)
	}
	wantForbidden(t, "make cluster-admin a part of kubeflow-edit", self.Patch(t.Context(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "cluster-admin"}},
		client.RawPatch("application/merge-patch+json", []byte(`{"metadata":{"labels":{"`+edit.Label()+`":"true"}}}`))))
}
