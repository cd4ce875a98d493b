// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/kube/status"
	"berth.dev/berth/internal/render"
)

// readBody reads the body of r with decode.
func readBody[T any](r *request, decode func([]byte) (T, error)) (T, error) {
	var none T
	data, err := io.ReadAll(r.Body)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return none, err
	}
	if err != nil {
		return none, failure{http.StatusBadRequest, "the body could not be read to its end"}
	}
	if len(data) == 0 {
		return none, failure{http.StatusForbidden, io.EOF.Error()}
	}
	return decode(data)
}

// decodeProfile reads a Profile of either version, of which the fields are the same.
func decodeProfile(data []byte) (*kubeflowv1.Profile, error) {
	sent := &kubeflowv1.Profile{}
	if err := json.Unmarshal(data, sent); err != nil {
		return nil, failure{http.StatusForbidden, err.Error()}
	}
	if version, err := schema.ParseGroupVersion(sent.APIVersion); err != nil || version.Group != "" && version.Group != kubeflowv1.GroupVersion.Group {
		return nil, failure{http.StatusForbidden, fmt.Sprintf("apiVersion is %q: use kubeflow.org/v1, or leave it out", sent.APIVersion)}
	}
	if sent.Kind != "" && sent.Kind != "Profile" {
		return nil, failure{http.StatusForbidden, fmt.Sprintf("kind is %q: use Profile, or leave it out", sent.Kind)}
	}
	if sent.Name == "" && sent.GenerateName == "" {
		return nil, failure{http.StatusBadRequest, `metadata.name is missing: send it, for example "metadata": {"name": "team-a"}`}
	}
	if sent.Spec.Owner.Name == "" || sent.Spec.Owner.Kind == "" {
		return nil, failure{
			http.StatusBadRequest,
			`spec.owner is missing or not whole: send it, for example "owner": {"kind": "User", "name": "alice@example.com"}`,
		}
	}
	return &kubeflowv1.Profile{
		ObjectMeta: metav1.ObjectMeta{
			Name: sent.Name, GenerateName: sent.GenerateName, Labels: sent.Labels, Annotations: sent.Annotations,
			Finalizers: sent.Finalizers, OwnerReferences: sent.OwnerReferences,
		},
		Spec: sent.Spec,
	}, nil
}

func (s *Server) createProfile(_ http.ResponseWriter, r *request) error {
	p, err := readBody(r, decodeProfile)
	if err != nil {
		return err
	}
	if err := access.Create(r.caller, s.Admins, p); err != nil {
		return failure{http.StatusForbidden, err.Error()}
	}
	if err := s.Client.Create(r.Context(), p, apply.FieldOwner); err != nil {
		return fmt.Errorf("create profile %q: %w", p.Name, err)
	}
	s.toldOfProfile(r, p, "created")
	s.index.await(r.Context(), func(x *index) bool {
		known := x.spaces[p.Name].owner()
		return known != nil && known.UID == p.UID
	})
	return nil
}

func (s *Server) deleteProfile(_ http.ResponseWriter, r *request) error {
	name := r.PathValue("profile")
	p := s.index.profile(name)
	allowed, err := s.allowed(r, name, access.Manage(r.caller, s.Admins, p))
	switch {
	case err != nil:
		return err
	case !allowed || p == nil && !s.Admins.Has(r.caller.User):
		return denied(http.StatusUnauthorized)
	case p == nil:
		return apierrors.NewNotFound(schema.GroupResource{Group: kubeflowv1.GroupVersion.Group, Resource: "profiles"}, name)
	}
	uid := p.UID
	err = s.Client.Delete(r.Context(), &kubeflowv1.Profile{ObjectMeta: metav1.ObjectMeta{Name: name}},
		client.Preconditions{UID: &uid}, client.PropagationPolicy(metav1.DeletePropagationBackground))
	if err != nil {
		return fmt.Errorf("delete profile %q: %w", name, err)
	}
	s.toldOfProfile(r, p, "deleted")
	s.index.await(r.Context(), func(x *index) bool {
		known := x.spaces[name].owner()
		return known == nil || known.UID != uid || !known.DeletionTimestamp.IsZero()
	})
	return nil
}

// toldOfProfile logs what was done and has an Event written.
func (s *Server) toldOfProfile(r *request, p *kubeflowv1.Profile, done string) {
	by := cmp.Or(r.caller.Name, platform)
	r.log.Info("A profile was "+done, "profile", p.Name)
	r.log.V(1).Info("A profile was "+done, "profile", p.Name, "owner", p.Spec.Owner.Name, "by", by)
	s.teller.tell(p, status.EventRequested, fmt.Sprintf("%s for %s %s by %s", done, p.Spec.Owner.Kind, p.Spec.Owner.Name, by))
}

// allowed turns an answer into a decision, asking RBAC where that is what it depends on. No answer from RBAC is a no,
// with an error. Only the namespace of a profile is asked about: holding rights in another gives none here.
func (s *Server) allowed(r *request, namespace string, answer access.Answer) (bool, error) {
	if answer != access.IfMayBind {
		return answer == access.Yes, nil
	}
	if p := s.index.profile(namespace); p == nil || !s.index.holds(p) || render.Reserved(namespace) {
		return false, nil
	}
	return s.mayBind(r.Context(), r.caller.User, namespace)
}
