// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// classFile is a ProfileClass with that spec, in YAML flow style.
func classFile(name, spec string) string {
	return "apiVersion: berth.dev/v1alpha1\nkind: ProfileClass\nmetadata: {name: " + name + "}\nspec: " + spec + "\n"
}

func TestRender_class(t *testing.T) {
	isolated, limited := classFile("isolated", "{isolation: {network: {}}}"), classFile("limited", "{limitRange: {limits: [{type: Pod, max: {cpu: 4}}]}}")
	other := strings.Replace(limited, "{name: limited}", "{name: limited, annotations: {berth.dev/is-default-class: 'true'}}", 1)
	of := func(class string) string {
		return strings.Replace(profileA, "{name: a}", "{name: a, labels: {berth.dev/class: "+class+"}}", 1)
	}
	const wall, limits = "name: berth-default-deny", "name: berth-limits"
	cases := map[string]struct {
		profile, classes string
		wants, wantNot   []string
	}{
		"no class":                            {profile: profileA, wantNot: []string{wall, limits}},
		"the only one, named":                 {profile: of("isolated"), classes: isolated, wants: []string{wall}, wantNot: []string{limits}},
		"the only one, for who names none":    {profile: profileA, classes: isolated, wants: []string{wall}},
		"the built-in one, named":             {profile: of("berth"), classes: isolated, wantNot: []string{wall}},
		"one of two":                          {profile: of("limited"), classes: isolated + "---\n" + limited, wants: []string{limits}, wantNot: []string{wall}},
		"two, for who names none":             {profile: profileA, classes: isolated + "---\n" + limited, wantNot: []string{wall, limits}},
		"the default of two, for who doesn't": {profile: profileA, classes: "# two\n---\n" + isolated + "---\n" + other, wants: []string{limits}, wantNot: []string{wall}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			args := []string{"-f", "-"}
			if tc.classes != "" {
				args = append(args, "--class", write(t, "class.yaml", tc.classes))
			}
			got, err := rendered(t, tc.profile, args...)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range append(tc.wants, "name: namespaceAdmin") {
				if !strings.Contains(got, want) {
					t.Errorf("there is no %q in:\n%s", want, got)
				}
			}
			for _, not := range tc.wantNot {
				if strings.Contains(got, not) {
					t.Errorf("there is %q in:\n%s", not, got)
				}
			}
		})
	}
}

func TestRender_classRefused(t *testing.T) {
	good := classFile("good", "{}")
	cases := map[string]struct {
		classes string
		wants   []string
	}{
		"nothing":            {"# nothing\n", []string{"class.yaml", "no ProfileClass"}},
		"another kind":       {good + "---\n" + profileA, []string{"class.yaml, document 2", `"Profile"`, "ProfileClass"}},
		"an unknown version": {strings.Replace(good, "v1alpha1", "v7", 1), []string{"document 1", `"berth.dev/v7"`, "berth.dev/v1alpha1"}},
		"an unknown field":   {classFile("c", "{isolatoin: {}}"), []string{"document 1", `"isolatoin"`}},
		"no YAML":            {good + "---\n\tx: {\n", []string{"document 2"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := rendered(t, profileA, "-f", "-", "--class", write(t, "class.yaml", tc.classes))
			if err == nil || got != "" {
				t.Fatalf("want nothing printed and an error, have %v and:\n%s", err, got)
			}
			for _, want := range tc.wants {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not name %s: %v", want, err)
				}
			}
		})
	}
	if _, err := rendered(t, profileA, "-f", "-", "--class", "/not/there.yaml"); err == nil || !strings.Contains(err.Error(), "/not/there.yaml") {
		t.Errorf("a file that is not there: %v", err)
	}
}

// As the controller makes no namespace without the limits of a class that is not there, nothing is printed.
func TestRender_classNotGiven(t *testing.T) {
	p := strings.Replace(profileA, "{name: a}", "{name: a, labels: {berth.dev/class: lost}}", 1)
	got, err := rendered(t, p, "-f", "-", "--class", write(t, "class.yaml", classFile("isolated", "{}")))
	if err == nil || !strings.Contains(err.Error(), `there is no ProfileClass "lost"`) || got != "" {
		t.Errorf("error is %v, printed:\n%s", err, got)
	}
}

