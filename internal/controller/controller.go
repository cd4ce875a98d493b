// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package controller runs all of Berth's controllers in one process.
package controller

import (
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/cloud/awsiam"
	"berth.dev/berth/internal/cloud/gcpwi"
	"berth.dev/berth/internal/controller/contributor"
	"berth.dev/berth/internal/controller/mesh"
	"berth.dev/berth/internal/controller/plugin"
	"berth.dev/berth/internal/controller/profile"
	"berth.dev/berth/internal/controller/profileclass"
	"berth.dev/berth/internal/kube/slim"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/labelsfile"
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
	// PluginVerify is how often bindings to cloud identities are looked at again.
	PluginVerify time.Duration
	// Providers replaces the real cloud providers, for tests.
	Providers map[string]plugin.Provider
	// WrapClient wraps the client that writes, for tests that count writes or have them fail.
	WrapClient func(client.Client) client.Client
	// Started is called when the controllers run, for tests. It may be nil.
	Started func()
	// Repeated allows several runs in one process, for tests.
	Repeated bool
}

// LeaseName is the name of the lease by which replicas agree who works, as in Kubeflow's profile controller.
const LeaseName = "kubeflow-profile-controller"

// Scheme has all the kinds that the controllers know.
func Scheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, kubeflowv1.AddToScheme, berthv1alpha1.AddToScheme, securityv1beta1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("register kinds: %w", err)
		}
	}
	return scheme, nil
}

// gcPercent trades a little processor time for memory: at rest there is little garbage, and much that stays.
const gcPercent = 50

// cacheOptions keep out of memory what nobody reads.
func cacheOptions() cache.Options {
	return cache.Options{
		DefaultTransform: slim.Transform,
		NewInformer:      slim.NewInformer,
		ByObject: map[client.Object]cache.ByObject{
			&corev1.ServiceAccount{}:                                    {Field: fields.OneTermNotEqualSelector("metadata.name", "default")},
			&corev1.ResourceQuota{}:                                     {Field: fields.OneTermEqualSelector("metadata.name", "kf-resource-quota")},
			&admissionregistrationv1.ValidatingAdmissionPolicy{}:        {Label: ofClasses()},
			&admissionregistrationv1.ValidatingAdmissionPolicyBinding{}: {Label: ofClasses()},
			&admissionregistrationv1.ValidatingWebhookConfiguration{}:   {Label: ofClasses()},
		},
	}
}

// ofClasses selects what was made for a class.
func ofClasses() labels.Selector {
	return labels.SelectorFromSet(labels.Set{kubeflowv1.ManagedByLabel: kubeflowv1.ManagedByValue})
}

// Run runs the controllers until ctx ends.
func Run(ctx context.Context, o Options) error {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	mgr, err := newManager(o)
	if err != nil {
		return err
	}
	if err := profile.RegisterMetrics(); err != nil && !o.Repeated {
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
	recorder := mgr.GetEventRecorder("berth")
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
	if err := registerClasses(mgr, c); err != nil {
		return err
	}
	for _, runnable := range []interface{ Start(context.Context) error }{kinds, labelsFile, profile.Heartbeat{}} {
		if err := mgr.Add(runnable); err != nil {
			return fmt.Errorf("add %T: %w", runnable, err)
		}
	}
	return nil
}

// registerClasses has the controller of classes run where the cluster serves them.
func registerClasses(mgr ctrl.Manager, c client.Client) error {
	kind := berthv1alpha1.GroupVersion.WithKind("ProfileClass")
	_, err := mgr.GetRESTMapper().RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("ask for profile classes: %w", err)
	}
	return profileclass.New(profileclass.Options{Client: c, Direct: mgr.GetAPIReader(), Now: time.Now}).Register(mgr)
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
	scheme, err := Scheme()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(o.RESTConfig, ctrl.Options{
		Scheme:                        scheme,
		Metrics:                       metricsOptions(o),
		HealthProbeBindAddress:        o.ProbeAddress,
		LeaderElection:                o.LeaderElection,
		LeaderElectionID:              LeaseName,
		LeaderElectionNamespace:       o.LeaderElectionNamespace,
		LeaderElectionResourceLock:    resourcelock.LeasesResourceLock,
		LeaderElectionReleaseOnCancel: true,
		Cache:                         cacheOptions(),
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
