// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package enact

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/pmr"
)

// NotebookKind is Kubeflow's.
var NotebookKind = schema.GroupVersionKind{Group: "kubeflow.org", Version: "v1", Kind: "Notebook"}

// StoppedAnnotation on a Notebook, with any value, has Kubeflow's notebook controller stop it; the value is the time.
const StoppedAnnotation = "kubeflow-resource-stopped"

// notebooks stops those of profiles that are quarantined, and starts them again in those that come back. Which ones is
// written on themselves, so that being interrupted loses nothing.
func (e *enactor) notebooks(ctx context.Context, actions []pmr.Action) error {
	for _, a := range actions {
		var err error
		switch a.Type { //nolint:exhaustive // the others leave notebooks alone
		case pmr.Quarantine:
			err = e.eachNotebook(ctx, a.Profile, func(annotations map[string]string) {
				if _, stopped := annotations[StoppedAnnotation]; !stopped {
					annotations[StoppedAnnotation] = e.Now().UTC().Format(time.RFC3339)
					annotations[berthv1alpha1.StoppedBySyncAnnotation] = e.Sync
				}
			})
		case pmr.RestoreProfile:
			err = e.eachNotebook(ctx, a.Profile, func(annotations map[string]string) {
				if _, ours := annotations[berthv1alpha1.StoppedBySyncAnnotation]; ours {
					delete(annotations, StoppedAnnotation)
					delete(annotations, berthv1alpha1.StoppedBySyncAnnotation)
				}
			})
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// eachNotebook changes the annotations of the notebooks of a namespace.
func (e *enactor) eachNotebook(ctx context.Context, namespace string, change func(map[string]string)) error {
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(NotebookKind.GroupVersion().WithKind(NotebookKind.Kind + "List"))
	if err := e.Direct.List(ctx, &list, client.InNamespace(namespace)); meta.IsNoMatchError(err) {
		return nil // no notebooks in this cluster
	} else if err != nil {
		return fmt.Errorf("list the notebooks of profile %q: %w", namespace, err)
	}
	var errs []error
	for i := range list.Items {
		notebook := &list.Items[i]
		changed := notebook.DeepCopy()
		if changed.Annotations == nil {
			changed.Annotations = map[string]string{}
		}
		change(changed.Annotations)
		if maps.Equal(changed.Annotations, notebook.Annotations) {
			continue
		}
		// There is no cache of notebooks, and none is to be made for seeing this write in it.
		err := e.Client.Patch(ctx, changed, client.MergeFrom(notebook), apply.FieldOwner, client.DisableReadYourWritesConsistency)
		if client.IgnoreNotFound(err) != nil {
			errs = append(errs, fmt.Errorf("stop or start notebook %q of profile %q: %w", notebook.Name, namespace, err))
		}
	}
	return errors.Join(errs...)
}
