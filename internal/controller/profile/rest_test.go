// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// restless are profiles that Kubeflow's controller writes again and again, and one of each other kind.
var restless = map[string]func(*kubeflowv1.Profile){
	"owner-without-api-group": withOwner(rbacv1.Subject{Kind: "User", Name: "ann@example.com"}),
	"owner-with-api-group":    withOwner(rbacv1.Subject{Kind: "User", Name: "ann@example.com", APIGroup: rbacv1.GroupName}),
	"group":                   withOwner(rbacv1.Subject{Kind: "Group", Name: "ml-team"}),
	"service-account":         withOwner(serviceAccount("ci", "robot")),
	"uncanonical-quota": func(p *kubeflowv1.Profile) {
		p.Spec.ResourceQuotaSpec = kubeflowv1.ResourceQuotaSpec{
			Hard: map[corev1.ResourceName]kubeflowv1.Quantity{
				"requests.cpu": "1000m", "requests.memory": "1024Mi", "limits.cpu": "0.5", "limits.memory": "1.5Gi",
			},
			Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotTerminating},
		}
	},
	"annotate-only": func(p *kubeflowv1.Profile) {
		p.Spec.Plugins = []kubeflowv1.Plugin{{Kind: "AwsIamForServiceAccount", Spec: &runtime.RawExtension{
			Raw: []byte(`{"awsIamRole": "arn:aws:iam::123456789012:role/team", "annotateOnly": true}`),
		}}}
	},
	"adopted": func(*kubeflowv1.Profile) {},
}

// activity counts what controllers do.
type activity struct {
	mu     sync.Mutex
	writes []string
	// looks is how often each profile's namespaceAdmin was read: the last thing that a look at a profile reads.
	looks map[string]int
}

func (a *activity) watch(o *controller.Options) {
	a.looks = map[string]int{}
	controllertest.Intercept(func(w controllertest.Write) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.writes = append(a.writes, w.String())
		return nil
	}, nil)(o)
	writing := o.WrapClient
	o.WrapClient = func(c client.Client) client.Client {
		return writing(interceptor.NewClient(noWatch{c}, interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
				if _, ok := obj.(*rbacv1.RoleBinding); ok && key.Name == "namespaceAdmin" {
					a.mu.Lock()
					a.looks[key.Namespace]++
					a.mu.Unlock()
				}
				return c.Get(ctx, key, obj, opts...)
			},
		}))
	}
}

// noWatch lets a client pass for one that can watch.
type noWatch struct{ client.Client }

// Watch is never called.
func (noWatch) Watch(context.Context, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
	panic("not reached")
}

// written are the writes so far.
func (a *activity) written() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.writes)
}

// lookedAt says whether all profiles were looked at that often.
func (a *activity) lookedAt(profiles map[string]*kubeflowv1.Profile, times int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, p := range profiles {
		if a.looks[p.Name] < times {
			return fmt.Errorf("profile %q was looked at %d times, want %d", p.Name, a.looks[p.Name], times)
		}
	}
	return nil
}

// MUST decide: the spec is not rewritten. An unchanged profile costs nothing, neither when it is touched nor when the
// controller starts.
func TestRest_zeroWrites(t *testing.T) {
	t.Parallel()
	cfg := testkit.StartCluster(t).Config() // where nobody else writes
	c := controllertest.Client(t, cfg)
	first := controllertest.Start(t, cfg)
	profiles := map[string]*kubeflowv1.Profile{}
	for name, change := range restless {
		p := controllertest.Profile(testkit.Name(t, name), change)
		if name == "adopted" {
			create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
				Name: p.Name, Annotations: map[string]string{"owner": p.Spec.Owner.Name},
			}})
		}
		profiles[name] = create(t, c, p)
	}
	for _, p := range profiles {
		controllertest.AwaitReady(t, c, p.Name)
	}
	first.Stop(t)

	before := serverWrites(t, cfg)
	var seen activity
	controllertest.Start(t, cfg, seen.watch)
	testkit.Eventually(t, patience, func() error { return seen.lookedAt(profiles, 1) })
	for _, p := range profiles {
		edit(t, c, read(t, c, p), func(p *kubeflowv1.Profile) { p.Labels = map[string]string{"touched": "yes"} })
	}
	testkit.Eventually(t, patience, func() error { return seen.lookedAt(profiles, 2) })

	if have := seen.written(); len(have) > 0 {
		t.Errorf("the controllers wrote:\n%s", strings.Join(have, "\n"))
	}
	before["profiles PUT"] += len(profiles) // the touching
	if d := cmp.Diff(before, serverWrites(t, cfg)); d != "" {
		t.Errorf("writes that the API server counted (-before +after):\n%s", d)
	}
}

// serverWrites are the writes of all clients to kinds that profiles consist of, as the API server counts them.
func serverWrites(t *testing.T, cfg *rest.Config) map[string]int {
	t.Helper()
	clients, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	data, err := clients.RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	writes := map[string]int{}
	for line := range strings.Lines(string(data)) {
		sample, found := strings.CutPrefix(line, "apiserver_request_total{")
		if !found {
			continue
		}
		labels, value, _ := strings.Cut(sample, "} ")
		verb, resource, sub := label(labels, "verb"), label(labels, "resource"), label(labels, "subresource")
		ours := map[string]bool{
			"profiles": true, "namespaces": true, "serviceaccounts": true, "rolebindings": true,
			"authorizationpolicies": true, "resourcequotas": true,
		}
		usage := resource == "resourcequotas" && sub == "status" || resource == "serviceaccounts" && sub == "token"
		if !ours[resource] || usage || verb == "GET" || verb == "LIST" || verb == "WATCH" {
			continue
		}
		var count float64
		if _, err := fmt.Sscan(value, &count); err != nil {
			t.Fatal(err)
		}
		writes[strings.TrimSuffix(resource+"/"+sub, "/")+" "+verb] += int(count)
	}
	return writes
}

// label is the value of a label in the text format of metrics.
func label(labels, name string) string {
	for pair := range strings.SplitSeq(labels, ",") {
		if value, found := strings.CutPrefix(pair, name+`="`); found {
			return strings.TrimSuffix(value, `"`)
		}
	}
	return ""
}
