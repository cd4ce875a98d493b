// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

const (
	sentenceName     = "metadata.name becomes the name of a namespace: use at most 63 lower-case letters, digits and dashes, and no dots"
	sentenceReserved = "metadata.name is reserved for a namespace of the platform itself: choose another name"
	sentenceOwner    = "spec.owner is missing: say who owns the profile, for example {kind: User, name: alice@example.com}"
	sentenceKind     = "spec.owner.kind must be User, Group or ServiceAccount"
	sentenceNoName   = "spec.owner.name must not be empty: it is the name of the user, group or service account"
	sentenceStar     = "spec.owner.name must not contain '*': the mesh would read it as a wildcard and let others in"
	sentenceAccount  = "spec.owner.namespace must name the namespace of the service account"
	sentenceQuantity = "must be a quantity such as 4, 500m or 16Gi"
)

// Defects 1 and 15: names that no namespace can have, reserved names, missing and dangerous owners are refused when
// they are written, with a sentence that says what to do.
func TestCRD_refuses(t *testing.T) {
	owner := map[string]any{"kind": "User", "name": "ann@example.com"}
	quantity := func(q any) map[string]any {
		return map[string]any{"owner": owner, "resourceQuotaSpec": map[string]any{"hard": map[string]any{"requests.cpu": q}}}
	}
	ownedBy := func(owner map[string]any) map[string]any { return map[string]any{"owner": owner} }
	cases := map[string]struct {
		name string
		spec map[string]any
		want string
	}{
		"a name of 64 characters":             {strings.Repeat("n", 64), ownedBy(owner), sentenceName},
		"a name with a dot":                   {"team.a", ownedBy(owner), sentenceName},
		"kube-system":                         {"kube-system", ownedBy(owner), sentenceReserved},
		"a name that begins with kube-":       {"kube-team", ownedBy(owner), sentenceReserved},
		"default":                             {"default", ownedBy(owner), sentenceReserved},
		"istio-system":                        {"istio-system", ownedBy(owner), sentenceReserved},
		"kubeflow":                            {"kubeflow", ownedBy(owner), sentenceReserved},
		"no spec":                             {"", nil, sentenceOwner},
		"no owner":                            {"", map[string]any{}, sentenceOwner},
		"an owner without kind":               {"", ownedBy(map[string]any{"name": "ann"}), "spec.owner.kind: Required value"},
		"an owner with an empty kind":         {"", ownedBy(map[string]any{"kind": "", "name": "ann"}), sentenceKind},
		"an owner without name":               {"", ownedBy(map[string]any{"kind": "User"}), "spec.owner.name: Required value"},
		"an owner with an empty name":         {"", ownedBy(map[string]any{"kind": "User", "name": ""}), sentenceNoName},
		"an owner of another kind":            {"", ownedBy(map[string]any{"kind": "Robot", "name": "ann"}), sentenceKind},
		"an owner who is everybody":           {"", ownedBy(map[string]any{"kind": "User", "name": "*"}), sentenceStar},
		"an owner who is a whole domain":      {"", ownedBy(map[string]any{"kind": "Group", "name": "*@example.com"}), sentenceStar},
		"a service account without namespace": {"", ownedBy(map[string]any{"kind": "ServiceAccount", "name": "robot"}), sentenceAccount},
		"a quantity that nobody can parse":    {"", quantity("1e1.5"), sentenceQuantity},
		"a quantity that takes minutes":       {"", quantity("1e-999999999"), sentenceQuantity},
	}
	c := onShared(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			for _, version := range []kind{profileKind, profileBetaKind} {
				obj := version.object("", testkit.Name(t, "team"))
				if tc.name != "" {
					obj.SetName(tc.name)
				}
				if tc.spec != nil {
					obj.Object["spec"] = tc.spec
				}
				err := c.Create(t.Context(), obj, client.DryRunAll)
				if !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("%s: want a refusal that says %q, got %v", version.apiVersion, tc.want, err)
				}
			}
		})
	}
}

func TestCRD_accepts(t *testing.T) {
	cases := map[string]func(*kubeflowv1.Profile){
		"a name of 63 characters":      withName(strings.Repeat("n", 63)),
		"a group":                      withOwner(group("ml-team")),
		"a service account":            withOwner(serviceAccount("ci", "robot")),
		"a quantity with an exponent":  controllertest.WithQuota("requests.cpu", "1e3"),
		"a name that contains kube-":   withName("team-kube-a"),
		"a name that is like reserved": withName("kubeflow-team"),
	}
	c := onShared(t)
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			p := controllertest.Profile(testkit.Name(t, "team"), change)
			if err := c.Create(t.Context(), p, client.DryRunAll); err != nil {
				t.Error(err)
			}
		})
	}
}

