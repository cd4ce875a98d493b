// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/render"
)

// binding is the body by which contributors are added and removed. Keys are matched in any case.
type binding struct {
	User              *rbacv1.Subject `json:"user"`
	ReferredNamespace string          `json:"referredNamespace"`
	RoleRef           *rbacv1.RoleRef `json:"RoleRef"`
}

// wanted is what a binding asks for.
type wanted struct {
	namespace   string
	contributor render.Contributor
}

// decodeBinding reads and checks a body. Errors of the decoder are told as they are, which is what clients know.
func decodeBinding(data []byte) (wanted, error) {
	var body binding
	if err := json.Unmarshal(data, &body); err != nil {
		return wanted{}, failure{http.StatusForbidden, err.Error()}
	}
	missing := func(field, example string) error {
		return failure{http.StatusBadRequest, fmt.Sprintf("%s is missing: send it, for example %s", field, example)}
	}
	switch {
	case body.User == nil:
		return wanted{}, missing("user", `"user": {"kind": "User", "name": "alice@example.com"}`)
	case body.ReferredNamespace == "":
		return wanted{}, missing("referredNamespace", `"referredNamespace": "team-a"`)
	case body.RoleRef == nil:
		return wanted{}, missing("RoleRef", `"RoleRef": {"kind": "ClusterRole", "name": "edit"}`)
	case body.RoleRef.Kind != "ClusterRole":
		return wanted{}, failure{http.StatusForbidden, fmt.Sprintf("RoleRef.kind is %q: use ClusterRole", body.RoleRef.Kind)}
	case isOfClass(body.RoleRef.Name) && len(validation.IsDNS1123Label(body.RoleRef.Name)) > 0 || body.RoleRef.Name == "":
		return wanted{}, unknownRole(body.RoleRef.Name, render.Config{})
	}
	subject := *body.User
	if namespace, name, ok := identity.ServiceAccount(subject); ok && subject.Kind == rbacv1.ServiceAccountKind {
		subject.Namespace, subject.Name = namespace, name
	}
	if err := identity.CheckSubject(subject); err != nil {
		return wanted{}, failure{http.StatusBadRequest, "user: " + err.Error()}
	}
	if strings.ContainsRune(subject.Name, utf8.RuneError) {
		// The decoder puts it where something is no character, so that different bodies would mean one name.
		return wanted{}, failure{http.StatusBadRequest, fmt.Sprintf("user: the name %q is not UTF-8", subject.Name)}
	}
	if subject.Kind == rbacv1.GroupKind && slices.Contains(everybody, subject.Name) {
		return wanted{}, failure{http.StatusBadRequest, fmt.Sprintf("user: the group %s is everybody: name one of people who belong together", subject.Name)}
	}
	if subject.Kind != rbacv1.ServiceAccountKind {
		subject.Namespace = ""
	}
	subject.APIGroup = ""
	return wanted{body.ReferredNamespace, render.Contributor{Subject: subject, Role: body.RoleRef.Name}}, nil
}

// everybody are groups of Kubernetes that are nobody's to invite.
var everybody = []string{"system:authenticated", "system:unauthenticated", "system:serviceaccounts"}

func (s *Server) createBinding(_ http.ResponseWriter, r *request) error {
	want, err := readBody(r, decodeBinding)
	if err != nil {
		return err
	}
	p := s.index.profile(want.namespace)
	allowed, err := s.allowed(r, want.namespace, access.Manage(r.caller, s.Admins, p))
	switch {
	case err != nil:
		return err
	case !allowed:
		return denied(http.StatusForbidden)
	case p == nil:
		return failure{http.StatusForbidden, fmt.Sprintf("there is no profile %q: contributors can be added to profiles only", want.namespace)}
	case !p.DeletionTimestamp.IsZero():
		return failure{http.StatusForbidden, fmt.Sprintf("profile %q is being deleted", p.Name)}
	case identity.Key(want.contributor.Subject) == identity.Key(p.Spec.Owner):
		return failure{http.StatusBadRequest, fmt.Sprintf("%s %q owns profile %q and needs no other role in it",
			want.contributor.Subject.Kind, want.contributor.Subject.Name, p.Name)}
	case !s.index.holds(p):
		return failure{http.StatusForbidden, fmt.Sprintf("profile %q has no namespace (yet): try again when it is ready", p.Name)}
	}
	if err := s.contributors.checkRole(r.Context(), p, want.contributor.Role); err != nil {
		return err
	}
	if !render.Admissible(s.Render, want.contributor) {
		return failure{http.StatusBadRequest, fmt.Sprintf("user: %s carries everybody's requests: as a contributor it would let everybody in", subjectName(want.contributor))}
	}
	changes, err := s.contributors.add(r.Context(), p, want.contributor)
	s.told(r, p, want, changes)
	return err
}

