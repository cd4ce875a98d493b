// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"berth.dev/berth/internal/render"
)

func quantity(s string) resource.Quantity { return resource.MustParse(s) }

func ownerRef(apiVersion, kind, name string, uid types.UID) metav1.OwnerReference {
	return metav1.OwnerReference{APIVersion: apiVersion, Kind: kind, Name: name, UID: uid}
}

func controllerRef(apiVersion, kind, name string, uid types.UID) metav1.OwnerReference {
	ref := ownerRef(apiVersion, kind, name, uid)
	ref.Controller = new(true)
	return ref
}

// owners adds owner references to the ones that are there.
func owners(refs ...metav1.OwnerReference) func(render.Resource) {
	return func(live render.Resource) { live.SetOwnerReferences(append(live.GetOwnerReferences(), refs...)) }
}
