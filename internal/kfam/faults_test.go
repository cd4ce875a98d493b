// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// fault makes writes fail that which says so, while it is on. The writes before it are made.
type fault struct {
	on    atomic.Bool
	which func(verb string, obj client.Object) error
}

func (f *fault) of(verb string, obj client.Object) error {
	if !f.on.Load() {
		return nil
	}
	return f.which(verb, obj)
}

func (f *fault) funcs() interceptor.Funcs {
	return interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.CreateOption) error {
			if err := f.of("create", obj); err != nil {
				return err
			}
			return c.Create(ctx, obj, opts...)
		},
		Patch: func(ctx context.Context, c client.WithWatch, obj client.Object, patch client.Patch, opts ...client.PatchOption) error {
			if err := f.of("patch", obj); err != nil {
				return err
			}
			return c.Patch(ctx, obj, patch, opts...)
		},
		Delete: func(ctx context.Context, c client.WithWatch, obj client.Object, opts ...client.DeleteOption) error {
			if err := f.of("delete", obj); err != nil {
				return err
			}
			return c.Delete(ctx, obj, opts...)
		},
	}
}

func kindOf(obj client.Object) string {
	switch obj.(type) {
	case *rbacv1.RoleBinding:
		return "binding"
	case *securityv1beta1.AuthorizationPolicy:
		return "policy"
	case *authorizationv1.SubjectAccessReview:
		return "review"
	}
	return ""
}

var resource = schema.GroupResource{Group: "test", Resource: "tests"}

// Whatever write of a change fails, and how: the answer is a sentence without anything of the inside, and the same
// request again brings about what was asked for. No half of a pair stays.
func TestWrites_thatFailAreMadeGoodByTheSameRequest(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	healed := onShared(t) // where the policy of a role that went is the controllers' to remove
	problems := map[string]error{
		"conflict": apierrors.NewConflict(resource, "x", errors.New("secret detail")),
		"500":      apierrors.NewInternalError(errors.New("secret detail")),
		"503":      apierrors.NewServiceUnavailable("secret detail"),
		"429":      apierrors.NewTooManyRequestsError("secret detail"),
		"timeout":  apierrors.NewTimeoutError("secret detail", 1),
		"crash":    errors.New("secret detail"),
	}
	for name, problem := range problems {
		for _, write := range []string{"create binding", "create policy", "delete binding", "delete policy", "patch binding"} {
			t.Run(name+" at "+write, func(t *testing.T) {
				t.Parallel()
				f := &fault{which: func(verb string, obj client.Object) error {
					if verb+" "+kindOf(obj) == write {
						return problem
					}
					return nil
				}}
				at := at
				if write == "delete policy" {
					at = healed
				}
				a := serve(t, at, through(t, at, f.funcs()))
				ns := tenant(t, at, a)
				method, body := http.MethodPost, invite(ns, ben, "edit")
				want := pair(benEdit)
				switch write {
				case "delete binding", "delete policy": // the role changes
					a.must(http.MethodPost, bindingsPath, invite(ns, ben, "view"), user(ann))
				case "patch binding":
					method, want = http.MethodDelete, []string{"binding two", "policy two"}
					create(t, at, handMade(ns, "two", "team", "edit", person(ben), person(cleo)))
					a.eventuallyListed("?namespace="+ns+"&role=edit", "User "+ben+" edit", "User "+cleo+" edit")
				}
				f.on.Store(true)
				got := a.send(method, bindingsPath, body, user(ann))
				if got.code < 400 || got.body == "" || got.code >= 500 && strings.Contains(got.body, "secret") {
					t.Errorf("the failure is answered with %d %q", got.code, got.body)
				}
				if !apierrors.IsConflict(problem) && got.code < 500 {
					t.Errorf("want it to be the server's trouble, got %d", got.code)
				}
				f.on.Store(false)
				a.must(method, bindingsPath, body, user(ann))
				if at.controllers {
					awaitInvited(t, at, ns, want...)
				}
				wantInvited(t, at, ns, want...)
			})
		}
	}
}

