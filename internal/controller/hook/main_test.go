// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/controller/every"
	"berth.dev/berth/internal/controller/hook"
	"berth.dev/berth/internal/hookclient"
	"berth.dev/berth/internal/kube/scheme"
	"berth.dev/berth/internal/testkit"
)

const patience = controllertest.Patience

var cluster testkit.SharedCluster

func TestMain(m *testing.M) { os.Exit(testkit.RunWithCluster(m, &cluster)) }

// env is a cluster with the profile controllers.
type env struct {
	client.Client

	config *rest.Config
}

func setUp(t *testing.T) env {
	t.Helper()
	cfg := cluster.Use(t).Config()
	controllertest.Start(t, cfg, func(o *controller.Options) { o.WithoutHooks = true })
	kinds, err := scheme.New()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.New(cfg, client.Options{Scheme: kinds})
	if err != nil {
		t.Fatal(err)
	}
	return env{Client: c, config: cfg}
}

// running is a hook controller that runs.
type running struct {
	enqueueAll func(context.Context)
	stop       func()

	mu     sync.Mutex
	writes map[string][]string // by profile
}

// written are the writes about a profile so far.
func (r *running) written(name string) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.writes[name])
}

// run runs the hook controller until the test ends or it is stopped. spoil may have writes fail; it may be nil.
func (e env) run(t *testing.T, spoil func(controllertest.Write) error) *running {
	t.Helper()
	controllertest.Logs(t)
	yes := true
	mgr, err := ctrl.NewManager(e.config, ctrl.Options{
		Scheme: e.Scheme(), Metrics: metricsserver.Options{BindAddress: "0"},
		Controller: config.Controller{SkipNameValidation: &yes},
		Client: client.Options{Cache: &client.CacheOptions{
			Unstructured: true, EnableReadYourWritesConsistency: &yes, // as in production
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &running{writes: map[string][]string{}}
	var wrapped controller.Options
	controllertest.Intercept(func(w controllertest.Write) error {
		r.mu.Lock()
		r.writes[w.Profile()] = append(r.writes[w.Profile()], w.String())
		r.mu.Unlock()
		if spoil != nil {
			return spoil(w)
		}
		return nil
	}, nil)(&wrapped)
	var asker hookclient.Client
	reconciler := hook.New(hook.Options{
		Client: wrapped.WrapClient(mgr.GetClient()), Direct: mgr.GetAPIReader(), Recorder: mgr.GetEventRecorder("berth"),
		Class: e.class, Ask: asker.Ask, Now: time.Now,
	})
	asking, err := reconciler.Register(mgr)
	if err != nil {
		t.Fatal(err)
	}
	all := every.New(mgr)
	r.enqueueAll = all.Enqueue
	if err := asking.Watch(all.Source()); err != nil {
		t.Fatal(err)
	}
	r.stop = runManager(t, mgr)
	return r
}

// runManager runs mgr and returns what stops it, at the end of the test at the latest.
func runManager(t *testing.T, mgr manager.Manager) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the controller failed: %v", err)
		}
	})
	t.Cleanup(stop)
	if !mgr.GetCache().WaitForCacheSync(ctx) {
		t.Fatal("the cache did not fill")
	}
	return stop
}

// class is the class that a profile's label names.
func (e env) class(ctx context.Context, p *kubeflowv1.Profile) (spec berthv1alpha1.ProfileClassSpec, known bool, err error) {
	name := p.Labels[berthv1alpha1.ClassLabel]
	if name == "" {
		return spec, true, nil
	}
	class := &berthv1alpha1.ProfileClass{}
	if err := e.Get(ctx, client.ObjectKey{Name: name}, class); err != nil {
		return spec, false, client.IgnoreNotFound(err)
	}
	return class.Spec, true, nil
}

// newClass makes a class with hooks and returns its name.
func (e env) newClass(t *testing.T, hooks ...berthv1alpha1.Hook) string {
	t.Helper()
	class := &berthv1alpha1.ProfileClass{ObjectMeta: metav1.ObjectMeta{Name: testkit.Name(t, "class")}}
	class.Spec.Hooks = hooks
	if err := e.Create(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	return class.Name
}

// setHooks changes the hooks of a class and has all profiles looked at.
func (e env) setHooks(t *testing.T, r *running, class string, hooks ...berthv1alpha1.Hook) {
	t.Helper()
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		now := &berthv1alpha1.ProfileClass{}
		if err := e.Get(t.Context(), client.ObjectKey{Name: class}, now); err != nil {
			return err
		}
		now.Spec.Hooks = hooks
		return e.Update(t.Context(), now)
	})
	if err != nil {
		t.Fatal(err)
	}
	r.enqueueAll(t.Context())
}

// newProfile makes a profile of the class.
func (e env) newProfile(t *testing.T, class string) *kubeflowv1.Profile {
	t.Helper()
	p := controllertest.Profile(testkit.Name(t, "team"))
	p.Labels = map[string]string{berthv1alpha1.ClassLabel: class}
	return controllertest.Create(t, e.Client, p)
}

func (e env) profile(t *testing.T, name string) *kubeflowv1.Profile {
	t.Helper()
	p := &kubeflowv1.Profile{}
	if err := e.Get(t.Context(), client.ObjectKey{Name: name}, p); err != nil {
		t.Fatal(err)
	}
	return p
}

