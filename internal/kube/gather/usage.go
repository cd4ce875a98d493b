// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/pmr"
	"berth.dev/berth/internal/render"
)

// notebookKind is Kubeflow's.
var notebookKind = schema.GroupVersionKind{Group: "kubeflow.org", Version: "v1", Kind: "Notebook"}

// lastActivity is where Kubeflow's notebook controller notes when somebody last worked in a notebook.
const lastActivity = "notebooks.kubeflow.org/last-activity"

// Usage reads what is in a profile's namespace, for whoever decides about deleting it.
func Usage(ctx context.Context, reader client.Reader, p *kubeflowv1.Profile) (pmr.Usage, error) {
	usage := pmr.Usage{Profile: p.Name, Owner: p.Spec.Owner.Name, Stale: pmr.StaleOf(p)}
	within := func(list client.ObjectList, use func()) error {
		return each(ctx, inNamespace{reader, p.Name}, list, use)
	}
	var claims corev1.PersistentVolumeClaimList
	err := within(&claims, func() {
		for i := range claims.Items {
			claim := &claims.Items[i]
			size := claim.Spec.Resources.Requests[corev1.ResourceStorage]
			usage.Volumes = append(usage.Volumes, pmr.Volume{Name: claim.Name, Size: size.String()})
			usage.Active(claim.CreationTimestamp.Time)
		}
	})
	if err != nil {
		return usage, fmt.Errorf("list the volume claims of %q: %w", p.Name, err)
	}
	if err := pods(&usage, within); err != nil {
		return usage, err
	}
	if err := notebooks(&usage, within); err != nil {
		return usage, err
	}
	services := metadataOf(render.InferenceServiceKind)
	err = within(services, func() {
		for _, service := range services.Items {
			usage.InferenceServices = append(usage.InferenceServices, service.Name)
		}
	})
	if err != nil && !meta.IsNoMatchError(err) {
		return usage, fmt.Errorf("list the InferenceServices of %q: %w", p.Name, err)
	}
	return usage, contributors(&usage, p, within)
}

func pods(usage *pmr.Usage, within func(client.ObjectList, func()) error) error {
	var list corev1.PodList
	gpus := resource.Quantity{}
	err := within(&list, func() {
		for i := range list.Items {
			pod := &list.Items[i]
			if pod.Status.StartTime != nil {
				usage.Active(pod.Status.StartTime.Time)
			}
			if pod.Status.Phase != corev1.PodRunning && pod.Status.Phase != corev1.PodPending {
				continue
			}
			usage.Pods++
			for _, container := range pod.Spec.Containers {
				for name, quantity := range container.Resources.Limits {
					if strings.Contains(string(name), "gpu") || strings.Contains(string(name), "/mig-") {
						gpus.Add(quantity)
					}
				}
			}
		}
	})
	if err != nil {
		return fmt.Errorf("list the pods of %q: %w", usage.Profile, err)
	}
	usage.GPUs = gpus.String()
	return nil
}

func notebooks(usage *pmr.Usage, within func(client.ObjectList, func()) error) error {
	list := metadataOf(notebookKind)
	err := within(list, func() {
		for _, notebook := range list.Items {
			usage.Notebooks = append(usage.Notebooks, notebook.Name)
			if moment, err := time.Parse(time.RFC3339, notebook.Annotations[lastActivity]); err == nil {
				usage.Active(moment)
			}
		}
	})
	if err != nil && !meta.IsNoMatchError(err) {
		return fmt.Errorf("list the notebooks of %q: %w", usage.Profile, err)
	}
	return nil
}

// contributors are those who have access, or had it before it was taken away.
func contributors(usage *pmr.Usage, p *kubeflowv1.Profile, within func(client.ObjectList, func()) error) error {
	if saved := pmr.SnapshotOf(p); saved != nil {
		for _, c := range saved.Contributors {
			usage.Contributors = append(usage.Contributors, c.Name+" ("+c.Role+")")
		}
	}
	var bindings rbacv1.RoleBindingList
	err := within(&bindings, func() {
		for i := range bindings.Items {
			b := &bindings.Items[i]
			if !render.IsContributorBinding(b) {
				continue
			}
			for _, subject := range b.Subjects {
				usage.Contributors = append(usage.Contributors, subject.Name+" ("+render.RoleShown(b)+")")
			}
		}
	})
	if err != nil {
		return fmt.Errorf("list the RoleBindings of %q: %w", p.Name, err)
	}
	slices.Sort(usage.Contributors)
	usage.Contributors = slices.Compact(usage.Contributors)
	return nil
}

func metadataOf(gvk schema.GroupVersionKind) *metav1.PartialObjectMetadataList {
	list := &metav1.PartialObjectMetadataList{}
	list.SetGroupVersionKind(gvk.GroupVersion().WithKind(gvk.Kind + "List"))
	return list
}

// inNamespace reads one namespace only.
type inNamespace struct {
	client.Reader

	name string
}

// List lists what is in the namespace.
func (n inNamespace) List(ctx context.Context, list client.ObjectList, options ...client.ListOption) error {
	return n.Reader.List(ctx, list, append(options, client.InNamespace(n.name))...)
}
