// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/render"
)

// Snapshot is what a profile had before it became stale, so that it can have it again.
type Snapshot struct {
	// Contributors are those who had access, the most powerful role first.
	Contributors []SnapshotContributor `json:"contributors,omitempty"`
	// Quota is the one before the quarantine; nil where there was no quarantine.
	Quota *kubeflowv1.ResourceQuotaSpec `json:"quota,omitempty"`
}

// SnapshotContributor is somebody who had access.
type SnapshotContributor struct {
	Kind      string `json:"kind"`
	Namespace string `json:"namespace,omitempty"`
	Name      string `json:"name"`
	Role      string `json:"role"`
	// Sync is set for those whom the list had.
	Sync bool `json:"sync,omitempty"`
}

const (
	// plainSnapshot is how many bytes of a snapshot are kept as they are: all annotations of an object together have at
	// most 256 KiB.
	plainSnapshot = 16 << 10
	// maxSnapshot bounds what is unpacked.
	maxSnapshot = 16 << 20
)

// SnapshotOf is the snapshot of p, or nil.
func SnapshotOf(p *kubeflowv1.Profile) *Snapshot {
	text, found := p.Annotations[berthv1alpha1.SnapshotAnnotation]
	if !found {
		return nil
	}
	data := []byte(text)
	if !strings.HasPrefix(text, "{") {
		unpacked, err := gzip.NewReader(base64.NewDecoder(base64.StdEncoding, strings.NewReader(text)))
		if err != nil {
			return nil
		}
		if data, err = io.ReadAll(io.LimitReader(unpacked, maxSnapshot)); err != nil {
			return nil
		}
	}
	saved := &Snapshot{}
	if json.Unmarshal(data, saved) != nil {
		return nil
	}
	return saved
}

// Encode is the annotation's value: packed where it is large.
func (s *Snapshot) Encode() string {
	data, err := json.Marshal(s)
	if err != nil {
		panic(err) // it has texts only
	}
	if len(data) <= plainSnapshot {
		return string(data)
	}
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	// A buffer takes everything.
	_, _ = writer.Write(data)
	_ = writer.Close()
	return base64.StdEncoding.EncodeToString(packed.Bytes())
}

// add notes who has access by bindings.
func (s *Snapshot) add(bindings []*rbacv1.RoleBinding, sync string) {
	for _, b := range bindings {
		for _, subject := range b.Subjects {
			c := SnapshotContributor{
				Kind: subject.Kind, Namespace: subject.Namespace, Name: subject.Name, Role: render.RoleShown(b),
				Sync: b.Labels[berthv1alpha1.SyncLabel] == sync,
			}
			if c.Role != "" && !slices.Contains(s.Contributors, c) {
				s.Contributors = append(s.Contributors, c)
			}
		}
	}
}

// grant is what c had.
func (c SnapshotContributor) grant() Grant {
	subject := rbacv1.Subject{Kind: c.Kind, Namespace: c.Namespace, Name: c.Name}
	if c.Kind != rbacv1.ServiceAccountKind {
		subject.APIGroup = rbacv1.GroupName
	}
	return Grant{Contributor: render.Contributor{Subject: subject, Role: c.Role}, Restored: true}
}
