// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package access_test

import (
	"os"
	"path/filepath"
	"testing"

	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/kube/gather"
	"berth.dev/berth/internal/snapshot"
)

// Whatever tenants write into policies, routes and bindings is asked about without breaking anything.
func FuzzEngine(f *testing.F) {
	files, err := filepath.Glob(examples + "*/*.yaml")
	if err != nil || len(files) == 0 {
		f.Fatal(err)
	}
	changes, err := filepath.Glob(examples + "*.yaml")
	if err != nil {
		f.Fatal(err)
	}
	for _, name := range append(files, changes...) {
		data, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	before, err := gather.SnapshotFiles(os.DirFS(examples + "cluster"))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		change, err := gather.SnapshotFile("change.yaml", data)
		if err != nil {
			return
		}
		for _, s := range []*snapshot.Snapshot{change, before.With(change), before.Without(change)} {
			engine := access.New(s, access.DefaultOptions())
			engine.Lint("")
			if _, err := engine.Matrices("risk-modeling", "alice-research"); err != nil {
				t.Error(err)
			}
			if _, err := engine.What(rbac.SignedIn("rob@example.com")); err != nil {
				t.Error(err)
			}
			for _, web := range []access.Web{
				{Method: "GET", Path: "/notebook/alice-research/nb1/lab?x=1", ViaGateway: true, Host: "example.com"},
				{Method: "POST", Path: "/", To: "alice-research/nb1", From: "risk-modeling/default-editor"},
			} {
				if _, err := engine.Can(access.Question{User: rbac.SignedIn("alice@example.com", "staff"), Web: &web}); err != nil {
					t.Error(err)
				}
			}
			access.Diff(access.New(before, access.DefaultOptions()), engine)
		}
	})
}
