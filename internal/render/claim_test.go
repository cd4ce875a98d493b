// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/testkit"
)

const uidOfA = "uid-of-a" // testkit.ProfileUID("a"), as annotations hold it

func TestClaimNamespace(t *testing.T) {
	const v1, v1beta1 = "kubeflow.org/v1", "kubeflow.org/v1beta1"
	cases := map[string]struct {
		profile    *kubeflowv1.Profile
		ns         *corev1.Namespace
		reserved   []string
		want       ClaimKind
		wantReason string
		wantHeld   bool
	}{
		"no namespace is free to be made": {want: ClaimNew},
		"a profile that no server has seen may make one": {
			profile: testkit.Profile("a", testkit.UID("")), want: ClaimNew,
		},
		"a namespace of nobody is not free": {
			ns: testkit.Namespace("a"), want: ClaimRefused, wantReason: kubeflowv1.ReasonNamespaceNotOwned,
		},
		"an owner reference is enough, as the incumbent leaves no more": {
			ns: testkit.Namespace("a", testkit.OwnedBy(v1, "Profile", "a", uidOfA)), want: ClaimOwned, wantHeld: true,
		},
		"the annotation is enough where the owner reference was lost": {
			ns: testkit.Namespace("a", testkit.Annotation(kubeflowv1.MadeForAnnotation, uidOfA)), want: ClaimOwned, wantHeld: true,
		},
		"a namespace made for the profile stays its own when the owner changes": {
			profile: testkit.Profile("a", testkit.Owner("bob")),
			ns: testkit.Namespace("a", testkit.OwnedBy(v1, "Profile", "a", uidOfA),
				testkit.Annotation(kubeflowv1.OwnerAnnotation, "ann")),
			want: ClaimOwned, wantHeld: true,
		},
		"a namespace made for an earlier profile of the name is not this one's": {
			ns:   testkit.Namespace("a", testkit.OwnedBy(v1, "Profile", "a", "uid-before")),
			want: ClaimRefused, wantReason: kubeflowv1.ReasonNamespaceNotOwned,
		},
		"a namespace restored for the same owner is owned again": {
			ns: testkit.Namespace("a", testkit.OwnedBy(v1beta1, "Profile", "a", "uid-before"),
				testkit.Annotation(kubeflowv1.OwnerAnnotation, "ann")),
			want: ClaimOwned,
		},
		"a namesake of another API makes no owner": {
			ns: testkit.Namespace("a", testkit.OwnedBy("other.org/v1", "Profile", "a", "uid-before"),
				testkit.Annotation(kubeflowv1.OwnerAnnotation, "ann")),
			want: ClaimAdopted,
		},
		"a restored annotation of an earlier profile does not make it this one's": {
			ns: testkit.Namespace("a", testkit.Annotation(kubeflowv1.MadeForAnnotation, "uid-before"),
				testkit.Annotation(kubeflowv1.OwnerAnnotation, "ann")),
			want: ClaimAdopted,
		},
		"a namespace given to the owner is adopted": {
			ns: testkit.Namespace("a", testkit.Annotation(kubeflowv1.OwnerAnnotation, "ann")), want: ClaimAdopted,
		},
		"the other annotation for owners is understood": {
			ns: testkit.Namespace("a", testkit.Annotation(kubeflowv1.ResourceManagementOwnerAnnotation, "ann")), want: ClaimAdopted,
		},
		"a namespace given to somebody else is refused": {
			ns:   testkit.Namespace("a", testkit.Annotation(kubeflowv1.OwnerAnnotation, "bob")),
			want: ClaimRefused, wantReason: kubeflowv1.ReasonNamespaceNotOwned,
		},
		"names are compared to the letter": {
			ns:   testkit.Namespace("a", testkit.Annotation(kubeflowv1.OwnerAnnotation, "Ann")),
			want: ClaimRefused, wantReason: kubeflowv1.ReasonNamespaceNotOwned,
		},
		"the adopt annotation wins over the others": {
			ns: testkit.Namespace("a", testkit.Annotation(kubeflowv1.AdoptAnnotation, "ann"),
				testkit.Annotation(kubeflowv1.OwnerAnnotation, "bob")),
			want: ClaimAdopted,
		},
		"the adopt annotation wins against the profile too": {
			ns: testkit.Namespace("a", testkit.Annotation(kubeflowv1.AdoptAnnotation, "bob"),
				testkit.Annotation(kubeflowv1.OwnerAnnotation, "ann")),
			want: ClaimRefused, wantReason: kubeflowv1.ReasonNamespaceNotOwned,
		},
		"the owner annotation wins over the other one for owners": {
			ns: testkit.Namespace("a", testkit.Annotation(kubeflowv1.OwnerAnnotation, "bob"),
				testkit.Annotation(kubeflowv1.ResourceManagementOwnerAnnotation, "ann")),
			want: ClaimRefused, wantReason: kubeflowv1.ReasonNamespaceNotOwned,
		},
		"an empty owner annotation gives nothing away": {
			profile: testkit.Profile("a", testkit.Owner("")),
			ns:      testkit.Namespace("a", testkit.Annotation(kubeflowv1.OwnerAnnotation, "")),
			want:    ClaimRefused, wantReason: kubeflowv1.ReasonNamespaceNotOwned,
		},
		"what was adopted stays adopted when the owner changes": {
			profile: testkit.Profile("a", testkit.Owner("bob")),
			ns: testkit.Namespace("a", testkit.Annotation(kubeflowv1.AdoptedByAnnotation, uidOfA),
				testkit.Annotation(kubeflowv1.OwnerAnnotation, "ann")),
			want: ClaimAdopted, wantHeld: true,
		},
		"what an earlier profile adopted is not this one's": {
			ns:   testkit.Namespace("a", testkit.Annotation(kubeflowv1.AdoptedByAnnotation, "uid-before")),
			want: ClaimRefused, wantReason: kubeflowv1.ReasonNamespaceNotOwned,
		},
		"without a UID, empty annotations and references prove nothing": {
			profile: testkit.Profile("a", testkit.UID("")),
			ns: testkit.Namespace("a", testkit.Annotation(kubeflowv1.AdoptedByAnnotation, ""),
				testkit.Annotation(kubeflowv1.MadeForAnnotation, ""), testkit.OwnedBy(v1, "Other", "a", "")),
			want: ClaimRefused, wantReason: kubeflowv1.ReasonNamespaceNotOwned,
		},
		"a reserved name is refused": {
			profile: testkit.Profile("istio-system"), want: ClaimRefused, wantReason: kubeflowv1.ReasonNamespaceReserved,
		},
		"a name of Kubernetes is refused": {
			profile: testkit.Profile("kube-anything"), want: ClaimRefused, wantReason: kubeflowv1.ReasonNamespaceReserved,
		},
		"a reserved namespace is not given away by annotation": {
			profile: testkit.Profile("default"),
			ns: testkit.Namespace("default", testkit.Annotation(kubeflowv1.AdoptAnnotation, "ann"),
				testkit.Annotation(kubeflowv1.AdoptedByAnnotation, "uid-of-default")),
			want: ClaimRefused, wantReason: kubeflowv1.ReasonNamespaceReserved,
		},
		"a namespace made for the profile before its name was reserved stays": {
			profile: testkit.Profile("auth"),
			ns:      testkit.Namespace("auth", testkit.OwnedBy(v1, "Profile", "auth", "uid-of-auth")),
			want:    ClaimOwned, wantHeld: true,
		},
		"the controller's own namespace is refused": {
			reserved: []string{"b", "a"}, want: ClaimRefused, wantReason: kubeflowv1.ReasonNamespaceReserved,
		},
		"a name that no namespace can have is refused": {
			profile: testkit.Profile("a.b"), want: ClaimRefused, wantReason: kubeflowv1.ReasonNameInvalid,
		},
		"a name of 64 characters is refused": {
			profile: testkit.Profile(strings.Repeat("a", 64)), want: ClaimRefused, wantReason: kubeflowv1.ReasonNameInvalid,
		},
		"no name is refused": {
			profile: testkit.Profile(""), want: ClaimRefused, wantReason: kubeflowv1.ReasonNameInvalid,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := tc.profile
			if p == nil {
				p = testkit.Profile("a")
			}
			before := tc.ns.DeepCopy()
			got := ClaimNamespace(p, tc.ns, tc.reserved)
			if got.Kind != tc.want || got.Held != tc.wantHeld {
				t.Errorf("claim is %s, held %t; want %s, %t", got.Kind, got.Held, tc.want, tc.wantHeld)
			}
			if got.Allowed() != (got.Problem == nil) {
				t.Errorf("allowed: %t, problem: %v", got.Allowed(), got.Problem)
			}
			if got.Problem != nil && (got.Problem.Reason != tc.wantReason || !strings.Contains(got.Problem.Message, p.Name)) {
				t.Errorf("problem is %+v; want the reason %s and the name %q", *got.Problem, tc.wantReason, p.Name)
			}
			if tc.ns != nil && got.Held != Holds(p, tc.ns) && got.Kind != ClaimRefused {
				t.Errorf("held: %t; Holds: %t", got.Held, Holds(p, tc.ns))
			}
			if diff := cmp.Diff(before, tc.ns); diff != "" {
				t.Errorf("the namespace was changed:\n%s", diff)
			}
		})
	}
}

