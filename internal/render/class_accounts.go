// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// classRecord is what a class put on an object that others write, too.
type classRecord struct {
	Annotations map[string]string `json:"annotations,omitempty"`
	PullSecrets []string          `json:"imagePullSecrets,omitempty"`
	Automount   *bool             `json:"automountServiceAccountToken,omitempty"`
}

// recordOf reads the record of an object. One that was tampered with counts as empty, so that nothing is taken back by
// mistake.
func recordOf(annotations map[string]string) classRecord {
	var record classRecord
	if json.Unmarshal([]byte(annotations[berthv1alpha1.AppliedClassAnnotation]), &record) != nil {
		return classRecord{}
	}
	return record
}

func (r classRecord) empty() bool {
	return len(r.Annotations) == 0 && len(r.PullSecrets) == 0 && r.Automount == nil
}

// note puts the record on object, of which live are the annotations that are there.
func (r classRecord) note(object *Object, live map[string]string) {
	if r.empty() {
		if _, found := live[berthv1alpha1.AppliedClassAnnotation]; !found {
			return
		}
		object.AbsentAnnotations = append(object.AbsentAnnotations, berthv1alpha1.AppliedClassAnnotation)
		return
	}
	text, err := json.Marshal(r)
	if err != nil {
		return // strings always can be encoded
	}
	setAnnotation(object, berthv1alpha1.AppliedClassAnnotation, string(text))
}

func setAnnotation(object *Object, key, value string) {
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	object.SetAnnotations(annotations)
}

// serviceAccounts renders the ServiceAccounts that a class adds.
func serviceAccounts(p *kubeflowv1.Profile, in Input) Part {
	settings := in.Class.Spec.ServiceAccounts
	if settings == nil || len(settings.Additional) == 0 {
		return Part{}
	}
	part := Part{Reason: kubeflowv1.ReasonReady, Message: "the service accounts of the class are in place"}
	others := func(live metav1.Object) bool { return !IsOurs(live, p) }
	for i := range settings.Additional {
		more := &settings.Additional[i]
		account := Object{
			Resource: &corev1.ServiceAccount{
				TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
				ObjectMeta: partMeta(p, partAccounts, more.Name),
			},
			Purpose: "is there for whom the class says",
			Foreign: others,
		}
		in.settle(&account, in.Accounts[more.Name], withPullSecret(more.ServiceAccountSettings, in))
		part.Objects = append(part.Objects, account)
		if more.ClusterRole == "" {
			continue
		}
		binding := serviceAccountBinding(p, more.Name, more.ClusterRole)
		binding.SetName("berth-sa-" + more.Name)
		binding.SetLabels(partMeta(p, partAccounts, "").Labels)
		binding.Foreign = others
		part.Objects = append(part.Objects, binding)
	}
	return part
}

// accountSettings are those of default-editor or default-viewer.
func accountSettings(in Input, name string) berthv1alpha1.ServiceAccountSettings {
	var settings berthv1alpha1.ServiceAccountSettings
	if accounts := in.Class.Spec.ServiceAccounts; accounts != nil {
		switch {
		case name == EditorName && accounts.DefaultEditor != nil:
			settings = *accounts.DefaultEditor
		case name == ViewerName && accounts.DefaultViewer != nil:
			settings = *accounts.DefaultViewer
		}
	}
	return withPullSecret(settings, in)
}

func withPullSecret(settings berthv1alpha1.ServiceAccountSettings, in Input) berthv1alpha1.ServiceAccountSettings {
	if given := in.Class.Spec.Credentials; given != nil && given.PullSecret != nil {
		settings.ImagePullSecrets = append(slices.Clone(settings.ImagePullSecrets), pullSecretName)
	}
	return settings
}

// settle puts the settings on a ServiceAccount, next to what others put there. live is it as it is, or nil.
func (in Input) settle(object *Object, live *corev1.ServiceAccount, settings berthv1alpha1.ServiceAccountSettings) {
	account, ok := object.Resource.(*corev1.ServiceAccount)
	if !ok || in.Class.Unknown {
		return
	}
	var before classRecord
	if live == nil {
		live = &corev1.ServiceAccount{}
	} else {
		before = recordOf(live.Annotations)
	}
	record := classRecord{Annotations: settings.Annotations, PullSecrets: distinct(slices.Clone(settings.ImagePullSecrets)), Automount: settings.AutomountServiceAccountToken}

	for _, key := range sortedKeys(settings.Annotations) {
		setAnnotation(object, key, settings.Annotations[key])
	}
	for _, key := range sortedKeys(before.Annotations) {
		if _, wanted := account.Annotations[key]; !wanted && live.Annotations[key] == before.Annotations[key] {
			object.AbsentAnnotations = append(object.AbsentAnnotations, key)
		}
	}
	if len(record.PullSecrets)+len(before.PullSecrets) > 0 {
		// The whole list is written, so it is made of the whole list.
		for _, there := range live.ImagePullSecrets {
			if !slices.Contains(before.PullSecrets, there.Name) || slices.Contains(record.PullSecrets, there.Name) {
				account.ImagePullSecrets = append(account.ImagePullSecrets, there)
			}
		}
		for _, name := range record.PullSecrets {
			if ref := (corev1.LocalObjectReference{Name: name}); !slices.Contains(account.ImagePullSecrets, ref) {
				account.ImagePullSecrets = append(account.ImagePullSecrets, ref)
			}
		}
		object.Exact = append(object.Exact, "imagePullSecrets")
	}
	if record.Automount != nil {
		account.AutomountServiceAccountToken = new(*record.Automount)
	} else if before.Automount != nil && live.AutomountServiceAccountToken != nil && *live.AutomountServiceAccountToken == *before.Automount {
		object.Exact = append(object.Exact, "automountServiceAccountToken")
	}
	record.note(object, live.Annotations)
}
