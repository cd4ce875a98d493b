// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package controllertest runs the controllers for tests, as they run in production, in the test's own process.
package controllertest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"berth.dev/berth/internal/controller"
	"berth.dev/berth/internal/controller/plugin"
	"berth.dev/berth/internal/kube/scheme"
	"berth.dev/berth/internal/labelsfile"
	"berth.dev/berth/internal/render"
)

// Header is the user id header of the controllers that Start runs; the prefix is empty.
const Header = "kubeflow-userid"

// Controllers are running controllers.
type Controllers struct {
	cancel  context.CancelFunc
	done    chan struct{}
	err     error
	stopped sync.Once
}

// Option changes what the controllers run with.
type Option func(*controller.Options)

// WithConfig changes what an administrator decides.
func WithConfig(change func(*render.Config)) Option {
	return func(o *controller.Options) { change(&o.Render) }
}

// WithLabelsFile uses the namespace labels file at path.
func WithLabelsFile(path string) Option {
	return func(o *controller.Options) {
		o.OpenLabels = func(options labelsfile.Options) (*labelsfile.File, error) { return labelsfile.Open(path, options) }
	}
}

// WithProviders replaces the cloud providers.
func WithProviders(providers map[string]plugin.Provider) Option {
	return func(o *controller.Options) { o.Providers = providers }
}

// WithPluginVerify sets how often bindings to cloud identities are looked at again.
func WithPluginVerify(every time.Duration) Option {
	return func(o *controller.Options) { o.PluginVerify = every }
}

// WithClient wraps the client that the controllers write with.
func WithClient(wrap func(client.Client) client.Client) Option {
	return func(o *controller.Options) { o.WrapClient = wrap }
}

// Start runs the controllers on the cluster until the test ends or Stop is called. It returns when they run. A test that
// fails shows the errors they logged.
func Start(t testing.TB, cfg *rest.Config, options ...Option) *Controllers {
	t.Helper()
	log := Logs(t)
	t.Cleanup(func() {
		if t.Failed() {
			errs := log.Errors()
			t.Logf("the last of %d errors that the controllers logged:\n%s", len(errs), strings.Join(errs[max(0, len(errs)-10):], "\n"))
		}
	})
	labels := filepath.Join(t.TempDir(), "namespace-labels.yaml")
	if err := os.WriteFile(labels, []byte("app.kubernetes.io/part-of: kubeflow-profile\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	o := controller.Options{
		RESTConfig:     rest.CopyConfig(cfg),
		Render:         render.DefaultConfig(),
		MetricsAddress: "0",
		ProbeAddress:   "0",
		PluginVerify:   time.Hour,
		Repeated:       true,
		Started:        func() { close(started) },
	}
	o.RESTConfig.QPS = -1
	o.RESTConfig.WarningHandler = rest.NoWarnings{}
	o.Render.UserIDHeader, o.Render.UserIDPrefix = Header, ""
	WithLabelsFile(labels)(&o)
	for _, option := range options {
		option(&o)
	}

	ctx, cancel := context.WithCancel(context.Background())
	c := &Controllers{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.err = controller.Run(ctx, o)
	}()
	t.Cleanup(func() { c.Stop(t) })
	select {
	case <-started:
	case <-c.done:
		t.Fatalf("the controllers did not start: %v", c.err)
	case <-time.After(time.Minute):
		t.Fatal("the controllers did not start within a minute")
	}
	return c
}

// Done is closed when the controllers have ended.
func (c *Controllers) Done() <-chan struct{} { return c.done }

// Stop stops the controllers, waits until they have, and fails the test if they had failed.
func (c *Controllers) Stop(t testing.TB) {
	t.Helper()
	c.stopped.Do(func() {
		c.cancel()
		<-c.done
		if c.err != nil {
			t.Errorf("the controllers failed: %v", c.err)
		}
	})
}

// Client returns a client without a cache for the cluster, knowing all kinds that the controllers know.
func Client(t testing.TB, cfg *rest.Config) client.Client {
	t.Helper()
	scheme, err := scheme.New()
	if err != nil {
		t.Fatal(err)
	}
	unlimited := rest.CopyConfig(cfg)
	unlimited.QPS = -1
	unlimited.WarningHandler = rest.NoWarnings{}
	c, err := client.New(unlimited, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Write is one write that the controllers attempt.
type Write struct {
	// Verb is create, patch, delete or status.
	Verb string
	// Object is the object that is written.
	Object client.Object
}

// String is the verb and the type and name of the object.
func (w Write) String() string {
	return strings.Join([]string{w.Verb, w.Kind(), w.Object.GetNamespace() + "/" + w.Object.GetName()}, " ")
}

// Kind is the kind of the object.
func (w Write) Kind() string {
	if kind := w.Object.GetObjectKind().GroupVersionKind().Kind; kind != "" {
		return kind
	}
	return reflect.TypeOf(w.Object).Elem().Name()
}

// Profile is the name of the profile that the object is or belongs to.
func (w Write) Profile() string {
	if namespace := w.Object.GetNamespace(); namespace != "" {
		return namespace
	}
	return w.Object.GetName()
}

// Intercept has every write go through check first: an error keeps the write from being sent and is what the
// controllers get. after is called when the write was sent, with its result; it may be nil.
func Intercept(check func(Write) error, after func(Write, error)) Option {
	around := func(w Write, send func() error) error {
		if err := check(w); err != nil {
			return err
		}
		err := send()
		if after != nil {
			after(w, err)
		}
		return err
	}
	return WithClient(func(c client.Client) client.Client {
		return interceptor.NewClient(withWatch{c}, interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
				return around(Write{"create", obj}, func() error { return c.Create(ctx, obj, opts...) })
			},
			Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
				return around(Write{"patch", obj}, func() error { return c.Patch(ctx, obj, patch, opts...) })
			},
			Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
				return around(Write{"delete", obj}, func() error { return c.Delete(ctx, obj, opts...) })
			},
			SubResourcePatch: func(ctx context.Context, c client.Client, sub string, obj client.Object, patch client.Patch, opts ...client.SubResourcePatchOption) error {
				return around(Write{sub, obj}, func() error { return c.SubResource(sub).Patch(ctx, obj, patch, opts...) })
			},
		})
	})
}

// withWatch lets a client pass for one that can watch, which the interceptor asks for and the controllers never use.
type withWatch struct{ client.Client }

// Watch is never called.
func (withWatch) Watch(context.Context, client.ObjectList, ...client.ListOption) (watch.Interface, error) {
	return nil, errors.New("this client can't watch")
}
