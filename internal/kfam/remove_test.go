// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync/atomic"
	"testing"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// Defect 16: what there is of a pair is removed, whoever made it and whatever it is called, and only what is nobody's is
// said not to be found.
func TestDefect16_whatThereIsOfAPairIsRemoved(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	cases := map[string][]client.Object{
		"a whole pair":                    {handMade("", benEdit, ben, "edit"), handMadePolicy("", benEdit, ben, "edit")},
		"a RoleBinding without a policy":  {handMade("", benEdit, ben, "edit")},
		"a policy without a RoleBinding":  {handMadePolicy("", benEdit, ben, "edit")},
		"the automator's pair":            {handMade("", "ben-example-com-edit", ben, "edit"), handMadePolicy("", "ben-example-com-edit", ben, "edit")},
		"two halves of different names":   {handMade("", "one", ben, "edit"), handMadePolicy("", "other", ben, "edit")},
		"the same twice":                  {handMade("", "one", ben, "edit"), handMade("", "two", ben, "edit"), handMadePolicy("", "one", ben, "edit"), handMadePolicy("", "two", ben, "edit")},
		"a binding annotated for another": {handMade("", "team", "team", "edit", person(ben)), handMadePolicy("", "team", "team", "edit")},
	}
	for name, objects := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ns := tenant(t, at, a)
			for _, obj := range objects {
				obj.SetNamespace(ns)
				create(t, at, obj)
			}
			create(t, at, handMade(ns, "cleo", cleo, "edit"))
			// What others made a moment ago, the API knows when its watch has told, and that tells of the last one last.
			testkit.Eventually(t, controllertest.Patience, func() error {
				if len(a.listed("?namespace="+ns+"&user=cleo@example.com", user(ann))) == 0 {
					return errors.New("the last binding is not listed")
				}
				return nil
			})
			a.must(http.MethodDelete, bindingsPath, invite(ns, ben, "edit"), user(ann))
			wantInvited(t, at, ns, "binding cleo")
			a.wants(http.StatusForbidden, `rolebinding.rbac.authorization.k8s.io "`+benEdit+`" not found`,
				http.MethodDelete, bindingsPath, invite(ns, ben, "edit"), user(ann))
		})
	}
}

// Defect 16: a binding with several subjects breaks no list, and loses one of them only.
func TestDefect16_aBindingOfSeveralLosesOne(t *testing.T) {
	t.Parallel()
	at := onShared(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	group := rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "ml"}
	create(t, at, handMade(ns, "several", "team", "edit", person(ben), person(cleo), group))
	a.eventuallyListed("?namespace="+ns+"&role=edit", "Group ml edit", "User "+ben+" edit", "User "+cleo+" edit")
	eventuallyPolicyUsers(t, at, ns, ben, cleo)
	a.must(http.MethodDelete, bindingsPath, invite(ns, ben, "edit"), user(ben))
	if have := get(t, at, ns, "several", &rbacv1.RoleBinding{}).Subjects; !slices.Equal(have, []rbacv1.Subject{person(cleo), group}) {
		t.Errorf("left are %v", have)
	}
	wantPolicyUsers(t, at, ns, cleo)
	a.must(http.MethodDelete, bindingsPath, inviteKind(ns, "Group", "ml", "edit"), user(ann))
	a.must(http.MethodDelete, bindingsPath, invite(ns, cleo, "edit"), user(ann))
	wantInvited(t, at, ns)
}

// The API server's memory may be behind what is stored. What it has then is neither deleted nor taken for the last word.
func TestDeleteBinding_whileTheMemoryIsBehind(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	cases := map[string]func(*metav1.PartialObjectMetadata) error{
		"without the policy": func(p *metav1.PartialObjectMetadata) error {
			return apierrors.NewNotFound(schema.GroupResource{Resource: "authorizationpolicies"}, p.Name)
		},
		"with an older version": func(p *metav1.PartialObjectMetadata) error {
			p.ResourceVersion = "1"
			return nil
		},
		"with another of that name": func(p *metav1.PartialObjectMetadata) error {
			p.UID = "of-another"
			return nil
		},
		"with what was no contributor's": func(p *metav1.PartialObjectMetadata) error {
			p.Annotations = nil
			return nil
		},
	}
	for name, behind := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var asked atomic.Int32
			a := serve(t, at, through(t, at, interceptor.Funcs{
				Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
					err := c.Get(ctx, key, obj, opts...)
					policy, ok := obj.(*metav1.PartialObjectMetadata)
					if o := (&client.GetOptions{}).ApplyOptions(opts); ok && err == nil && o.Raw != nil && o.Raw.ResourceVersion == "0" {
						asked.Add(1)
						return behind(policy)
					}
					return err
				},
			}))
			ns := tenant(t, at, a)
			a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann))
			a.must(http.MethodDelete, bindingsPath, invite(ns, ben, "edit"), user(ann))
			wantInvited(t, at, ns)
			if asked.Load() != 1 {
				t.Errorf("its memory was asked %d times, want once", asked.Load())
			}
		})
	}
}

// The role is part of what is removed.
func TestDeleteBinding_leavesOtherRoles(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	a.must(http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann))
	a.wants(http.StatusForbidden, "not found", http.MethodDelete, bindingsPath, invite(ns, ben, "view"), user(ann))
	wantInvited(t, at, ns, pair(benEdit)...)
}

