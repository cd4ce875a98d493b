// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package controller runs all of Berth's controllers in one process.
package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/source"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/cloud/awsiam"
	"berth.dev/berth/internal/cloud/gcpwi"
	"berth.dev/berth/internal/controller/classes"
	"berth.dev/berth/internal/controller/contributor"
	"berth.dev/berth/internal/controller/expiry"
	"berth.dev/berth/internal/controller/hook"
	"berth.dev/berth/internal/controller/mesh"
	"berth.dev/berth/internal/controller/plugin"
	"berth.dev/berth/internal/controller/profile"
	"berth.dev/berth/internal/controller/profileclass"
	"berth.dev/berth/internal/controller/profilesync"
	"berth.dev/berth/internal/controller/rolecoverage"
	"berth.dev/berth/internal/hookclient"
	"berth.dev/berth/internal/kube/scheme"
	"berth.dev/berth/internal/kube/slim"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/labelsfile"
	"berth.dev/berth/internal/memory"
	"berth.dev/berth/internal/render"
)

// Options are what the controllers need.
type Options struct {
	// RESTConfig is the cluster.
	RESTConfig *rest.Config
	// Render is what the administrator decided for all profiles, except the namespace labels.
	Render render.Config
	// OpenLabels opens the namespace labels file.
	OpenLabels func(labelsfile.Options) (*labelsfile.File, error)
	// MetricsAddress and ProbeAddress are where metrics and probes are served; 0 for nowhere.
	MetricsAddress, ProbeAddress string
	// MetricsSecure serves the metrics over TLS, to those who may get /metrics in the cluster.
	MetricsSecure bool
	// LeaderElection has one of several replicas work at a time, by a lease in LeaderElectionNamespace, the pod's own
	// where that is empty.
	LeaderElection          bool
	LeaderElectionNamespace string
	// WebhookAddress is where webhooks of git servers are heard; 0 for nowhere.
	WebhookAddress string
	// PluginVerify is how often bindings to cloud identities are looked at again.
	PluginVerify time.Duration
	// RoleCoverage supplies the roles of tenants with what they lack on kinds that the cluster serves.
	RoleCoverage bool
	// Providers replaces the real cloud providers, for tests.
	Providers map[string]plugin.Provider
	// WrapClient wraps the client that writes, for tests that count writes or have them fail.
	WrapClient func(client.Client) client.Client
	// Started is called when the controllers run, for tests. It may be nil.
	Started func()
	// WithoutHooks leaves the controller of hooks out, for tests that run it themselves.
	WithoutHooks bool
	// Repeated allows several runs in one process, for tests.
	Repeated bool
}

// LeaseName is the name of the lease by which replicas agree who works, as in Kubeflow's profile controller.
const LeaseName = "kubeflow-profile-controller"

// room is how much memory the process takes, besides its own code, while fewer than about ten thousand profiles live in
// its caches.
const room = 192 << 20

// cacheOptions keep out of memory what nobody reads.
func cacheOptions(o Options) cache.Options {
	options := cacheOfProfiles()
	if o.RoleCoverage {
		maps.Copy(options.ByObject, rolecoverage.Cache(o.secretNamespace()))
	}
	return options
}

func cacheOfProfiles() cache.Options {
	ours := labels.SelectorFromSet(labels.Set{kubeflowv1.ManagedByLabel: kubeflowv1.ManagedByValue})
	return cache.Options{
		DefaultTransform: slim.Transform,
		NewInformer:      slim.NewInformer,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.ServiceAccount{}: {Field: fields.OneTermNotEqualSelector("metadata.name", "default")},
			&corev1.ResourceQuota{}:  {Field: fields.OneTermEqualSelector("metadata.name", "kf-resource-quota")},
			// Whoever takes the label off one of ours makes it look gone, and it is put right like one that is.
			&networkingv1.NetworkPolicy{}:                               {Label: ours},
			&corev1.LimitRange{}:                                        {Label: ours},
			&admissionregistrationv1.ValidatingAdmissionPolicy{}:        {Label: ours},
			&admissionregistrationv1.ValidatingAdmissionPolicyBinding{}: {Label: ours},
			&admissionregistrationv1.ValidatingWebhookConfiguration{}:   {Label: ours},
		},
	}
}

