// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/testkit"
)

type classOption func(*berthv1alpha1.ProfileClass)

func profileClass(name string, options ...classOption) berthv1alpha1.ProfileClass {
	class := berthv1alpha1.ProfileClass{ObjectMeta: metav1.ObjectMeta{Name: name, Generation: 1}}
	for _, option := range options {
		option(&class)
	}
	return class
}

// isDefault makes a class the default, made at that hour.
func isDefault(hour int) classOption {
	return func(class *berthv1alpha1.ProfileClass) {
		class.Annotations = map[string]string{berthv1alpha1.DefaultClassAnnotation: "true"}
		class.CreationTimestamp = metav1.NewTime(time.Date(2026, 1, 1, hour, 0, 0, 0, time.UTC))
	}
}

func beingDeleted(class *berthv1alpha1.ProfileClass) {
	class.DeletionTimestamp = new(metav1.NewTime(time.Date(2026, 1, 2, 0, 0, 0, 0, time.UTC)))
}

func inClass(name string) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) { p.Labels = map[string]string{berthv1alpha1.ClassLabel: name} }
}

func hadClass(name string) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) { p.Status.Class = &kubeflowv1.ClassStatus{Name: name, Generation: 1} }
}

func breakGlass(reason string) func(*kubeflowv1.Profile) {
	return func(p *kubeflowv1.Profile) {
		p.Annotations = map[string]string{berthv1alpha1.BreakGlassAnnotation: reason}
	}
}

func TestClassOf(t *testing.T) {
	a, b := profileClass("a"), profileClass("b")
	cases := map[string]struct {
		profile []func(*kubeflowv1.Profile)
		classes []berthv1alpha1.ProfileClass
		// want is the name of the class that is rendered, empty for the built-in one.
		want        string
		wantProblem bool
		wantUnknown bool
	}{
		"no classes at all":                   {},
		"no label and no default":             {classes: []berthv1alpha1.ProfileClass{a, b}},
		"the label":                           {profile: []func(*kubeflowv1.Profile){inClass("b")}, classes: []berthv1alpha1.ProfileClass{a, b}, want: "b"},
		"an empty label is none":              {profile: []func(*kubeflowv1.Profile){inClass("")}, classes: []berthv1alpha1.ProfileClass{a, profileClass("d", isDefault(1))}, want: "d"},
		"the label wins over the default":     {profile: []func(*kubeflowv1.Profile){inClass("a")}, classes: []berthv1alpha1.ProfileClass{a, profileClass("d", isDefault(1))}, want: "a"},
		"the default":                         {classes: []berthv1alpha1.ProfileClass{a, profileClass("d", isDefault(1))}, want: "d"},
		"the newest of several defaults":      {classes: []berthv1alpha1.ProfileClass{profileClass("d", isDefault(1)), profileClass("e", isDefault(2)), profileClass("f", isDefault(1))}, want: "e"},
		"of defaults of one age, by the name": {classes: []berthv1alpha1.ProfileClass{profileClass("e", isDefault(1)), profileClass("d", isDefault(1))}, want: "d"},
		"a default that is being deleted is one as long as it is there": {
			classes: []berthv1alpha1.ProfileClass{profileClass("d", isDefault(1)), profileClass("e", isDefault(2), beingDeleted)}, want: "e",
		},
		"one that is being deleted and named stays": {
			profile: []func(*kubeflowv1.Profile){inClass("a")}, classes: []berthv1alpha1.ProfileClass{profileClass("a", beingDeleted)}, want: "a",
		},
		"the built-in one by its name": {
			profile: []func(*kubeflowv1.Profile){inClass("berth")}, classes: []berthv1alpha1.ProfileClass{profileClass("d", isDefault(1))},
		},
		"one that is not there, and never was": {
			profile: []func(*kubeflowv1.Profile){inClass("x")}, classes: []berthv1alpha1.ProfileClass{profileClass("d", isDefault(1))},
			want: "x", wantProblem: true, wantUnknown: true,
		},
		"one that is not there, after another": {
			profile: []func(*kubeflowv1.Profile){inClass("x"), hadClass("a")}, classes: []berthv1alpha1.ProfileClass{a}, want: "a", wantProblem: true,
		},
		"one that was taken away": {
			profile: []func(*kubeflowv1.Profile){inClass("x"), hadClass("x")}, classes: []berthv1alpha1.ProfileClass{a},
			want: "x", wantProblem: true, wantUnknown: true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := ClassOf(testkit.Profile("p", tc.profile...), tc.classes)
			if got.Name != tc.want || got.Unknown != tc.wantUnknown || (got.Problem != nil) != tc.wantProblem {
				t.Errorf("class %q, unknown %t, problem %v", got.Name, got.Unknown, got.Problem)
			}
			if got.Problem != nil && (got.Problem.Reason != kubeflowv1.ReasonClassNotFound || !strings.Contains(got.Problem.Message, `"x"`)) {
				t.Errorf("the problem is %+v", *got.Problem)
			}
			if status := got.Status(); (status == nil) != (tc.want == "" || tc.wantUnknown) || status != nil && status.Name != tc.want {
				t.Errorf("the status is %+v", status)
			}
			slices.Reverse(tc.classes)
			if again := ClassOf(testkit.Profile("p", tc.profile...), tc.classes); again.Name != got.Name {
				t.Errorf("in another order, it is %q", again.Name)
			}
		})
	}
}