func (e env) namespace(t *testing.T, name string) *corev1.Namespace {
	t.Helper()
	ns := &corev1.Namespace{}
	if err := e.Get(t.Context(), client.ObjectKey{Name: name}, ns); err != nil {
		t.Fatal(err)
	}
	return ns
}

func (e env) awaitHooksReady(t *testing.T, name string) {
	t.Helper()
	controllertest.AwaitCondition(t, e.Client, name, kubeflowv1.ConditionHooksReady, metav1.ConditionTrue, kubeflowv1.ReasonReady)
}

func (e env) awaitHookFailed(t *testing.T, name string) (message string) {
	t.Helper()
	return controllertest.AwaitCondition(t, e.Client, name, kubeflowv1.ConditionHooksReady, metav1.ConditionFalse, kubeflowv1.ReasonHookFailed)
}

// request is what a hook is asked.
type request struct {
	Object struct {
		APIVersion string            `json:"apiVersion"`
		Kind       string            `json:"kind"`
		Metadata   metav1.ObjectMeta `json:"metadata"`
	} `json:"object"`
	Attachments map[string]map[string]any `json:"attachments"`
	Finalizing  bool                      `json:"finalizing"`
}

// answerer is a hook, whose answers a test decides.
type answerer struct {
	*httptest.Server

	mu       sync.Mutex
	respond  func(request) any
	requests []request
}

func newAnswerer(t *testing.T, respond func(request) any) *answerer {
	t.Helper()
	a := &answerer{respond: respond}
	a.Server = httptest.NewServer(a)
	t.Cleanup(a.Close)
	return a
}

// ServeHTTP answers. What respond returns is sent as JSON, text as it is, and an int as a status.
func (a *answerer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var req request
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	a.mu.Lock()
	a.requests = append(a.requests, req)
	respond := a.respond
	a.mu.Unlock()
	switch answer := respond(req).(type) {
	case never:
		<-r.Context().Done()
	case int:
		w.WriteHeader(answer)
	case string:
		fmt.Fprint(w, answer)
	default:
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			panic(err)
		}
	}
}

// never is an answer that does not come.
type never struct{}

// answer has the hook answer otherwise from now on.
func (a *answerer) answer(respond func(request) any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.respond = respond
}

// about are the requests about a namespace so far.
func (a *answerer) about(namespace string) (about []request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.requests {
		if r.Object.Metadata.Name == namespace {
			about = append(about, r)
		}
	}
	return about
}

// awaitAsked waits until the hook was asked more than n times about a namespace.
func (a *answerer) awaitAsked(t *testing.T, namespace string, n int) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		if asked := len(a.about(namespace)); asked <= n {
			return fmt.Errorf("asked %d times about %q, want more than %d", asked, namespace, n)
		}
		return nil
	})
}

// hookFor is a hook of a class that asks a.
func hookFor(a *answerer, name string, attachments ...berthv1alpha1.HookAttachment) berthv1alpha1.Hook {
	return berthv1alpha1.Hook{Name: name, Sync: berthv1alpha1.HookEndpoint{URL: a.URL + "/sync", TimeoutSeconds: 10}, Attachments: attachments}
}

func attached(apiVersion, resource string, method berthv1alpha1.UpdateMethod) berthv1alpha1.HookAttachment {
	return berthv1alpha1.HookAttachment{
		APIVersion: apiVersion, Resource: resource, UpdateStrategy: berthv1alpha1.UpdateStrategy{Method: method},
	}
}

var configMaps = attached("v1", "configmaps", berthv1alpha1.InPlace)

type object = map[string]any

// configMap is an attachment.
func configMap(name, value string) object {
	return object{"apiVersion": "v1", "kind": "ConfigMap", "metadata": object{"name": name}, "data": object{"key": value}}
}

// always answers the same.
func always(answer any) func(request) any { return func(request) any { return answer } }

func attachments(all ...any) object {
	if all == nil {
		all = []any{}
	}
	return object{"attachments": all}
}

// awaitConfigMap waits until there is one with the value.
func (e env) awaitConfigMap(t *testing.T, namespace, name, value string) *corev1.ConfigMap {
	t.Helper()
	found := &corev1.ConfigMap{}
	testkit.Eventually(t, patience, func() error {
		if err := e.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, found); err != nil {
			return err
		}
		if found.Data["key"] != value {
			return fmt.Errorf("ConfigMap %q has %q, want %q", name, found.Data["key"], value)
		}
		return nil
	})
	return found
}

// awaitOthersReady waits until all parts of the profile but its hooks are in place.
func (e env) awaitOthersReady(t *testing.T, name string) {
	t.Helper()
	testkit.Eventually(t, controllertest.Patience, func() error {
		p := controllertest.Profile(name)
		if err := e.Get(t.Context(), client.ObjectKeyFromObject(p), p); err != nil {
			return err
		}
		for _, c := range p.Status.Conditions {
			if c.Type != kubeflowv1.ConditionReady && c.Type != kubeflowv1.ConditionHooksReady && c.Status != metav1.ConditionTrue {
				return fmt.Errorf("%s is %s: %s", c.Type, c.Status, c.Message)
			}
		}
		return nil
	})
}