// MUST keep: spec.resourceQuotaSpec readable as {}.
func TestCRD_resourceQuotaSpecDefaultsToEmpty(t *testing.T) {
	c := onShared(t)
	for _, version := range []kind{profileKind, profileBetaKind} {
		obj := version.object("", testkit.Name(t, "team"))
		obj.Object["spec"] = map[string]any{"owner": map[string]any{"kind": "User", "name": "ann@example.com"}}
		if err := c.Create(t.Context(), obj, client.DryRunAll); err != nil {
			t.Fatal(err)
		}
		quota, found, err := unstructured.NestedMap(obj.Object, "spec", "resourceQuotaSpec")
		if err != nil || !found || len(quota) != 0 {
			t.Errorf("%s: resourceQuotaSpec is %v (found %t, error %v), want {}", version.apiVersion, quota, found, err)
		}
	}
}

// Defect 8: there are printer columns.
func TestCRD_printsOwnerReadyReasonAndAge(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	clients, err := kubernetes.NewForConfig(shared.Use(t).Config())
	if err != nil {
		t.Fatal(err)
	}
	for _, version := range []kind{profileKind, profileBetaKind} {
		data, err := clients.RESTClient().Get().AbsPath("/apis", version.apiVersion, "profiles", p.Name).
			SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		var table metav1.Table
		if err := json.Unmarshal(data, &table); err != nil || len(table.Rows) != 1 {
			t.Fatalf("%s (error %v)", data, err)
		}
		have := map[string]string{}
		for i, column := range table.ColumnDefinitions {
			have[column.Name] = fmt.Sprint(table.Rows[0].Cells[i])
		}
		if have["Age"] == "" || have["Age"] == "<nil>" {
			t.Errorf("%s: no age in %v", version.apiVersion, have)
		}
		delete(have, "Age")
		want := map[string]string{"Name": p.Name, "Owner": controllertest.Owner, "Ready": "True", "Reason": "Ready"}
		if d := cmp.Diff(want, have); d != "" {
			t.Errorf("%s (-want +got):\n%s", version.apiVersion, d)
		}
	}
}

// Defect 8: status is written. Old readers find type, status and message; new ones the rest.
func TestStatus_conditionsAreComplete(t *testing.T) {
	c := onShared(t)
	p := readyProfile(t, c)
	list, _, err := unstructured.NestedSlice(read(t, c, profileKind.object("", p.Name)).Object, "status", "conditions")
	if err != nil {
		t.Fatal(err)
	}
	var types []any
	for _, item := range list {
		condition := item.(map[string]any)
		types = append(types, condition["type"])
		for _, field := range []string{"type", "status", "message", "reason", "observedGeneration", "lastTransitionTime"} {
			if value := condition[field]; value == nil || value == "" {
				t.Errorf("condition %v lacks %s", condition["type"], field)
			}
		}
	}
	want := []any{"Ready", "NamespaceReady", "MeshReady", "QuotaReady", "AccessReady"}
	if d := cmp.Diff(want, types); d != "" {
		t.Errorf("conditions (-want +got):\n%s", d)
	}
}

// What kubectl wait --for=condition=Ready does.
func TestStatus_readyCanBeWatchedFor(t *testing.T) {
	c := onShared(t)
	watching, err := client.NewWithWatch(shared.Use(t).Config(), client.Options{Scheme: c.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	p := controllertest.Profile(testkit.Name(t, "team"))
	watcher, err := watching.Watch(t.Context(), &kubeflowv1.ProfileList{}, client.MatchingFields{"metadata.name": p.Name})
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	create(t, c, p)

	for event := range watcher.ResultChan() {
		seen, ok := event.Object.(*kubeflowv1.Profile)
		if !ok {
			t.Fatalf("the watch says %v", event.Object)
		}
		ready := meta.FindStatusCondition(seen.Status.Conditions, "Ready")
		if ready == nil || ready.Status != metav1.ConditionTrue || ready.ObservedGeneration != seen.Generation {
			continue
		}
		// Whoever waited goes on at once, so everything has to be there.
		if have := readTenant(t, c, p); len(have) != 8 {
			t.Errorf("ready with only %v", names(have))
		}
		return
	}
	t.Error("the watch ended before the profile was ready")
}
