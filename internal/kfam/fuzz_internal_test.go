// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"

	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/render"
)

// FuzzDecodeBinding: whatever is sent is refused in a sentence, or is somebody who can be told apart, with a role, whose
// objects can have names.
func FuzzDecodeBinding(f *testing.F) {
	for _, body := range []string{
		`{"user":{"kind":"User","name":"alice@example.com"},"referredNamespace":"a","RoleRef":{"kind":"ClusterRole","name":"edit"}}`,
		`{"USER":{"kind":"ServiceAccount","name":"bot","namespace":"a"},"referredNamespace":"a","roleref":{"kind":"ClusterRole","name":"view"}}`,
		`{"user":null,"RoleRef":null}`, `null`, `[]`, `{"user":{"kind":"User","name":"*"}}`,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		want, err := decodeBinding(data)
		if err != nil {
			checkFailure(t, err)
			return
		}
		c := want.contributor
		switch {
		case want.namespace == "" || !slices.Contains(render.Roles, c.Role):
			t.Errorf("%q is taken as %+v", data, want)
		case identity.CheckSubject(c.Subject) != nil || strings.ContainsAny(c.Subject.Name, "* \x00") || !utf8.ValidString(c.Subject.Name):
			t.Errorf("%q names %+v", data, c.Subject)
		}
		for _, name := range render.BindingNames(c) {
			if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
				t.Errorf("the binding of %+v would be called %q: %v", c, name, problems)
			}
		}
	})
}

// FuzzDecodeProfile: whatever is sent is refused in a sentence, or is a profile with an owner and nothing but what
// clients may say; and nobody but a cluster admin creates one that is not their own.
func FuzzDecodeProfile(f *testing.F) {
	for _, body := range []string{
		`{"metadata":{"name":"a"},"spec":{"owner":{"kind":"User","name":"ann@example.com"}}}`,
		`{"apiVersion":"kubeflow.org/v1beta1","kind":"Profile","metadata":{"name":"a","uid":"x","labels":{"a":"b"}},"spec":{"owner":{"kind":"User","name":"b"},"resourceQuotaSpec":{"hard":{"cpu":1}}}}`,
		`{"spec":{"plugins":[{"kind":"a","spec":{"x":1}}]}}`, `{"metadata":{"generateName":"a"}}`, `null`, `{"apiVersion":"v1"}`,
	} {
		f.Add([]byte(body))
	}
	ann := access.Caller{User: identity.User{Name: "ann@example.com"}}
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := decodeProfile(data)
		if err != nil {
			checkFailure(t, err)
			return
		}
		if p.Name == "" && p.GenerateName == "" || p.Spec.Owner.Name == "" || p.Spec.Owner.Kind == "" || p.UID != "" || p.ResourceVersion != "" || len(p.Status.Conditions) > 0 {
			t.Errorf("%q is taken as %+v", data, p)
		}
		if access.Create(ann, access.Admins{}, p) == nil && (!ann.Is(p.Spec.Owner) || len(p.Spec.Plugins)+len(p.Labels)+len(p.Annotations)+len(p.Finalizers) > 0) {
			t.Errorf("ann may create %q", data)
		}
	})
}

func checkFailure(t *testing.T, err error) {
	t.Helper()
	var told failure
	if !errors.As(err, &told) || told.code < 400 || told.code > 499 || told.text == "" {
		t.Errorf("the refusal is %#v", err)
	}
}