// everything is a class that asks for every part.
func everything() berthv1alpha1.ProfileClassSpec {
	return berthv1alpha1.ProfileClassSpec{
		Quota: &berthv1alpha1.QuotaSettings{Default: map[corev1.ResourceName]kubeflowv1.Quantity{"pods": "1"}},
		LimitRange: &corev1.LimitRangeSpec{
			Limits: []corev1.LimitRangeItem{{Type: corev1.LimitTypePod}},
		},
		Isolation: &berthv1alpha1.Isolation{
			Network: &berthv1alpha1.NetworkIsolation{}, MTLS: berthv1alpha1.MTLSStrict,
			UserToken: berthv1alpha1.UserTokenStrip, TokenIssuers: []berthv1alpha1.TokenIssuer{{Issuer: "i"}},
		},
		InferenceAccess: &berthv1alpha1.InferenceAccess{},
		ServiceAccounts: &berthv1alpha1.ServiceAccounts{
			DefaultEditor: &berthv1alpha1.ServiceAccountSettings{ImagePullSecrets: []string{"mirror"}},
			Additional:    []berthv1alpha1.AdditionalServiceAccount{{Name: "runner", ClusterRole: "kubeflow-edit"}},
		},
		Credentials: &berthv1alpha1.Credentials{Vault: &berthv1alpha1.VaultStore{Server: "https://v", Path: "kv", Role: "{{ .profile }}"}},
	}
}

func everywhere(class Class) Input {
	return Input{
		Config: DefaultConfig(), Class: class, InferenceServices: []string{"m"},
		Namespace: testkit.Namespace("a", testkit.Annotation(kubeflowv1.MadeForAnnotation, uidOfA), testkit.Annotation("owner", "ann")),
		Mesh: MeshKinds{
			AuthorizationPolicy: true, PeerAuthentication: true, RequestAuthentication: true, InferenceService: true,
			ProfileClass: true, ExternalSecrets: "v1",
		},
	}
}

func conditionsOf(parts []Part) (names []string) {
	for _, part := range parts {
		names = append(names, strings.TrimSuffix(part.Condition, "Ready"))
	}
	return names
}

func TestProfile_partsOfAClass(t *testing.T) {
	all := Class{Name: "c", Spec: everything()}
	missing := &Problem{Reason: kubeflowv1.ReasonClassNotFound, Message: "there is no such class"}
	cases := map[string]struct {
		profile []func(*kubeflowv1.Profile)
		class   Class
		owner   string
		want    []string
	}{
		"what keeps others out comes before access": {
			class: all,
			want:  []string{"Network", "MTLS", "UserToken", "LimitRange", "InferenceAccess", "Credentials", "ServiceAccounts", "Mesh", "Quota", "Access", "Class"},
		},
		"break-glass leaves guarded parts as they are": {
			class: all, profile: []func(*kubeflowv1.Profile){breakGlass("incident 7")},
			want: []string{"Credentials", "ServiceAccounts", "Mesh", "Access", "GuardRails", "Class"},
		},
		"a blank reason is no break-glass": {
			class: Class{}, profile: []func(*kubeflowv1.Profile){breakGlass("  ")}, want: []string{"Mesh", "Quota", "Access"},
		},
		"a class that nobody knows leaves everything but access": {
			class: Class{Name: "x", Problem: missing, Unknown: true}, want: []string{"Class", "Access"},
		},
		"nor does the owner before keep anything then": {
			class: Class{Name: "x", Problem: missing, Unknown: true}, owner: "bob", want: []string{"Class", "Access", "Mesh"},
		},
		"one that was there before is applied, and the problem told": {
			class: Class{Name: "c", Problem: missing}, want: []string{"Mesh", "Quota", "Access", "Class"},
		},
		"the built-in class": {class: Class{}, want: []string{"Mesh", "Quota", "Access"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p, in := testkit.Profile("a", tc.profile...), everywhere(tc.class)
			if tc.owner != "" {
				in.Namespace.Annotations["owner"] = tc.owner
			}
			tenant := Profile(p, in)
			if diff := cmp.Diff(tc.want, conditionsOf(tenant.Parts)); diff != "" {
				t.Errorf("parts (-want +got):\n%s", diff)
			}
		})
	}
}

