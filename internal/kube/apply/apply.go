// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package apply makes the cluster have the objects that render asks for. It alone writes them: it creates what is
// absent, patches what differs, and writes nothing where nothing differs. First it plans, reading only; what is
// planned can be looked at, counted or dropped before any of it is done.
package apply

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"berth.dev/berth/internal/render"
)

// FieldOwner is the name under which the API server records our writes.
const FieldOwner = client.FieldOwner("berth")

// Action is what is done to an object.
type Action string

// Actions.
const (
	Create   Action = "create"
	Patch    Action = "patch"
	Recreate Action = "recreate"
	Delete   Action = "delete"
)

// Change is one write, planned or done.
type Change struct {
	Action    Action
	Kind      string
	Namespace string
	Name      string
	// Fields are the fields that differed, for people.
	Fields []string
}

// String names the object and what changed.
func (c Change) String() string {
	s := c.Kind + " " + c.Name
	if c.Namespace != "" {
		s = c.Kind + " " + c.Namespace + "/" + c.Name
	}
	if len(c.Fields) == 0 {
		return s
	}
	return fmt.Sprintf("%s %v", s, c.Fields)
}

// Op is a planned write.
type Op struct {
	Change

	want render.Object
	live client.Object
	diff difference
}

// Writer plans and writes.
type Writer struct {
	// cached reads what the plan compares with, and writes.
	cached client.Client
	// direct reads past the cache, where the cache was found to be behind.
	direct client.Reader
}

// NewWriter returns a Writer that reads from cached, and from direct where the cache is behind.
func NewWriter(cached client.Client, direct client.Reader) *Writer {
	return &Writer{cached: cached, direct: direct}
}

// Plan returns the writes that make objects be there as wanted and absent be gone, in order. Of the absent, only those
// whose owner is uid are deleted: others may have the same name.
func (w *Writer) Plan(ctx context.Context, uid types.UID, objects, absent []render.Object) ([]Op, error) {
	var ops []Op
	for _, want := range objects {
		op, err := w.plan(ctx, want)
		if err != nil {
			return nil, err
		}
		if op != nil {
			ops = append(ops, *op)
		}
	}
	for _, gone := range absent {
		live, err := w.get(ctx, w.cached, gone.Resource)
		if err != nil {
			return nil, err
		}
		if live != nil && live.GetDeletionTimestamp() == nil && OwnedBy(live, uid) {
			ops = append(ops, Op{Change: w.change(Delete, gone.Resource), want: gone, live: live})
		}
	}
	return ops, nil
}

// Ensure creates want, or brings what is there in line. It reads only where something is there already.
func (w *Writer) Ensure(ctx context.Context, want render.Object) (*Change, error) {
	return w.create(ctx, Op{Change: w.change(Create, want.Resource), want: want})
}

// Remove returns the writes that delete exactly these live objects.
func (w *Writer) Remove(live []client.Object) []Op {
	var ops []Op
	for _, obj := range live {
		ops = append(ops, Op{Change: w.change(Delete, obj), live: obj})
	}
	return ops
}

func (w *Writer) plan(ctx context.Context, want render.Object) (*Op, error) {
	live, err := w.get(ctx, w.cached, want.Resource)
	if err != nil {
		return nil, err
	}
	return w.PlanFrom(want, live)
}

// PlanFrom returns the write that makes want be there where live was read before, and nil where nothing is to be done.
// Live is nil where there is none. What was decided about the object that was read is not done to another: one that
// came, went or changed meanwhile is a conflict.
func (w *Writer) PlanFrom(want render.Object, live client.Object) (*Op, error) {
	if live == nil {
		return &Op{Change: w.change(Create, want.Resource), want: want}, nil
	}
	return w.compare(want, live)
}

func (w *Writer) compare(want render.Object, live client.Object) (*Op, error) {
	if want.Foreign != nil && want.Foreign(live) {
		return nil, nil //nolint:nilnil // nothing to be done is an answer here, not an error
	}
	d, err := diff(want, live)
	if err != nil || len(d.fields) == 0 {
		return nil, err
	}
	action := Patch
	if d.recreate {
		action = Recreate
	}
	op := &Op{Change: w.change(action, want.Resource), want: want, live: live, diff: d}
	op.Fields = d.fields
	return op, nil
}

// Do carries out op. It returns the change made, which differs from the planned one where the cache was behind, and
// nil where nothing had to be done after all.
func (w *Writer) Do(ctx context.Context, op Op) (*Change, error) {
	switch op.Action {
	case Create:
		return w.create(ctx, op)
	case Patch:
		return w.patch(ctx, op)
	case Recreate:
		if held := op.live.GetFinalizers(); op.live.GetDeletionTimestamp() != nil && len(held) > 0 {
			return nil, fmt.Errorf("replace %s: the one that is there is being deleted and held by its finalizers %q: remove them",
				op.Change, held)
		}
		if err := w.delete(ctx, op.live); err != nil {
			return nil, err
		}
		done, err := w.create(ctx, op)
		if done != nil {
			done.Action, done.Fields = Recreate, op.Fields
		}
		return done, err
	default:
		if err := w.delete(ctx, op.live); err != nil {
			return nil, err
		}
		return &op.Change, nil
	}
}