func (s *Server) deleteBinding(_ http.ResponseWriter, r *request) error {
	want, err := readBody(r, decodeBinding)
	if err != nil {
		return err
	}
	p := s.index.profile(want.namespace)
	allowed, err := s.allowed(r, want.namespace, access.Remove(r.caller, s.Admins, p, want.contributor.Subject))
	switch {
	case err != nil:
		return err
	case !allowed:
		return denied(http.StatusForbidden)
	case render.Reserved(want.namespace) || p != nil && !s.index.holds(p) || p == nil && !s.index.held(want.namespace):
		return failure{http.StatusForbidden, fmt.Sprintf("namespace %q is no profile's", want.namespace)}
	}
	if err := s.contributors.checkRemoved(r.Context(), p, want.namespace, want.contributor.Role); err != nil {
		return err
	}
	changes, err := s.contributors.remove(r.Context(), p, want)
	s.told(r, p, want, changes)
	return err
}

// listBindings sends the entries as they stand in the index, one after the other.
func (s *Server) listBindings(w http.ResponseWriter, r *request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return failure{http.StatusForbidden, err.Error()}
	}
	user, namespace, role := query.Get("user"), query.Get("namespace"), query.Get("role")
	var all []rowsIn
	switch {
	case namespace != "":
		all = s.index.rows([]string{namespace}, false)
	case user != "":
		all = s.index.rowsOfUser(user)
	default:
		all = s.index.rows(s.index.profileNames(), true)
	}
	visible := s.visible(r.caller)

	out := s.borrowBuffer(w)
	out.WriteString(`{"bindings":[`) //nolint:errcheck // Flush reports it
	first := true
	for i := range all {
		for j := range all[i].rows {
			row := &all[i].rows[j]
			if user != "" && row.user != user || role != "" && row.role != role || !visible(&all[i], row) {
				continue
			}
			if !first {
				out.WriteByte(',') //nolint:errcheck // Flush reports it
			}
			first = false
			out.Write(row.json) //nolint:errcheck // Flush reports it
		}
	}
	out.WriteString(`]}`) //nolint:errcheck // Flush reports it
	if err := out.Flush(); err != nil {
		r.log.V(1).Info("A list was not read to its end", "reason", err.Error())
		return nil // and out is left alone: over HTTP/2, a write that has failed may still be reading from it
	}
	s.returnBuffer(out)
	return nil
}

// borrowBuffer returns a buffer before w. A new one for each list would be most of the garbage that there is, and
// collecting it is what the slowest answers wait for.
func (s *Server) borrowBuffer(w io.Writer) *bufio.Writer {
	out, ok := s.buffers.Get().(*bufio.Writer)
	if !ok {
		return bufio.NewWriterSize(w, 32<<10)
	}
	out.Reset(w)
	return out
}

// returnBuffer takes a buffer back that nobody reads from any more.
func (s *Server) returnBuffer(out *bufio.Writer) {
	out.Reset(nil)
	s.buffers.Put(out)
}

// visible says which entries caller may see: everybody's in the namespaces that are open to them, and their own.
func (s *Server) visible(caller access.Caller) func(in *rowsIn, row *row) bool {
	if access.SeesAll(caller, s.Admins) {
		return func(*rowsIn, *row) bool { return true }
	}
	reach, own := s.index.reach(caller.User), caller.Keys()[0]
	return func(in *rowsIn, row *row) bool {
		return reach[in.namespace] || row.key == own || in.profile != nil && caller.Is(in.profile.Spec.Owner)
	}
}

func (s *Server) isClusterAdmin(w http.ResponseWriter, r *request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return failure{http.StatusForbidden, err.Error()}
	}
	user := identity.User{Name: query.Get("user")}
	if user.Name == r.caller.Name {
		user = r.caller.User // whose groups are known
	}
	_, err = w.Write(strconv.AppendBool(nil, s.Admins.Has(user)))
	return err
}