func TestProfile_noNamespaceForAClassThatNobodyKnows(t *testing.T) {
	in := everywhere(ClassOf(testkit.Profile("a", inClass("x")), nil))
	in.Namespace = nil
	if claim := Profile(testkit.Profile("a"), in).Claim; claim.Allowed() || claim.Problem.Reason != kubeflowv1.ReasonClassNotFound {
		t.Errorf("the claim is %+v", claim)
	}
	in.Namespace = nil
	in.Class = Class{Name: "c", Spec: everything()}
	if tenant := Profile(testkit.Profile("a", breakGlass("x")), in); !slices.Contains(conditionsOf(tenant.Parts), "Network") {
		t.Error("a new namespace begins without its guarded parts, as there is nothing yet to be left as it is")
	}
}

// made are all objects that the parts of a class consist of, as if they were in the namespace.
func made(t *testing.T, in Input) []Resource {
	t.Helper()
	var placed []Resource
	for _, object := range Profile(testkit.Profile("a"), in).Objects() {
		if object.GetLabels()[berthv1alpha1.PartLabel] != "" {
			placed = append(placed, object.Resource)
		}
	}
	if len(placed) < 9 {
		t.Fatalf("only %d objects are labelled", len(placed))
	}
	return placed
}

func gone(tenant Tenant) (names []string) {
	for _, part := range tenant.Parts {
		for _, object := range part.Absent {
			if object.Purpose == "is not asked for any more" {
				names = append(names, object.GetObjectKind().GroupVersionKind().Kind+" "+object.GetName())
			}
		}
	}
	return names
}

func TestProfile_takesAwayWhatAClassMade(t *testing.T) {
	in := everywhere(Class{Name: "c", Spec: everything()})
	in.Placed = made(t, in)
	if names := gone(Profile(testkit.Profile("a"), in)); len(names) > 0 {
		t.Errorf("what is asked for goes: %q", names)
	}

	in.Class = Class{}
	tenant := Profile(testkit.Profile("a"), in)
	want := []string{
		"NetworkPolicy berth-allow-ingress", "NetworkPolicy berth-default-deny", "PeerAuthentication berth-mtls",
		"RequestAuthentication berth-user-token", "LimitRange berth-limits", "AuthorizationPolicy berth-isvc-m",
		"ServiceAccount berth-credentials", "RoleBinding berth-credentials-token", "SecretStore berth",
		"ServiceAccount runner", "RoleBinding berth-sa-runner",
	}
	if diff := cmp.Diff(want, gone(tenant)); diff != "" {
		t.Errorf("gone with the class (-want +got):\n%s", diff)
	}
	for _, part := range tenant.Parts {
		if len(part.Absent) > 0 && part.Absent[0].Purpose == "is not asked for any more" && !part.Retired {
			t.Errorf("%s stays a condition", part.Condition)
		}
	}

	held := Profile(testkit.Profile("a", breakGlass("incident 7")), in)
	if diff := cmp.Diff(want[6:], gone(held)); diff != "" {
		t.Errorf("gone under break-glass (-want +got):\n%s", diff)
	}
	in.Class = Class{Name: "x", Unknown: true, Problem: &Problem{}}
	if names := gone(Profile(testkit.Profile("a"), in)); len(names) > 0 {
		t.Errorf("gone although nobody knows the class: %q", names)
	}
}