// What the owner had as a contributor before can be removed, by the owner, too. The owner's own binding can't.
func TestDeleteBinding_removesWhatTheOwnerHadBefore(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	create(t, at, handMade(ns, "before", ann, "edit"))
	a.eventuallyListed("?namespace="+ns, "User "+ann+" admin", "User "+ann+" edit")
	a.must(http.MethodDelete, bindingsPath, invite(ns, ann, "edit"), user(ann))
	a.wants(http.StatusForbidden, "not found", http.MethodDelete, bindingsPath, invite(ns, ann, "admin"), user(ann))
	a.eventuallyListed("?namespace="+ns, "User "+ann+" admin")
}

// Namespaces that are no profile's are left alone, whoever asks; what is annotated there is none of ours.
func TestNamespacesOfNobodyAreNeverTouched(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	plain := plainNamespace(t, at)
	// A profile that does not own the namespace of its name: the controllers say NamespaceNotOwned of it.
	taken := plainNamespace(t, at)
	create(t, at, testProfile(taken, person(ann)))
	// One that was made for an earlier profile of the same name, which is not this one.
	stale := testProfile(profileName(t), person(ann))
	create(t, at, stale)
	ns := namespaceOf(stale)
	ns.Annotations[kubeflowv1.MadeForAnnotation] = "another"
	create(t, at, ns)
	for _, name := range []string{"default", "kube-system", "kube-public", plain, taken, stale.Name} {
		binding, policy := handMade(name, testkit.Name(t, "pair"), ben, "edit"), handMadePolicy(name, testkit.Name(t, "pair"), ben, "edit")
		create(t, at, binding)
		create(t, at, policy)
		for _, as := range []caller{user(root), user(ann), user(ben), theDashboard()} {
			for _, method := range []string{http.MethodPost, http.MethodDelete} {
				a.wants(http.StatusForbidden, "", method, bindingsPath, invite(name, ben, "edit"), as)
				a.wants(http.StatusForbidden, "", method, bindingsPath, invite(name, "new@example.com", "edit"), as)
			}
		}
		if get(t, at, name, binding.Name, &rbacv1.RoleBinding{}).ResourceVersion != binding.ResourceVersion ||
			get(t, at, name, policy.Name, &securityv1beta1.AuthorizationPolicy{}).ResourceVersion != policy.ResourceVersion {
			t.Errorf("the pair in %s was changed", name)
		}
		if have := invited(t, at, name); len(have) != 2 {
			t.Errorf("in %s is %q", name, have)
		}
	}
}

// When a profile is gone and its namespace stays, a cluster admin may clean up, and nobody else.
func TestDeleteBinding_cleansUpAfterAProfile(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	for _, berths := range []bool{true, false} {
		t.Run(fmt.Sprintf("made by Berth %v", berths), func(t *testing.T) {
			ns := &corev1.Namespace{ObjectMeta: objectMeta(testkit.Name(t, "gone"))}
			if berths {
				ns.Annotations = map[string]string{kubeflowv1.MadeForAnnotation: "gone"}
			}
			create(t, at, ns)
			listed := []string{"User " + ben + " edit"}
			if !berths { // Kubeflow leaves nothing on a namespace that was orphaned, but the owner's binding in it
				create(t, at, handMade(ns.Name, "namespaceAdmin", ann, "admin"))
				listed = append([]string{"User " + ann + " admin"}, listed...)
			}
			create(t, at, handMade(ns.Name, benEdit, ben, "edit"))
			create(t, at, handMadePolicy(ns.Name, benEdit, ben, "edit"))
			a.eventuallyListed("?namespace="+ns.Name, listed...)
			for _, as := range []caller{user(ann), user(eve), theDashboard()} {
				a.wants(http.StatusForbidden, "", http.MethodDelete, bindingsPath, invite(ns.Name, ben, "edit"), as)
			}
			a.wants(http.StatusForbidden, "no profile", http.MethodPost, bindingsPath, invite(ns.Name, ben, "edit"), user(root))
			testkit.Eventually(t, patience, func() error {
				if got := a.send(http.MethodDelete, bindingsPath, invite(ns.Name, ben, "edit"), user(root)); got.code != http.StatusOK {
					return fmt.Errorf("the cluster admin is answered %d %s", got.code, got.body)
				}
				return nil
			})
			wantInvited(t, at, ns.Name)
		})
	}
}

// A profile that is being deleted takes nobody in.
func TestCreateBinding_notWhileTheProfileIsBeingDeleted(t *testing.T) {
	t.Parallel()
	at := onQuiet(t)
	a := serve(t, at)
	ns := tenant(t, at, a)
	controllertest.Change(t, at.client, ns, func(p *kubeflowv1.Profile) { p.Finalizers = []string{kubeflowv1.ProfileFinalizer} })
	a.must(http.MethodDelete, profilesPath+"/"+ns, "", user(ann))
	a.wants(http.StatusForbidden, "is being deleted", http.MethodPost, bindingsPath, invite(ns, ben, "edit"), user(ann))
	a.must(http.MethodDelete, profilesPath+"/"+ns, "", user(ann)) // again is no mistake
	controllertest.Change(t, at.client, ns, func(p *kubeflowv1.Profile) { p.Finalizers = nil })
}
