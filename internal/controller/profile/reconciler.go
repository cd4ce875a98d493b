// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package profile is the controller that gives every Profile its namespace and everything in it, and keeps it so.
package profile

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/classes"
	"berth.dev/berth/internal/controller/mesh"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/render"
)

// Options are what a Reconciler needs.
type Options struct {
	// Client reads from the cache and writes.
	Client client.Client
	// Direct reads past the cache.
	Direct client.Reader
	// Recorder takes Events.
	Recorder events.EventRecorder
	// Config is what the administrator decided. Its namespace labels are those of Labels.
	Config render.Config
	// Labels returns the namespace labels, and false while they can't be read.
	Labels func() (map[string]string, bool)
	// Reserved are namespaces that no profile may take, such as the controller's own.
	Reserved []string
	// Now is the time; conditions carry it.
	Now func() time.Time
}

// Reconciler makes the cluster match a Profile.
type Reconciler struct {
	Options

	writer  *apply.Writer
	mesh    *mesh.Kinds
	classes classes.Classes
	repairs *repairs
	// parts and services find, in a namespace, what was made for parts of a class, and its InferenceServices.
	parts, services client.ListOption
}

// New returns a Reconciler. Register makes it run.
func New(options Options) *Reconciler {
	return &Reconciler{
		Options: options,
		writer:  apply.NewWriter(options.Client, options.Direct),
		repairs: newRepairs(options.Now),
		parts:   client.MatchingFields{partIndex: indexed}, services: client.MatchingFields{partIndex: indexed},
	}
}

// Reconcile makes the cluster match p. The outline below is the whole controller.
func (r *Reconciler) Reconcile(ctx context.Context, p *kubeflowv1.Profile) (ctrl.Result, error) {
	result, err := r.reconcile(ctx, p)
	if apierrors.IsConflict(err) {
		// Somebody else wrote first. That is no failure: look again, soon, without a word.
		return ctrl.Result{RequeueAfter: conflictPause}, nil
	}
	if err != nil {
		return ctrl.Result{}, withoutName(err, p.Spec.Owner.Name)
	}
	handled.WithLabelValues("reconcile").Inc()
	return result, nil
}

// withoutName keeps the owner's name out of the log, which is all that becomes of err: whoever refuses an object may
// repeat what is in it. The condition tells the whole.
func withoutName(err error, name string) error {
	words := strings.ReplaceAll(err.Error(), strconv.Quote(name), `"<owner>"`)
	if strings.Contains(name, "@") {
		words = strings.ReplaceAll(words, name, "<owner>")
	}
	return errors.New(words)
}

// conflictPause lets the cache catch up before the next look.
const conflictPause = 50 * time.Millisecond

func (r *Reconciler) reconcile(ctx context.Context, p *kubeflowv1.Profile) (ctrl.Result, error) {
	if !p.DeletionTimestamp.IsZero() {
		result, err := r.finalize(ctx, p)
		count(failureDeletion, err)
		return result, err
	}
	in, err := r.gather(ctx, p) // all reads
	if err != nil {
		count(failureNamespaceRead, err)
		return ctrl.Result{}, fmt.Errorf("gather inputs of profile %q: %w", p.Name, err)
	}
	tenant := render.Profile(p, in) // pure
	todo, err := r.plan(ctx, p, in, tenant)
	if err != nil {
		count(failureNamespaceRead, err)
		return ctrl.Result{}, fmt.Errorf("compare profile %q with the cluster: %w", p.Name, err)
	}
	if todo.reclaims() {
		// Deleting with --cascade=orphan takes the owner references off, and the cache may not know of the deletion
		// yet: putting them back would have the namespace deleted after all.
		if going, err := r.deleting(ctx, p); err != nil || going {
			return ctrl.Result{RequeueAfter: conflictPause}, err
		}
	}
	occasion := r.repairs.occasion(p, in, todo.writes())
	if pause := r.repairs.pause(p, in, occasion, todo.writes()); pause > 0 {
		return ctrl.Result{RequeueAfter: pause}, nil
	}
	done := r.do(ctx, p, todo) // all writes
	done.count()
	reported := r.report(ctx, p, tenant, occasion, done)
	count(failureStatus, reported)
	if tenant.Claim.Allowed() {
		r.repairs.worked(p, in, done.complete())
	} else {
		r.repairs.forget(p.UID) // being given the namespace later on is no repair
	}
	return ctrl.Result{}, errors.Join(done.err(), reported)
}