func (w *Writer) create(ctx context.Context, op Op) (*Change, error) {
	obj, ok := op.want.DeepCopyObject().(client.Object)
	if !ok {
		return nil, fmt.Errorf("create %s: %T is no object", op.Change, op.want.Resource)
	}
	err := w.cached.Create(ctx, obj, FieldOwner)
	if err == nil {
		op.Action = Create
		return &op.Change, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("create %s: %w", op.Change, err)
	}
	if op.Kind == "Namespace" {
		// It may be somebody else's: that is decided anew, not here.
		return nil, conflict(op, "it appeared meanwhile")
	}
	return w.overtake(ctx, op)
}

// overtake brings an object in line that is there although the cache does not have it.
func (w *Writer) overtake(ctx context.Context, op Op) (*Change, error) {
	live, err := w.get(ctx, w.direct, op.want.Resource)
	if err != nil {
		return nil, err
	}
	if live == nil {
		return nil, conflict(op, "it came and went")
	}
	fresh, err := w.compare(op.want, live)
	if err != nil || fresh == nil {
		return nil, err
	}
	if fresh.Action == Recreate {
		return nil, conflict(op, "one with another role took its place")
	}
	return w.patch(ctx, *fresh)
}

func (w *Writer) patch(ctx context.Context, op Op) (*Change, error) {
	data, err := json.Marshal(op.diff.patch)
	if err != nil {
		return nil, fmt.Errorf("encode patch of %s: %w", op.Change, err)
	}
	err = w.cached.Patch(ctx, op.live, client.RawPatch(types.MergePatchType, data), FieldOwner)
	if apierrors.IsNotFound(err) {
		return nil, conflict(op, "it went meanwhile")
	}
	if err != nil {
		return nil, fmt.Errorf("patch %s: %w", op.Change, err)
	}
	return &op.Change, nil
}

// delete removes exactly the object that was looked at, not one that has taken its place since.
func (w *Writer) delete(ctx context.Context, live client.Object) error {
	uid := live.GetUID()
	err := w.cached.Delete(ctx, live, client.Preconditions{UID: &uid})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("delete %s: %w", w.change(Delete, live), err)
	}
	return nil
}

// get returns the live object of the same kind and name as want, or nil.
func (w *Writer) get(ctx context.Context, from client.Reader, want render.Resource) (client.Object, error) {
	gvk, err := apiutil.GVKForObject(want, w.cached.Scheme())
	if err != nil {
		return nil, fmt.Errorf("find the kind of %T %q: %w", want, want.GetName(), err)
	}
	live, err := w.empty(gvk, want)
	if err != nil {
		return nil, err
	}
	err = from.Get(ctx, client.ObjectKey{Namespace: want.GetNamespace(), Name: want.GetName()}, live)
	if apierrors.IsNotFound(err) {
		return nil, nil //nolint:nilnil // absence is an answer here, not an error
	}
	if err != nil {
		return nil, fmt.Errorf("read %s %s/%s: %w", gvk.Kind, want.GetNamespace(), want.GetName(), err)
	}
	return live, nil
}

// empty returns an object of the kind to read into, typed where want is typed: the cache keeps the two apart.
func (w *Writer) empty(gvk schema.GroupVersionKind, want render.Resource) (client.Object, error) {
	if _, generic := want.(*unstructured.Unstructured); generic {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(gvk)
		return live, nil
	}
	made, err := w.cached.Scheme().New(gvk)
	if err != nil {
		return nil, fmt.Errorf("make a %s: %w", gvk.Kind, err)
	}
	live, ok := made.(client.Object)
	if !ok {
		return nil, fmt.Errorf("make a %s: %T is no object", gvk.Kind, made)
	}
	return live, nil
}

// conflict makes the caller look again.
func conflict(op Op, why string) error {
	return apierrors.NewConflict(schema.GroupResource{Resource: op.Kind}, op.Name, errors.New(why))
}

func (w *Writer) change(action Action, obj render.Resource) Change {
	kind := obj.GetObjectKind().GroupVersionKind().Kind
	if gvk, err := apiutil.GVKForObject(obj, w.cached.Scheme()); err == nil {
		kind = gvk.Kind
	}
	return Change{Action: action, Kind: kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// OwnedBy says whether obj has the owner uid.
func OwnedBy(obj metav1.Object, uid types.UID) bool {
	for _, ref := range obj.GetOwnerReferences() {
		if uid != "" && ref.UID == uid {
			return true
		}
	}
	return false
}