// Run runs the controllers until ctx ends.
func Run(ctx context.Context, o Options) error {
	go memory.Keep(ctx, room)
	mgr, err := newManager(o)
	if err != nil {
		return err
	}
	if err := errors.Join(profile.RegisterMetrics(), profilesync.RegisterMetrics(), rolecoverage.RegisterMetrics()); err != nil && !o.Repeated {
		return fmt.Errorf("register metrics: %w", err)
	}
	if err := registerAll(mgr, o); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("serve /healthz: %w", err)
	}
	if err := mgr.AddReadyzCheck("ping", healthz.Ping); err != nil {
		return fmt.Errorf("serve /readyz: %w", err)
	}
	if o.Started != nil {
		go func() {
			if mgr.GetCache().WaitForCacheSync(ctx) {
				o.Started()
			}
		}()
	}
	log.FromContext(ctx).Info("Starting the controllers", "mesh", o.Render.MeshMode)
	return mgr.Start(ctx)
}

// registerAll is the flat list of everything that runs.
func registerAll(mgr ctrl.Manager, o Options) error {
	recorder := status.NewRecorder(mgr.GetEventRecorder("berth"), mgr.GetScheme())
	var enqueueAll func()
	labelsFile, err := o.OpenLabels(labelsfile.Options{
		Changed: func() { enqueueAll() },
		Failed: func(err error) {
			profile.LabelsFailed()
			ctrl.Log.Error(err, "Could not use the namespace labels file; the last good labels stay in force")
			tellLabelsFailed(recorder, err)
		},
	})
	if err != nil {
		return err
	}
	c := mgr.GetClient()
	if o.WrapClient != nil {
		c = o.WrapClient(c)
	}
	profiles := profile.New(profile.Options{
		Client: c, Direct: mgr.GetAPIReader(), Recorder: recorder, Config: o.Render,
		Labels: labelsFile.Labels, Reserved: ownNamespace(), Now: time.Now,
	})
	kinds := mesh.New(mgr.GetRESTMapper())
	enqueue, err := profiles.Register(mgr, kinds)
	if err != nil {
		return err
	}
	enqueueAll = func() { enqueue(context.Background()) } //nolint:forbidigo // the file's watcher has no context to pass

	contributors := contributor.New(contributor.Options{
		Client: c, Direct: mgr.GetAPIReader(), Recorder: recorder, Config: o.Render, Now: time.Now,
	})
	if err := contributors.Register(mgr, kinds); err != nil {
		return err
	}
	if err := expiry.New(expiry.Options{Client: c, Recorder: recorder, Now: time.Now}).Register(mgr); err != nil {
		return err
	}
	if err := coverRoles(mgr, c, recorder, o); err != nil {
		return err
	}
	followClasses(mgr, kinds, c)
	if err := followSyncs(mgr, kinds, c, recorder, o); err != nil {
		return err
	}
	if !o.WithoutHooks {
		if err := registerHooks(mgr, kinds, c, recorder); err != nil {
			return err
		}
	}
	if err := kinds.Look(context.Background()); err != nil { //nolint:forbidigo // nothing to cancel yet
		return err
	}

	providers := o.Providers
	if providers == nil {
		providers = map[string]plugin.Provider{
			render.PluginAWSIAM:           awsiam.New(awsiam.Options{}),
			render.PluginWorkloadIdentity: gcpwi.New(gcpwi.Options{}),
		}
	}
	plugins := plugin.New(plugin.Options{
		Client: c, Recorder: recorder, Config: o.Render, Providers: providers, Verify: o.PluginVerify, Now: time.Now,
	})
	if err := plugins.Register(mgr); err != nil {
		return err
	}
	for _, runnable := range []interface{ Start(context.Context) error }{kinds, labelsFile, recorder, profile.Heartbeat{}} {
		if err := mgr.Add(runnable); err != nil {
			return fmt.Errorf("add %T: %w", runnable, err)
		}
	}
	return nil
}

