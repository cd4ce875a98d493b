// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/testkit"
)

func TestSettle(t *testing.T) {
	type settings = berthv1alpha1.ServiceAccountSettings
	live := func(record string, secrets ...string) *corev1.ServiceAccount {
		account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"k": "v"}}}
		if record != "" {
			account.Annotations[berthv1alpha1.AppliedClassAnnotation] = record
		}
		for _, name := range secrets {
			account.ImagePullSecrets = append(account.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
		}
		return account
	}
	off := func(account *corev1.ServiceAccount) *corev1.ServiceAccount {
		account.AutomountServiceAccountToken = new(false)
		return account
	}
	cases := map[string]struct {
		live     *corev1.ServiceAccount
		settings settings
		// want are the pull secrets, wantExact the fields that are written whole.
		want, wantExact, wantAbsent []string
		wantRecord                  string
	}{
		"nothing asked for, nothing there": {},
		"nothing asked for, others' stay":  {live: live("", "theirs")},
		"next to others'": {
			live: live("", "theirs"), settings: settings{ImagePullSecrets: []string{"b", "a"}},
			want: []string{"theirs", "a", "b"}, wantExact: []string{"imagePullSecrets"}, wantRecord: `{"imagePullSecrets":["a","b"]}`,
		},
		"one that others have already is there once": {
			live: live("", "a"), settings: settings{ImagePullSecrets: []string{"a"}},
			want: []string{"a"}, wantExact: []string{"imagePullSecrets"}, wantRecord: `{"imagePullSecrets":["a"]}`,
		},
		"taken out of the class, it goes, and others' stay": {
			live: live(`{"imagePullSecrets":["a"]}`, "a", "theirs"),
			want: []string{"theirs"}, wantExact: []string{"imagePullSecrets"}, wantAbsent: []string{berthv1alpha1.AppliedClassAnnotation},
		},
		"somebody took it off, it comes back": {
			live: live(`{"imagePullSecrets":["a"]}`), settings: settings{ImagePullSecrets: []string{"a"}},
			want: []string{"a"}, wantExact: []string{"imagePullSecrets"}, wantRecord: `{"imagePullSecrets":["a"]}`,
		},
		"a token that was kept off comes back": {
			live: off(live(`{"automountServiceAccountToken":false}`)), wantExact: []string{"automountServiceAccountToken"},
			wantAbsent: []string{berthv1alpha1.AppliedClassAnnotation},
		},
		"what others said about the token stays": {live: off(live("")), wantAbsent: nil},
		"an annotation goes as long as it is ours": {
			live: live(`{"annotations":{"k":"v"}}`), wantAbsent: []string{"k", berthv1alpha1.AppliedClassAnnotation},
		},
		"one that others changed stays": {
			live: live(`{"annotations":{"k":"before"}}`), wantAbsent: []string{berthv1alpha1.AppliedClassAnnotation},
		},
		"a record that can't be read takes nothing back": {
			live: live(`{"annotations":{"k":"v"},"imagePullSecrets":"a"}`, "a"), wantAbsent: []string{berthv1alpha1.AppliedClassAnnotation},
		},
		"nor does one of another kind": {live: live(`["k"]`, "a"), wantAbsent: []string{berthv1alpha1.AppliedClassAnnotation}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			account := &corev1.ServiceAccount{}
			object := Object{Resource: account}
			before := tc.live.DeepCopy()
			Input{}.settle(&object, tc.live, tc.settings)
			var got []string
			for _, ref := range account.ImagePullSecrets {
				got = append(got, ref.Name)
			}
			if diff := cmp.Diff([][]string{tc.want, tc.wantExact, tc.wantAbsent}, [][]string{got, object.Exact, object.AbsentAnnotations}); diff != "" {
				t.Errorf("secrets, whole fields, absent annotations (-want +got):\n%s", diff)
			}
			if record := account.Annotations[berthv1alpha1.AppliedClassAnnotation]; record != tc.wantRecord {
				t.Errorf("the record is %s", record)
			}
			if diff := cmp.Diff(before, tc.live); diff != "" {
				t.Errorf("it changed what is there:\n%s", diff)
			}
			untouched := Object{Resource: &corev1.ServiceAccount{}}
			Input{Class: Class{Unknown: true}}.settle(&untouched, tc.live, tc.settings)
			if diff := cmp.Diff(&corev1.ServiceAccount{}, untouched.Resource); diff != "" || len(untouched.Exact)+len(untouched.AbsentAnnotations) > 0 {
				t.Errorf("a class that nobody knows decides something:\n%s", diff)
			}
		})
	}
}

