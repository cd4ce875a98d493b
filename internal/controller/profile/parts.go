// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"berth.dev/berth/internal/render"
)

// gatherParts reads what the parts of a class depend on, and what was made for them before.
func (r *Reconciler) gatherParts(ctx context.Context, namespace string, in *render.Input) error {
	if accounts := in.Class.Spec.ServiceAccounts; accounts != nil {
		in.Accounts = map[string]*corev1.ServiceAccount{}
		for _, more := range accounts.Additional {
			account, err := get(ctx, r.Client, &corev1.ServiceAccount{}, namespace, more.Name)
			if err != nil {
				return err
			}
			in.Accounts[more.Name] = account
		}
	}
	if in.Class.Spec.InferenceAccess != nil && in.Mesh.InferenceService {
		var err error
		if in.InferenceServices, err = r.inferenceServices(ctx, namespace); err != nil {
			return err
		}
	}
	return r.placed(ctx, namespace, in)
}

func (r *Reconciler) inferenceServices(ctx context.Context, namespace string) ([]string, error) {
	services := &metav1.PartialObjectMetadataList{}
	services.SetGroupVersionKind(render.InferenceServiceKind.GroupVersion().WithKind(render.InferenceServiceKind.Kind + "List"))
	if err := r.Client.List(ctx, services, client.InNamespace(namespace), r.services); err != nil {
		return nil, fmt.Errorf("list the InferenceServices of namespace %q: %w", namespace, err)
	}
	var names []string
	for i := range services.Items {
		if services.Items[i].DeletionTimestamp == nil {
			names = append(names, services.Items[i].Name)
		}
	}
	return names, nil
}

// placed finds what was made for parts of a class.
func (r *Reconciler) placed(ctx context.Context, namespace string, in *render.Input) error {
	lists := append(r.mesh.Lists(), &corev1.ServiceAccountList{}, &rbacv1.RoleBindingList{}, &corev1.LimitRangeList{}, &networkingv1.NetworkPolicyList{})
	for _, list := range lists {
		if err := r.Client.List(ctx, list, client.InNamespace(namespace), r.parts); err != nil {
			return fmt.Errorf("list what classes put into namespace %q: %w", namespace, err)
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			obj, ok := item.(client.Object)
			if !ok {
				return fmt.Errorf("%T is no object", item)
			}
			gvk, err := apiutil.GVKForObject(obj, r.Client.Scheme())
			if err != nil {
				return err
			}
			obj.GetObjectKind().SetGroupVersionKind(gvk)
			in.Placed = append(in.Placed, obj)
			return nil
		})
		if err != nil {
			return fmt.Errorf("read what classes put into namespace %q: %w", namespace, err)
		}
	}
	return nil
}
