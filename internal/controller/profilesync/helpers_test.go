// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync_test

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

type profileType = kubeflowv1.Profile

const patience = controllertest.Patience

// said says whether the condition of s speaks of text.
func said(s *berthv1alpha1.ProfileSync, conditionType, text string) error {
	for _, have := range s.Status.Conditions {
		if have.Type == conditionType && strings.Contains(have.Message, text) {
			return nil
		}
	}
	return fmt.Errorf("%s does not say %q: %+v", conditionType, text, s.Status.Conditions)
}

// listOf is a list of profiles.
func listOf(entries ...string) string {
	if len(entries) == 0 {
		return "profiles: []\n"
	}
	return "profiles:\n" + strings.Join(entries, "")
}

// entry is a profile of a list, owned by Olga, with further fields.
func entry(name string, fields ...string) string {
	return ownedEntry(name, "{kind: User, name: olga@example.com}", fields...)
}

func ownedEntry(name, owner string, fields ...string) string {
	text := fmt.Sprintf("- name: %s\n  owner: %s\n", name, owner)
	for _, field := range fields {
		text += "  " + field + "\n"
	}
	return text
}

// people are contributors of a list, given as NAME:ROLE of example.com.
func people(all ...string) string {
	var items []string
	for _, who := range all {
		name, role, _ := strings.Cut(who, ":")
		items = append(items, fmt.Sprintf("{name: %s@example.com, role: %s}", name, role))
	}
	return "contributors: [" + strings.Join(items, ", ") + "]"
}

// at makes NAME:ROLE of example.com what awaitAccess expects.
func at(all ...string) (full []string) {
	for _, who := range all {
		full = append(full, strings.Replace(who, ":", "@example.com:", 1))
	}
	return full
}

// bound is a contributor's RoleBinding as somebody makes it by hand.
func bound(namespace, name, user, role string) *rbacv1.RoleBinding {
	b := binding(namespace, name)
	b.Annotations = map[string]string{"user": user, "role": role}
	b.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubeflow-" + role}
	b.Subjects = []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: user}}
	return b
}

// policies are the AuthorizationPolicies of contributors in a namespace, by their names.
func policies(t *testing.T, c client.Client, namespace string) map[string]*securityv1beta1.AuthorizationPolicy {
	t.Helper()
	var list securityv1beta1.AuthorizationPolicyList
	if err := c.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	found := map[string]*securityv1beta1.AuthorizationPolicy{}
	for _, policy := range list.Items {
		if render.IsContributorPolicy(policy) {
			found[policy.Name] = policy
		}
	}
	return found
}

// editSync changes a sync as it is now.
func editSync(t *testing.T, c client.Client, s *berthv1alpha1.ProfileSync, change func(*berthv1alpha1.ProfileSync)) {
	t.Helper()
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			return err
		}
		change(s)
		return c.Update(t.Context(), s)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// syncNow has a sync look at its source and the cluster, and waits until it has.
func syncNow(t *testing.T, c client.Client, s *berthv1alpha1.ProfileSync) {
	t.Helper()
	asked := strconv.FormatInt(time.Now().UnixNano(), 10)
	editSync(t, c, s, func(s *berthv1alpha1.ProfileSync) {
		metav1.SetMetaDataAnnotation(&s.ObjectMeta, berthv1alpha1.SyncNowAnnotation, asked)
	})
	testkit.Eventually(t, controllertest.Patience, func() error {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(s), s); err != nil {
			return err
		}
		if s.Status.LastHandledSyncNow != asked {
			return fmt.Errorf("the sync is not heeded: %+v", s.Status)
		}
		return nil
	})
}

// inForce waits until the list that was declared last is the one that is in force.
func inForce(t *testing.T, c client.Client, s *berthv1alpha1.ProfileSync) {
	t.Helper()
	syncNow(t, c, s)
	awaitSync(t, c, s, berthv1alpha1.ConditionValid, berthv1alpha1.ReasonSucceeded)
}

// writes records what the controllers write.
type writes struct {
	mu    sync.Mutex
	all   []recorded
	spoil func(controllertest.Write) error
}

type recorded struct{ profile, text string }

func (w *writes) option() controllertest.Option {
	return controllertest.Intercept(func(write controllertest.Write) error {
		w.mu.Lock()
		w.all = append(w.all, recorded{write.Profile(), write.String()})
		spoil := w.spoil
		w.mu.Unlock()
		if spoil != nil {
			return spoil(write)
		}
		return nil
	}, nil)
}

// spoiled has writes fail from now on, as spoil says; nil has them succeed.
func (w *writes) spoiled(spoil func(controllertest.Write) error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.spoil = spoil
}

// of are the writes to profiles and their namespaces so far.
func (w *writes) of(profiles ...string) (texts []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, write := range w.all {
		if slices.Contains(profiles, write.profile) {
			texts = append(texts, write.text)
		}
	}
	return texts
}

// quiet fails if two more syncs write anything to the profiles.
func (w *writes) quiet(t *testing.T, c client.Client, s *berthv1alpha1.ProfileSync, profiles ...string) {
	t.Helper()
	syncNow(t, c, s) // what was still under way is over
	before := len(w.of(profiles...))
	syncNow(t, c, s)
	syncNow(t, c, s)
	if made := w.of(profiles...)[before:]; len(made) > 0 {
		t.Errorf("nothing had changed, and yet there were the writes %q", made)
	}
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