// coverRoles supplies the roles of tenants with what they lack, if that is wanted.
func coverRoles(mgr ctrl.Manager, c client.Client, recorder events.EventRecorder, o Options) error {
	if !o.RoleCoverage {
		return nil
	}
	return rolecoverage.New(rolecoverage.Options{
		Client: c, Direct: mgr.GetAPIReader(), Recorder: recorder, Namespace: o.secretNamespace(),
	}).Register(mgr)
}

// followClasses has the controller of classes run as soon as the cluster serves them.
func followClasses(mgr ctrl.Manager, kinds *mesh.Kinds, c client.Client) {
	kinds.Add(mesh.Watcher{
		Source: func(_ context.Context, obj client.Object) (source.Source, error) {
			if _, isClass := obj.(*berthv1alpha1.ProfileClass); !isClass {
				return nil, nil //nolint:nilnil // other kinds are not watched
			}
			return nil, profileclass.New(profileclass.Options{Client: c, Direct: mgr.GetAPIReader(), Now: time.Now}).Register(mgr)
		},
		Changed: func(context.Context) {},
	})
}

// registerHooks has hooks asked about the profiles of their classes.
func registerHooks(mgr ctrl.Manager, kinds *mesh.Kinds, c client.Client, recorder events.EventRecorder) error {
	known := classes.Classes{Reader: mgr.GetClient(), Served: kinds.Served}
	asking, err := hook.New(hook.Options{
		Client: c, Direct: mgr.GetAPIReader(), Recorder: recorder, Ask: (&hookclient.Client{}).Ask, Now: time.Now,
		Class: func(ctx context.Context, p *kubeflowv1.Profile) (berthv1alpha1.ProfileClassSpec, bool, error) {
			class, err := known.Of(ctx, p)
			return class.Spec, err == nil && !class.Unknown, err
		},
	}).Register(mgr)
	if err != nil {
		return err
	}
	kinds.Add(mesh.Watcher{
		Controller: asking,
		Source: func(_ context.Context, obj client.Object) (source.Source, error) {
			if _, isClass := obj.(*berthv1alpha1.ProfileClass); !isClass {
				return nil, nil //nolint:nilnil // other kinds are not watched
			}
			return classes.Source(mgr.GetCache()), nil
		},
		Changed: func(context.Context) {},
	})
	return nil
}

// tellLabelsFailed records an Event. Its object is the cluster's default namespace, as the trouble is no single
// profile's.
func tellLabelsFailed(recorder events.EventRecorder, err error) {
	regarding := &corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: corev1.NamespaceDefault}
	if own := ownNamespace(); len(own) > 0 {
		regarding.Name = own[0]
	}
	recorder.Eventf(regarding, nil, corev1.EventTypeWarning, "NamespaceLabelsInvalid", "Reload", "%s", status.Note(err.Error()))
}

// ownNamespace is the namespace that this process runs in, if it runs in a cluster.
func ownNamespace() []string {
	data, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	if err != nil {
		return nil
	}
	return []string{strings.TrimSpace(string(data))}
}

func newManager(o Options) (ctrl.Manager, error) {
	kinds, err := scheme.New()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(o.RESTConfig, ctrl.Options{
		Scheme:                        kinds,
		Metrics:                       metricsOptions(o),
		HealthProbeBindAddress:        o.ProbeAddress,
		LeaderElection:                o.LeaderElection,
		LeaderElectionID:              LeaseName,
		LeaderElectionNamespace:       o.LeaderElectionNamespace,
		LeaderElectionResourceLock:    resourcelock.LeasesResourceLock,
		LeaderElectionReleaseOnCancel: true,
		Cache:                         cacheOptions(o),
		Controller:                    config.Controller{SkipNameValidation: new(o.Repeated)},
		Client: client.Options{Cache: &client.CacheOptions{
			Unstructured: true,
			// A second look right after a write must see it, or it would write again.
			EnableReadYourWritesConsistency: new(true),
		}},
	})
	if err != nil {
		return nil, fmt.Errorf("set up the controllers: %w", err)
	}
	return mgr, nil
}