func TestReserved_holdsNothingElse(t *testing.T) {
	for _, name := range []string{"kube", "kubernetes", "team-kubeflow", "a", "kubeflow-user", "defaults"} {
		if Reserved(name) {
			t.Errorf("%q is reserved", name)
		}
	}
}

// What is rendered for a claim is what makes the next pass hold the namespace.
func TestNamespace_carriesTheClaim(t *testing.T) {
	cases := map[string]struct {
		ns        *corev1.Namespace
		wantGoes  bool
		wantOwned int
	}{
		"made":    {wantGoes: true, wantOwned: 1},
		"adopted": {ns: testkit.Namespace("a", testkit.Annotation(kubeflowv1.OwnerAnnotation, "ann"))},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			p := testkit.Profile("a")
			rendered, ok := Profile(p, Input{Config: DefaultConfig(), Namespace: tc.ns}).Namespace.Resource.(*corev1.Namespace)
			if !ok {
				t.Fatal("no namespace was rendered")
			}
			if !Holds(p, rendered) || Adopted(p, rendered) == tc.wantGoes || len(rendered.OwnerReferences) != tc.wantOwned {
				t.Errorf("holds: %t, adopted: %t, owners: %v", Holds(p, rendered), Adopted(p, rendered), rendered.OwnerReferences)
			}
			if other := testkit.Profile("a", testkit.UID("uid-after")); Holds(other, rendered) {
				t.Error("a later profile of the name holds the namespace, too")
			}
		})
	}
}