func TestClassAnnotations_leavesOthersEmptyValue(t *testing.T) {
	in := everywhere(Class{Name: "c", Spec: berthv1alpha1.ProfileClassSpec{Namespace: &berthv1alpha1.NamespaceSettings{
		Annotations: []berthv1alpha1.Setting{{Key: "k", Value: "v", Policy: berthv1alpha1.IfAbsent}},
	}}})
	in.Namespace.Annotations["k"] = ""
	got := Profile(testkit.Profile("a"), in).Namespace
	if _, there := got.GetAnnotations()["k"]; there || got.GetAnnotations()[berthv1alpha1.AppliedClassAnnotation] != "" {
		t.Errorf("annotations: %v", got.GetAnnotations())
	}
}

// A class may say who looks after a namespace: what the first pass writes is what the next ones want.
func TestNamespaceLabels_managedByOfAClass(t *testing.T) {
	const key = kubeflowv1.ManagedByLabel
	in := everywhere(Class{Name: "c", Spec: berthv1alpha1.ProfileClassSpec{Namespace: &berthv1alpha1.NamespaceSettings{
		Labels: []berthv1alpha1.Setting{{Key: key, Value: "platform"}},
	}}})
	in.Namespace = nil
	if ns := passes(t, 1, in); ns.Labels[key] != "platform" {
		t.Errorf("the first pass writes %s", ns.Labels[key])
	}
	in.Namespace = passes(t, 3, in)
	in.Class = Class{}
	if ns := passes(t, 1, in); ns.Labels[key] != kubeflowv1.ManagedByValue {
		t.Errorf("without the class, it is %q", ns.Labels[key])
	}
}

func TestFiller(t *testing.T) {
	cases := map[string]struct {
		text, want string
		wantErr    bool
	}{
		"plain":                          {text: "kv/data", want: "kv/data"},
		"the place":                      {text: "kv/{{ .profile }}/x", want: "kv/team-a/x"},
		"twice, and tight":               {text: "{{.profile}}-{{  .profile  }}", want: "team-a-team-a"},
		"another field":                  {text: "{{ .owner }}", wantErr: true},
		"a function":                     {text: `{{ .profile | upper }}`, wantErr: true},
		"trimmed":                        {text: "{{- .profile -}}", wantErr: true},
		"an action without an end":       {text: "{{ .profile }}/{{", wantErr: true},
		"one made by the filling itself": {text: "{{{ .profile }}}", want: "{team-a}"},
		"one put together":               {text: "{{{{ .profile }} .secret }}", wantErr: true},
		"a variable of a shell stays":    {text: "$HOME ${1} $1", want: "$HOME ${1} $1"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			fill := filler{profile: "team-a"}
			got := fill.in(tc.text)
			if (fill.err != nil) != tc.wantErr || !tc.wantErr && got != tc.want {
				t.Errorf("%q, error %v", got, fill.err)
			}
		})
	}
}