// deleting says, past the cache, whether p is being deleted or gone.
func (r *Reconciler) deleting(ctx context.Context, p *kubeflowv1.Profile) (bool, error) {
	now, err := get(ctx, r.Direct, &kubeflowv1.Profile{}, "", p.Name)
	if err != nil {
		return false, err
	}
	return now == nil || now.UID != p.UID || !now.DeletionTimestamp.IsZero(), nil
}

// gather reads what rendering depends on.
func (r *Reconciler) gather(ctx context.Context, p *kubeflowv1.Profile) (render.Input, error) {
	class, err := r.classes.Of(ctx, p)
	if err != nil {
		return render.Input{}, err
	}
	return r.gatherWith(ctx, p, class)
}

// gatherWith does so for p as if it had that class.
func (r *Reconciler) gatherWith(ctx context.Context, p *kubeflowv1.Profile, class render.Class) (in render.Input, err error) {
	in = render.Input{Config: r.Config, Class: class, Mesh: r.mesh.Served(), Reserved: r.Reserved}
	labels, known := r.Labels()
	in.Config.NamespaceLabels, in.LabelsUnknown = labels, !known

	if in.Namespace, err = get(ctx, r.Client, &corev1.Namespace{}, "", p.Name); err != nil {
		return in, err
	}
	if in.Editor, err = get(ctx, r.Client, &corev1.ServiceAccount{}, p.Name, render.EditorName); err != nil {
		return in, err
	}
	if in.Viewer, err = get(ctx, r.Client, &corev1.ServiceAccount{}, p.Name, render.ViewerName); err != nil {
		return in, err
	}
	return in, r.gatherParts(ctx, p.Name, &in)
}

// get reads one object into obj and returns it, or nil where there is none.
func get[T client.Object](ctx context.Context, reader client.Reader, obj T, namespace, name string) (T, error) {
	var none T
	err := reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, obj)
	if apierrors.IsNotFound(err) {
		return none, nil
	}
	if err != nil {
		return none, fmt.Errorf("read %T %s/%s: %w", obj, namespace, name, err)
	}
	return obj, nil
}

// addFinalizer makes sure that nothing is made which a deletion could leave behind.
func (r *Reconciler) addFinalizer(ctx context.Context, p *kubeflowv1.Profile) error {
	if controllerutil.ContainsFinalizer(p, kubeflowv1.ProfileFinalizer) {
		return nil
	}
	before := p.DeepCopy()
	controllerutil.AddFinalizer(p, kubeflowv1.ProfileFinalizer)
	return r.patchFinalizers(ctx, p, before, "add")
}

func (r *Reconciler) removeFinalizer(ctx context.Context, p *kubeflowv1.Profile) error {
	if !controllerutil.ContainsFinalizer(p, kubeflowv1.ProfileFinalizer) {
		return nil
	}
	before := p.DeepCopy()
	controllerutil.RemoveFinalizer(p, kubeflowv1.ProfileFinalizer)
	return client.IgnoreNotFound(r.patchFinalizers(ctx, p, before, "remove"))
}

// patchFinalizers writes the list of finalizers and nothing else: the spec stays as its author wrote it.
func (r *Reconciler) patchFinalizers(ctx context.Context, p, before *kubeflowv1.Profile, verb string) error {
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, p, patch, apply.FieldOwner); err != nil {
		return fmt.Errorf("%s finalizer of profile %q: %w", verb, p.Name, err)
	}
	return nil
}

// tell records an Event on p.
func (r *Reconciler) tell(p *kubeflowv1.Profile, event status.Event) {
	var related runtime.Object // not a nil of another type, which would count as an object
	if event.Related != nil {
		related = event.Related
	}
	r.Recorder.Eventf(p, related, event.Type, event.Reason, "Reconcile", "%s", event.Note)
}