func TestPreviousOwner(t *testing.T) {
	cases := map[string]struct {
		ns   *corev1.Namespace
		want string
	}{
		"no namespace":            {},
		"the same owner":          {ns: testkit.Namespace("a", testkit.Annotation(kubeflowv1.MadeForAnnotation, uidOfA), testkit.Annotation(kubeflowv1.OwnerAnnotation, "ann"))},
		"another owner":           {ns: testkit.Namespace("a", testkit.Annotation(kubeflowv1.MadeForAnnotation, uidOfA), testkit.Annotation(kubeflowv1.OwnerAnnotation, "bob")), want: "bob"},
		"another, and adopted":    {ns: testkit.Namespace("a", testkit.Annotation(kubeflowv1.AdoptedByAnnotation, uidOfA), testkit.Annotation(kubeflowv1.OwnerAnnotation, "bob")), want: "bob"},
		"another, but not ours":   {ns: testkit.Namespace("a", testkit.Annotation(kubeflowv1.OwnerAnnotation, "bob"))},
		"an annotation taken off": {ns: testkit.Namespace("a", testkit.Annotation(kubeflowv1.MadeForAnnotation, uidOfA))},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := previousOwner(testkit.Profile("a"), tc.ns); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestRelease(t *testing.T) {
	ns := testkit.Namespace("a",
		testkit.Label("file", "ours"), testkit.Label("changed", "theirs"), testkit.Label("foreign", "theirs"),
		testkit.Label(kubeflowv1.ManagedByLabel, kubeflowv1.ManagedByValue),
		testkit.Annotation(kubeflowv1.AppliedLabelsAnnotation, "changed=ours,file=ours"),
		testkit.Annotation(kubeflowv1.OwnerAnnotation, "ann"), testkit.Annotation(kubeflowv1.AdoptAnnotation, "ann"),
		testkit.Annotation(kubeflowv1.AdoptedByAnnotation, uidOfA), testkit.Annotation(kubeflowv1.MadeForAnnotation, "uid-before"),
		testkit.Annotation("foreign", "theirs"))
	Release(ns)
	want := testkit.Namespace("a", testkit.Label("changed", "theirs"), testkit.Label("foreign", "theirs"),
		testkit.Annotation("foreign", "theirs"))
	if diff := cmp.Diff(want, ns); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
}

func TestRelease_leavesWhatOthersManage(t *testing.T) {
	ns := testkit.Namespace("a", testkit.Label(kubeflowv1.ManagedByLabel, "Helm"))
	Release(ns)
	if ns.Labels[kubeflowv1.ManagedByLabel] != "Helm" {
		t.Errorf("labels are %v", ns.Labels)
	}
	Release(&corev1.Namespace{}) // nil maps
}

// The owner's name is chosen by whoever wrote the profile, and an administrator pastes the command.
func TestNotOwned_commandIsSafeToPaste(t *testing.T) {
	owners := map[string]string{
		"plain":             "ann@example.com",
		"a group":           "team:ml/admins",
		"blanks":            "Ann  Smith",
		"a dash":            "--all",
		"a command":         "x; touch /tmp/owned",
		"a substitution":    "$(id)`id`${HOME}",
		"single quotes":     "o'brien'; id; '",
		"double quotes":     `"; id; "`,
		"a backslash":       `a\'b\\`,
		"a tilde":           "~root",
		"globs":             "?[a-z]{1,2}!*",
		"a comment":         "# ann",
		"an umlaut":         "jürgen@exämple.de",
		"a line break":      "ann\nid",
		"a carriage return": "ann\rid",
		"an escape":         "\x1b[31mann'\\",
		"an interrupt":      "\x03id\x04",
		"text backwards":    "ann\u202emoc",
		"a joiner":          "a\u200bb",
		"nothing":           "",
	}
	for name, owner := range owners {
		t.Run(name, func(t *testing.T) {
			claim := ClaimNamespace(testkit.Profile("a", testkit.Owner(owner)), testkit.Namespace("a"), nil)
			_, command, found := strings.Cut(claim.Problem.Message, "kubectl ")
			if !found || strings.ContainsAny(command, "\n\r\x03\x1b") {
				t.Fatalf("no command that can be pasted in: %s", claim.Problem.Message)
			}
			shell := "sh"
			if strings.Contains(command, "$'") {
				shell = "bash" // as zsh and ksh; the oldest of shells does not know this kind of quotes
			}
			// kubectl's own words one to a line, but for the line breaks that are in them.
			out, err := exec.CommandContext(t.Context(), shell, "-c", "kubectl() { printf '<%s>' \"$@\"; }; kubectl "+command).Output()
			if err != nil {
				t.Fatalf("%s: %v", command, err)
			}
			want := "<annotate><namespace><a><--overwrite><" + kubeflowv1.AdoptAnnotation + "=" + owner + ">"
			if diff := cmp.Diff(want, string(out)); diff != "" {
				t.Errorf("%s\n-want, +got:\n%s", command, diff)
			}
		})
	}
}

// Doing what the message says gets the namespace adopted, whatever was written there before.
func TestNotOwned_commandAdopts(t *testing.T) {
	for name, ns := range map[string]*corev1.Namespace{
		"of nobody":     testkit.Namespace("a"),
		"of another":    testkit.Namespace("a", testkit.Annotation(kubeflowv1.OwnerAnnotation, "bob")),
		"for another":   testkit.Namespace("a", testkit.Annotation(kubeflowv1.AdoptAnnotation, "bob")),
		"of a namesake": testkit.Namespace("a", testkit.OwnedBy("kubeflow.org/v1", "Profile", "a", "uid-before")),
	} {
		t.Run(name, func(t *testing.T) {
			p := testkit.Profile("a")
			message := ClaimNamespace(p, ns, nil).Problem.Message
			key, value, _ := strings.Cut(message[strings.LastIndex(message, " ")+1:], "=")
			ns.Annotations[key] = value
			if claim := ClaimNamespace(p, ns, nil); !claim.Allowed() {
				t.Errorf("after the command of the message: %+v", claim.Problem)
			}
		})
	}
}

func FuzzShellWord(f *testing.F) {
	for _, seed := range []string{"", "ann", "a'b", `\`, "\n", "ü", "\u202e", "$'"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if strings.ToValidUTF8(s, "") != s || strings.Contains(s, "\x00") {
			return // no object of the API server holds the one, and no argument of a command the other
		}
		out, err := exec.CommandContext(t.Context(), "bash", "-c", "printf %s "+shellWord(s)).Output()
		if err != nil || string(out) != s {
			t.Errorf("%q became %q: %v", s, out, err)
		}
	})
}