// classDiff runs `berth class diff` on the cluster, with the flags that the controllers of controllertest have.
func classDiff(t *testing.T, cluster *testkit.Cluster, class string) (string, error) {
	t.Helper()
	var out bytes.Buffer
	root := Root()
	root.SetIn(strings.NewReader(class))
	root.SetOut(&out)
	root.SetArgs([]string{
		"class", "diff", "-", "--kubeconfig", cluster.Kubeconfig, "--userid-header", controllertest.Header, "--userid-prefix", "",
		"--namespace-labels-path", write(t, "labels.yaml", "app.kubernetes.io/part-of: kubeflow-profile\n"),
	})
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

// diffed are kinds whose objects a class may change.
var diffed = []string{
	"v1 Namespace", "v1 ServiceAccount", "v1 LimitRange", "v1 ResourceQuota", "rbac.authorization.k8s.io/v1 RoleBinding",
	"networking.k8s.io/v1 NetworkPolicy", "security.istio.io/v1beta1 AuthorizationPolicy", "security.istio.io/v1beta1 PeerAuthentication",
	"security.istio.io/v1beta1 RequestAuthentication", "kubeflow.org/v1 Profile", "berth.dev/v1alpha1 ProfileClass",
	"admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy", "admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding",
}

// versions are the resource versions of all objects of those kinds.
func versions(t *testing.T, c client.Client) map[string]string {
	t.Helper()
	have := map[string]string{}
	for _, kind := range diffed {
		list := &unstructured.UnstructuredList{}
		apiVersion, name, _ := strings.Cut(kind, " ")
		list.SetAPIVersion(apiVersion)
		list.SetKind(name + "List")
		if err := c.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		for _, obj := range list.Items {
			have[kind+" "+obj.GetNamespace()+"/"+obj.GetName()] = obj.GetResourceVersion()
		}
	}
	return have
}

func TestClassDiff(t *testing.T) {
	cluster := testkit.StartCluster(t)
	c := controllertest.Client(t, cluster.Config())
	controllers := controllertest.Start(t, cluster.Config())
	class := &berthv1alpha1.ProfileClass{}
	if err := yaml.UnmarshalStrict([]byte(classFile("team", "{quota: {default: {requests.cpu: 4}}, limitRange: {limits: [{type: Pod, max: {cpu: 4}}]}, isolation: {network: {}}}")), class); err != nil {
		t.Fatal(err)
	}
	if err := c.Create(t.Context(), class); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"team-a", "team-b", "other"} {
		controllertest.Create(t, c, controllertest.Profile(name, func(p *kubeflowv1.Profile) {
			if name != "other" {
				p.Labels = map[string]string{berthv1alpha1.ClassLabel: class.Name}
			}
		}))
	}
	for _, name := range []string{"team-a", "team-b", "other"} {
		controllertest.AwaitReady(t, c, name)
	}
	for _, name := range []string{"team-a", "team-b"} { // Kubernetes writes how much is used, once
		testkit.Eventually(t, controllertest.Patience, func() error {
			quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "kf-resource-quota"}}
			if err := c.Get(t.Context(), client.ObjectKeyFromObject(quota), quota); err != nil || len(quota.Status.Used) == 0 {
				return fmt.Errorf("not counted: %v (error %w)", quota.Status, err)
			}
			return nil
		})
	}
	controllers.Stop(t)

	cases := map[string]struct {
		file string
		// wants are what is printed, with the words of each line apart.
		wants []string
		// wantErr is in the error.
		wantErr []string
	}{
		"as it is": {
			file:  classFile("team", "{quota: {default: {requests.cpu: 4}}, limitRange: {limits: [{type: Pod, max: {cpu: 4}}]}, isolation: {network: {}}}"),
			wants: []string{"class team: 0 of 2 profiles would change: 0 objects created, 0 changed, 0 deleted, 0 refused"},
		},
		"something to be created, changed and deleted": {
			file: classFile("team", "{quota: {default: {requests.cpu: 8}}, isolation: {network: {}, mtls: Strict}}"),
			wants: []string{
				"team-a patch ResourceQuota kf-resource-quota spec", "team-a create PeerAuthentication berth-mtls", "team-a delete LimitRange berth-limits",
				"team-b patch ResourceQuota kf-resource-quota spec", "team-b create PeerAuthentication berth-mtls", "team-b delete LimitRange berth-limits",
				"class team: 2 of 2 profiles would change: 2 objects created, 2 changed, 2 deleted, 0 refused",
			},
		},
		"a new class that nobody has": {
			file:  classFile("new", "{isolation: {network: {}}}"),
			wants: []string{"class new: 0 of 0 profiles would change: 0 objects created, 0 changed, 0 deleted, 0 refused"},
		},
		"a new default": {
			file: strings.Replace(classFile("new", "{limitRange: {limits: [{type: Pod, max: {cpu: 4}}]}}"), "{name: new}", "{name: new, annotations: {berth.dev/is-default-class: 'true'}}", 1),
			wants: []string{
				"other create LimitRange berth-limits",
				"class new: 1 of 1 profiles would change: 1 objects created, 0 changed, 0 deleted, 0 refused",
			},
		},
		"what the API server does not take": {
			file: classFile("team", "{namespace: {podSecurity: {enforce: bogus}}}"), wantErr: []string{"the API server does not take the class", `"bogus"`},
		},
		"what it does not take of a new class": {
			file: classFile("new", "{namespace: {podSecurity: {enforce: bogus}}}"), wantErr: []string{"the API server does not take the class", `"bogus"`},
		},
		"two classes": {file: classFile("team", "{}") + "---\n" + classFile("new", "{}"), wantErr: []string{"standard input", "2 ProfileClasses", "one at a time"}},
		"no class":    {file: "# nothing\n", wantErr: []string{"standard input", "0 ProfileClasses"}},
		"a profile":   {file: profileA, wantErr: []string{"document 1", `"Profile"`}},
	}
	before := versions(t, c)
	for _, name := range slices.Sorted(maps.Keys(cases)) {
		tc := cases[name]
		t.Run(name, func(t *testing.T) {
			got, err := classDiff(t, cluster, tc.file)
			if len(tc.wantErr) == 0 && err != nil || len(tc.wantErr) > 0 && (err == nil || got != "") {
				t.Fatalf("error is %v; printed:\n%s", err, got)
			}
			for _, want := range tc.wantErr {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("the error does not name %s: %v", want, err)
				}
			}
			var lines []string
			for line := range strings.Lines(got) {
				lines = append(lines, strings.Join(strings.Fields(line), " "))
			}
			slices.Sort(lines)
			slices.Sort(tc.wants)
			if d := cmp.Diff(tc.wants, lines); d != "" {
				t.Errorf("-want, +got:\n%s\nprinted:\n%s", d, got)
			}
			if d := cmp.Diff(before, versions(t, c)); d != "" {
				t.Errorf("the cluster was changed (-before +after):\n%s", d)
			}
		})
	}
}