func TestCredentials_refused(t *testing.T) {
	store := func(raw string) *berthv1alpha1.Credentials {
		return &berthv1alpha1.Credentials{Provider: &runtime.RawExtension{Raw: []byte(raw)}}
	}
	s3 := func(change func(*berthv1alpha1.S3Credentials)) *berthv1alpha1.Credentials {
		given := store(`{}`)
		given.S3 = &berthv1alpha1.S3Credentials{RemoteKey: "{{ .profile }}", Bucket: "b"}
		change(given.S3)
		return given
	}
	twice := s3(func(*berthv1alpha1.S3Credentials) {})
	twice.Secrets = []berthv1alpha1.ExternalSecret{{Name: "berth-s3"}}
	registry := store(`{}`)
	registry.PullSecret = &berthv1alpha1.PullSecret{RemoteKey: "r"}
	registry.Secrets = []berthv1alpha1.ExternalSecret{{Name: "berth-registry"}}
	annotated := store(`{}`)
	annotated.ServiceAccountAnnotations = map[string]string{"k": "{{ .uid }}"}
	cases := map[string]struct {
		given *berthv1alpha1.Credentials
		want  string
	}{
		"a provider that is no JSON":                {store(`{`), "no JSON object"},
		"a template deep inside the provider":       {store(`{"a": [{"b": "{{ .Values }}"}]}`), "{{ .Values }}"},
		"a template in the bucket":                  {s3(func(s *berthv1alpha1.S3Credentials) { s.Bucket = "{{ .profile }}" }), "{{ .profile }}"},
		"a template in the endpoint":                {s3(func(s *berthv1alpha1.S3Credentials) { s.Endpoint = "{{ .x }}" }), "{{ .x }}"},
		"a template in the region":                  {s3(func(s *berthv1alpha1.S3Credentials) { s.Region = "{{ .x }}" }), "{{ .x }}"},
		"a value of the store's in the prefix":      {s3(func(s *berthv1alpha1.S3Credentials) { s.Prefix = "{{ .secretAccessKey }}/" }), "secretAccessKey"},
		"an annotation of the account":              {annotated, "{{ .uid }}"},
		"a secret with the name of the S3 key":      {twice, "berth-s3"},
		"a secret with the name of the pull secret": {registry, "berth-registry"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			part := credentials(testkit.Profile("team-a"), everywhere(Class{Name: "c", Spec: berthv1alpha1.ProfileClassSpec{Credentials: tc.given}}))
			if part.Problem == nil || part.Problem.Reason != kubeflowv1.ReasonCredentialsInvalid || !strings.Contains(part.Problem.Message, tc.want) || !part.Keep {
				t.Errorf("problem %+v, keep %t", part.Problem, part.Keep)
			}
		})
	}
}

// What the class takes out of limits goes, although the API server adds to them: another hash has the spec written anew.
func TestLimitRange_hash(t *testing.T) {
	hash := func(limits ...corev1.LimitRangeItem) string {
		in := everywhere(Class{Name: "c", Spec: berthv1alpha1.ProfileClassSpec{LimitRange: &corev1.LimitRangeSpec{Limits: limits}}})
		return limitRange(testkit.Profile("a"), in).Objects[0].GetAnnotations()[berthv1alpha1.RenderedAnnotation]
	}
	item := corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: corev1.ResourceList{"cpu": resource.MustParse("8"), "memory": resource.MustParse("1Gi")}}
	same := *item.DeepCopy()
	same.Max["cpu"] = resource.MustParse("8000m")
	less := *item.DeepCopy()
	delete(less.Max, "cpu")
	if hash(item) == "" || hash(item) != hash(same) || hash(item) == hash(less) {
		t.Errorf("hashes: %s, in other words %s, with less %s", hash(item), hash(same), hash(less))
	}
}

func TestInferencePolicyName(t *testing.T) {
	long := strings.Repeat("a", validation.DNS1123SubdomainMaxLength)
	fits := strings.Repeat("a", validation.DNS1123SubdomainMaxLength-len("berth-isvc-"))
	dotted := strings.Repeat("a", 232) + strings.Repeat(".b", 10)
	seen := []string{}
	for _, service := range []string{"fraud", fits, fits + "b", long, long[1:] + "b", dotted} {
		name := inferencePolicyName(service)
		if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 || slices.Contains(seen, name) {
			t.Errorf("%q: %v", name, problems)
		}
		seen = append(seen, name)
	}
	if seen[0] != "berth-isvc-fraud" || seen[1] != "berth-isvc-"+fits {
		t.Errorf("names that fit are changed: %q", seen[:2])
	}
}

func TestQuota_defaultsOfAClassAreNotTheProfilesFault(t *testing.T) {
	class := berthv1alpha1.QuotaSettings{
		Default:  map[corev1.ResourceName]kubeflowv1.Quantity{"requests.cpu": "8"},
		Max:      map[corev1.ResourceName]kubeflowv1.Quantity{"requests.cpu": "4"},
		Required: []berthv1alpha1.ResourceName{"requests.memory"},
	}
	part := quota(testkit.Profile("a"), everywhere(Class{Name: "c", Spec: berthv1alpha1.ProfileClassSpec{Quota: &class}}))
	if part.Problem == nil || part.Problem.Reason != kubeflowv1.ReasonQuotaAboveClass || !strings.Contains(part.Problem.Message, "spec.quota.default of the class") {
		t.Errorf("problem: %+v", part.Problem)
	}
}

