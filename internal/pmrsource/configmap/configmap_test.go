// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package configmap_test

import (
	"context"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"berth.dev/berth/internal/pmrsource"
	"berth.dev/berth/internal/pmrsource/configmap"
)

// fake is a ConfigMap.
type fake struct {
	data    map[string]string
	version string
	err     error
}

func (f *fake) Get(context.Context, string, string) (map[string]string, string, error) {
	return f.data, f.version, f.err
}

func TestSource(t *testing.T) {
	at := &fake{data: map[string]string{"b.yaml": "b", "a.yaml": "a", "one.yaml": "1", "note": "x"}, version: "1"}
	s, err := configmap.New(at, configmap.Options{Namespace: "berth", Name: "list", Selection: pmrsource.Selection{Overlays: []string{"one.yaml"}}})
	if err != nil {
		t.Fatal(err)
	}
	fetch := func() pmrsource.Files {
		t.Helper()
		files, err := s.Fetch(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return files
	}
	first := fetch()
	want := pmrsource.Files{
		Files:    []pmrsource.File{{Path: "a.yaml", Data: []byte("a")}, {Path: "b.yaml", Data: []byte("b")}},
		Overlays: []pmrsource.File{{Path: "one.yaml", Data: []byte("1")}},
	}
	want.URL, want.Revision = "configmap:berth/list", first.Revision
	if diff := cmp.Diff(want, first); diff != "" {
		t.Error(diff)
	}
	at.version, at.data["note"] = "2", "y"
	if got := fetch(); !got.Unchanged || &got.Files[0] != &first.Files[0] {
		t.Error("a key that is not selected makes a difference")
	}
	at.version, at.data["a.yaml"] = "3", "A"
	if got := fetch(); got.Unchanged || got.Revision == first.Revision {
		t.Error("a change makes no difference")
	}
	for reason, err := range map[pmrsource.Reason]error{
		pmrsource.NotFound:             apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, "list"),
		pmrsource.AuthenticationFailed: apierrors.NewForbidden(schema.GroupResource{Resource: "configmaps"}, "list", nil),
		pmrsource.Timeout:              context.DeadlineExceeded,
		pmrsource.Unreachable:          errors.New("no"),
	} {
		at.err = err
		if _, err := s.Fetch(t.Context()); pmrsource.ReasonOf(err) != reason {
			t.Errorf("got %v, want the reason %s", err, reason)
		}
	}
	at.err = nil
	if !fetch().Unchanged {
		t.Error("what was fetched is forgotten")
	}
}