// A change of roles that failed half-way gives both; whichever of the two is asked for next is the one that stays.
func TestCreateBinding_comesBackFromAChangeThatFailed(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	for _, next := range []string{"view", "edit"} {
		t.Run("then "+next, func(t *testing.T) {
			t.Parallel()
			f := &fault{which: func(verb string, obj client.Object) error {
				if verb == "delete" {
					return errors.New("the test says so")
				}
				return nil
			}}
			a := serve(t, at, through(t, at, f.funcs()))
			ns := tenant(t, at, a)
			a.must(http.MethodPost, bindingsPath, invite(ns, ben, "view"), user(ann))
			f.on.Store(true)
			a.wants(http.StatusInternalServerError, "", http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann))
			f.on.Store(false)
			watching := watchAccess(t, at, ns, ben)
			a.must(http.MethodPost, bindingsPath, invite(ns, ben, next), user(ann))
			wantInvited(t, at, ns, pair("user-ben-example-com-clusterrole-"+next)...)
			for _, gap := range watching.gaps() {
				t.Error(gap)
			}
		})
	}
}

// Where KFAM died between the RoleBinding and the policy, the controllers mend it, without another request.
func TestCrash_betweenTheTwoWritesIsHealedByTheControllers(t *testing.T) {
	t.Parallel()
	at := onShared(t)
	f := &fault{which: func(verb string, obj client.Object) error {
		if kindOf(obj) == "policy" {
			return errors.New("the process ended here")
		}
		return nil
	}}
	a := serve(t, at, through(t, at, f.funcs()))
	ns := tenant(t, at, a)
	f.on.Store(true)
	a.wants(http.StatusInternalServerError, "", http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann))
	awaitInvited(t, at, ns, pair(benEdit)...)
	wantPolicyUsers(t, at, ns, ben)
	a.wants(http.StatusInternalServerError, "", http.MethodDelete, bindingsPath, invite(ns, ben, "edit"), user(ann))
	awaitInvited(t, at, ns)
}

// While the API server's answer about a caller whom RBAC allows nothing can't be had, the caller may not; and nothing is
// written.
func TestCallers_areDeniedWhenTheAPIServerCannotBeAsked(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	f := noReviews()
	a := serve(t, at, through(t, at, f.funcs()))
	ns := tenant(t, at, a)
	create(t, at, handMade(ns, "edit", editContributor, "edit"))
	for _, method := range []string{http.MethodPost, http.MethodDelete} {
		a.wants(http.StatusServiceUnavailable, "try again", method, bindingsPath, invite(ns, ben, "edit"), user(editContributor))
	}
	a.wants(http.StatusServiceUnavailable, "try again", http.MethodDelete, profilesPath+"/"+ns, "", user(editContributor))
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann)) // who need not be asked about
	wantInvited(t, at, ns, append(pair(benEdit), "binding edit")...)
	f.on.Store(false)
	a.wants(http.StatusForbidden, "", http.MethodPost, bindingsPath, invite(ns, cleo, "edit"), user(editContributor))
}

// Defect 12, and whatever else may be found: a panic is one answer of 500, told in the log, and the server lives.
func TestPanic_isAnAnswer(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	f := &fault{which: func(string, client.Object) error { panic("the test says so") }}
	a := serve(t, at, through(t, at, f.funcs()))
	ns := tenant(t, at, a)
	f.on.Store(true)
	for range 3 {
		a.wants(http.StatusInternalServerError, "could not be served", http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann))
	}
	f.on.Store(false)
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann)) // the lock of the person was freed, too
	if !strings.Contains(a.log.text(), "the test says so") {
		t.Error("the log does not say why")
	}
	if text := a.must(http.MethodGet, "/metrics", "", nobody()); !strings.Contains(text,
		`request_kf_failure{action="create",component="kfam",kind="error",path="/kfam/v1/bindings",severity="major",user=""} 3`) {
		t.Error("the metrics do not count them")
	}
}