func TestQuota_requiredByEitherName(t *testing.T) {
	for required, want := range map[berthv1alpha1.ResourceName]bool{
		"requests.cpu": true, "cpu": true, "requests.memory": true, "memory": true, "limits.cpu": false, "requests.nvidia.com/gpu": false,
	} {
		class := berthv1alpha1.QuotaSettings{Required: []berthv1alpha1.ResourceName{required}}
		p := testkit.Profile("a", testkit.Quota("cpu", "1"), testkit.Quota("requests.memory", "1Gi"))
		part := quota(p, everywhere(Class{Name: "c", Spec: berthv1alpha1.ProfileClassSpec{Quota: &class}}))
		if named := part.Problem == nil; named != want {
			t.Errorf("%s: named %t", required, named)
		}
	}
}

// Rendering neither keeps nor changes what it is given, whatever becomes of the result.
func TestProfile_sharesNothingWithItsClass(t *testing.T) {
	in := everywhere(Class{Name: "c", Spec: everything()})
	in.Class.Spec.Isolation.Network.IngressRules = append(in.Class.Spec.Isolation.Network.IngressRules, ingressRules(berthv1alpha1.NetworkIsolation{}, true)...)
	in.Class.Spec.Credentials.Vault, in.Class.Spec.Credentials.Provider = nil, &runtime.RawExtension{Raw: []byte(`{"fake": {"data": ["{{ .profile }}"]}}`)}
	text := func() string {
		tenant, err := Profile(testkit.Profile("a"), in).YAML()
		if err != nil {
			t.Fatal(err)
		}
		return string(tenant)
	}
	want, before := text(), in.Class.Spec.DeepCopy()
	for _, object := range Profile(testkit.Profile("a"), in).Objects() {
		// Decoding into what is there writes through whatever it shares.
		data, err := json.Marshal(object.Resource)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(strings.ReplaceAll(strings.ReplaceAll(string(data), "istio", "other"), "Pod", "Container")), object.Resource); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff(before, &in.Class.Spec); diff != "" {
		t.Errorf("the class changed:\n%s", diff)
	}
	if diff := cmp.Diff(want, text()); diff != "" {
		t.Errorf("the next result differs:\n%s", diff)
	}
}

// That the labels file can't be read keeps none of what the class says from a namespace.
func TestNamespaceLabels_ofAClassWithoutTheFile(t *testing.T) {
	class := Class{Name: "c"}
	class.Spec.Namespace = &berthv1alpha1.NamespaceSettings{PodSecurity: &berthv1alpha1.PodSecurity{Enforce: "baseline"}}
	p := testkit.Profile("a")
	tenant := Profile(p, Input{
		Config: DefaultConfig(), Class: class, LabelsUnknown: true,
		Namespace: testkit.Namespace("a", testkit.Annotation(kubeflowv1.MadeForAnnotation, string(p.UID)), testkit.Label("from-file", "x"),
			testkit.Annotation(kubeflowv1.AppliedLabelsAnnotation, "from-file=x")),
	})
	if got := tenant.Namespace.GetLabels()["pod-security.kubernetes.io/enforce"]; got != "baseline" {
		t.Errorf("the level is %q", got)
	}
	if got := tenant.Namespace.GetAnnotations()[kubeflowv1.AppliedLabelsAnnotation]; got != "from-file=x,pod-security.kubernetes.io/enforce=baseline" {
		t.Errorf("the record is %q", got)
	}
}

// A waypoint takes tokens off for all workloads or none.
func TestUserToken_selectorInAmbientMode(t *testing.T) {
	class := Class{Name: "c"}
	class.Spec.Isolation = &berthv1alpha1.Isolation{
		UserToken: berthv1alpha1.UserTokenStrip, TokenIssuers: []berthv1alpha1.TokenIssuer{{Issuer: "https://issuer.example.com"}},
		UserTokenSelector: map[string]string{"app": "notebook"},
	}
	config := DefaultConfig()
	config.MeshMode = MeshAmbient
	tenant := Profile(testkit.Profile("a"), Input{
		Config: config, Class: class, Mesh: MeshKinds{AuthorizationPolicy: true, RequestAuthentication: true, Gateway: true},
	})
	var reasons []string
	for _, problem := range tenant.Problems() {
		reasons = append(reasons, problem.Reason)
	}
	if !slices.Contains(reasons, kubeflowv1.ReasonSelectorUnsupported) {
		t.Errorf("problems are %q", reasons)
	}
}