// A label that somebody changed must not have one part delete what another one puts there.
func TestProfile_takesAwayNothingThatIsWanted(t *testing.T) {
	in := everywhere(Class{Name: "c", Spec: everything()})
	in.Placed = made(t, in)
	for _, there := range in.Placed {
		there.SetLabels(map[string]string{berthv1alpha1.PartLabel: partAccounts})
	}
	editor := &corev1.ServiceAccount{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"}}
	editor.Name, editor.Labels = EditorName, map[string]string{berthv1alpha1.PartLabel: partAccounts}
	in.Placed = append(in.Placed, editor)
	if names := gone(Profile(testkit.Profile("a"), in)); len(names) > 0 {
		t.Errorf("gone: %q", names)
	}
}

func TestProfile_keepsWhatNobodyCanTell(t *testing.T) {
	in := everywhere(Class{Name: "c", Spec: everything()})
	in.Placed = made(t, in)
	in.Class.Spec.Credentials.Vault.Role = "{{ .Values.role }}"
	tenant := Profile(testkit.Profile("a"), in)
	if names := gone(tenant); len(names) > 0 {
		t.Errorf("gone: %q", names)
	}
	i := slices.IndexFunc(tenant.Parts, func(part Part) bool { return part.Condition == kubeflowv1.ConditionCredentialsReady })
	if part := tenant.Parts[i]; part.Problem == nil || part.Problem.Reason != kubeflowv1.ReasonCredentialsInvalid || len(part.Objects) > 0 {
		t.Errorf("credentials: %+v", part)
	}
}

func TestProfile_kindsThatTheClusterLacks(t *testing.T) {
	in := everywhere(Class{Name: "c", Spec: everything()})
	in.Mesh = MeshKinds{ProfileClass: true}
	want := map[string]string{
		"MTLS": kubeflowv1.ReasonMeshNotInstalled, "UserToken": kubeflowv1.ReasonMeshNotInstalled, "Mesh": kubeflowv1.ReasonMeshNotInstalled,
		"InferenceAccess": kubeflowv1.ReasonMeshNotInstalled, "Credentials": kubeflowv1.ReasonExternalSecretsUnavailable,
	}
	got := map[string]string{}
	for _, part := range Profile(testkit.Profile("a"), in).Parts {
		if part.Problem != nil {
			got[strings.TrimSuffix(part.Condition, "Ready")] = part.Problem.Reason
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("problems (-want +got):\n%s", diff)
	}
	in.Mesh.AuthorizationPolicy = true
	if part := inferenceAccess(testkit.Profile("a"), in); part.Problem != nil || part.Reason != kubeflowv1.ReasonKServeNotInstalled {
		t.Errorf("without KServe: %+v", part)
	}
}

func TestNetwork_egressForKubeflow(t *testing.T) {
	in := everywhere(Class{Name: "c", Spec: berthv1alpha1.ProfileClassSpec{Isolation: &berthv1alpha1.Isolation{Network: &berthv1alpha1.NetworkIsolation{
		Egress: &berthv1alpha1.EgressIsolation{},
		Allow:  berthv1alpha1.NetworkOpenings{Gateway: new(false), DNS: new(false), SameNamespace: new(false)},
	}}}})
	var got []string
	for _, object := range network(testkit.Profile("a"), in).Objects {
		policy, ok := object.Resource.(*networkingv1.NetworkPolicy)
		if !ok || policy.Name != egressPolicyName {
			continue
		}
		for _, rule := range policy.Spec.Egress {
			peer := rule.To[0].PodSelector.MatchExpressions[0]
			line := peer.Key + "=" + strings.Join(peer.Values, ",") + " in " + rule.To[0].NamespaceSelector.MatchLabels[corev1.LabelMetadataName]
			for _, port := range rule.Ports {
				line += " " + port.Port.String()
			}
			got = append(got, line)
		}
	}
	want := []string{
		"app=activator in knative-serving 8012 8112",
		"app=ml-pipeline in kubeflow 8888 8887",
		"component=metadata-grpc-server in kubeflow 8080",
		"app=seaweedfs,minio in kubeflow 8333 9000",
		"katib.kubeflow.org/component=db-manager in kubeflow 6789",
		"component=model-registry-server in kubeflow 8080",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("openings without addresses of the API server, which would open everything (-want +got):\n%s", diff)
	}
}

func TestContributorPolicyName_leavesThoseOfInferenceServices(t *testing.T) {
	service := inferencePolicyName("fraud")
	if name := ContributorPolicyName(service); name == service {
		t.Errorf("a RoleBinding called %s has the policy of an InferenceService", name)
	}
}

func TestRoleShown_roleOfAClass(t *testing.T) {
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "b", Annotations: map[string]string{"user": "ann", "role": "guest"}},
		RoleRef:    clusterRole("kubeflow-view"),
	}
	if role := RoleShown(binding); role != "view" {
		t.Errorf("one that others made for kubeflow-view is shown as %q", role)
	}
	binding.Labels = map[string]string{kubeflowv1.ManagedByLabel: kubeflowv1.ManagedByValue}
	if role := RoleShown(binding); role != "guest" {
		t.Errorf("ours for the role guest is shown as %q", role)
	}
}
