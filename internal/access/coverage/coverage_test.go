// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package coverage_test

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/access/coverage"
	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/kube/gather"
	"berth.dev/berth/internal/snapshot"
)

var update = flag.Bool("update", false, "write the golden files")

// distribution is a cluster with all of Kubeflow.
func distribution(t testing.TB) *snapshot.Snapshot {
	t.Helper()
	roles, err := gather.SnapshotFiles(os.DirFS("../../../devcluster/manifests"))
	if err != nil {
		t.Fatal(err)
	}
	more, err := gather.SnapshotFiles(os.DirFS("testdata/distribution"))
	if err != nil {
		t.Fatal(err)
	}
	return roles.With(more)
}

// told is a line for each finding.
func told(findings []coverage.Finding) string {
	var text strings.Builder
	for _, f := range findings {
		fmt.Fprintf(&text, "%s %s: %s", f.Severity, f.Code, f.Message)
		if len(f.Evidence) > 0 {
			fmt.Fprintf(&text, " (%s)", strings.Join(f.Evidence, "; "))
		}
		if f.Code == coverage.CodeNoRole {
			fmt.Fprintf(&text, ": %s", strings.Join(f.Verbs, ", "))
		}
		text.WriteString("\n")
	}
	return text.String()
}

func wantGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

func TestCheck_findsTheGapsOfTheDistribution(t *testing.T) {
	wantGolden(t, "distribution.findings.txt", told(coverage.Check(coverage.DefaultPolicy(), distribution(t))))
}

func TestGenerate_supplementsTheDistribution(t *testing.T) {
	s := distribution(t)
	roles := coverage.Generate(coverage.DefaultPolicy(), s)
	var text bytes.Buffer
	for _, role := range roles {
		for level := range map[coverage.Level]bool{coverage.View: true, coverage.Edit: true, coverage.Admin: true} {
			if role.Labels[level.Label()] == "true" {
				fmt.Fprintf(&text, "%s: %s", level, role.Name)
			}
		}
		for _, rule := range role.Rules {
			fmt.Fprintf(&text, " [%s: %s]", strings.Join(rule.Resources, ", "), strings.Join(rule.Verbs, ", "))
		}
		text.WriteString("\n")
	}
	wantGolden(t, "distribution.roles.txt", text.String())

	after := s.With(&snapshot.Snapshot{ClusterRoles: roles})
	for _, f := range coverage.Check(coverage.DefaultPolicy(), after) {
		if f.Gap() {
			t.Errorf("still there: %s", f.Message)
		}
	}
	again := coverage.Generate(coverage.DefaultPolicy(), after)
	if diff := cmp.Diff(roles, again); diff != "" {
		t.Errorf("generated again, with its own roles there (-first +second):\n%s", diff)
	}
}

// Whatever roles and kinds there are: what is generated closes all gaps, is least, and is safe to hand out.
func TestGenerate_properties(t *testing.T) {
	policy := coverage.DefaultPolicy()
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 1))
		s := randomCluster(random)
		roles := coverage.Generate(policy, s)
		for _, role := range roles {
			wantSafe(t, s, role)
		}
		after := s.With(&snapshot.Snapshot{ClusterRoles: roles})
		for _, f := range coverage.Check(policy, after) {
			if f.Gap() {
				t.Errorf("seed %d: still there: %s", seed, f.Message)
			}
		}
		if diff := cmp.Diff(roles, coverage.Generate(policy, filledIn(after))); diff != "" {
			t.Errorf("seed %d: generated again, once Kubernetes put the roles together (-first +second):\n%s", seed, diff)
		}
		if len(roles) > 0 { // without one of them, something is missing
			rest := slices.Clone(roles)
			i := random.IntN(len(rest))
			rest = slices.Delete(rest, i, i+1)
			if !slices.ContainsFunc(coverage.Check(policy, s.With(&snapshot.Snapshot{ClusterRoles: rest})), coverage.Finding.Gap) {
				t.Errorf("seed %d: nobody needs %s", seed, roles[i].Name)
			}
		}
		shuffled := &snapshot.Snapshot{ClusterRoles: slices.Clone(s.ClusterRoles), Resources: slices.Clone(s.Resources)}
		random.Shuffle(len(shuffled.ClusterRoles), func(i, j int) {
			shuffled.ClusterRoles[i], shuffled.ClusterRoles[j] = shuffled.ClusterRoles[j], shuffled.ClusterRoles[i]
		})
		random.Shuffle(len(shuffled.Resources), func(i, j int) {
			shuffled.Resources[i], shuffled.Resources[j] = shuffled.Resources[j], shuffled.Resources[i]
		})
		if diff := cmp.Diff(roles, coverage.Generate(policy, shuffled)); diff != "" {
			t.Errorf("seed %d: the order decides:\n%s", seed, diff)
		}
		if diff := cmp.Diff(coverage.Check(policy, s), coverage.Check(policy, shuffled)); diff != "" {
			t.Errorf("seed %d: the order decides:\n%s", seed, diff)
		}
	}
}

// filledIn is s once Kubernetes has put the three roles together.
func filledIn(s *snapshot.Snapshot) *snapshot.Snapshot {
	resolved := rbac.New(s)
	filled := &snapshot.Snapshot{}
	for _, role := range s.ClusterRoles {
		if role.AggregationRule != nil {
			role = role.DeepCopy()
			rules, _ := resolved.Rules(rbac.Ref{Kind: rbac.KindClusterRole, Name: role.Name})
			role.Rules = rbac.Policies(rules)
		}
		filled.ClusterRoles = append(filled.ClusterRoles, role)
	}
	return s.With(filled)
}

func wantSafe(t *testing.T, s *snapshot.Snapshot, role *rbacv1.ClusterRole) {
	t.Helper()
	if role.AggregationRule != nil || len(role.Rules) == 0 || !coverage.Generated(role) {
		t.Errorf("generated %+v", role)
	}
	for _, rule := range role.Rules {
		for _, part := range slices.Concat(rule.APIGroups, rule.Resources, rule.Verbs) {
			if strings.Contains(part, "*") || part == "secrets" || part == "" {
				t.Errorf("%s gives %v", role.Name, rule)
			}
		}
		name, _, _ := strings.Cut(rule.Resources[0], "/")
		if !slices.ContainsFunc(s.Resources, func(r snapshot.Resource) bool { return r.Group == rule.APIGroups[0] && r.Name == name && r.Namespaced }) {
			t.Errorf("%s is about %s, which is in no namespace", role.Name, name)
		}
	}
}

// randomCluster has some kinds, the three roles, and roles that give some verbs on some of them.
func randomCluster(random *rand.Rand) *snapshot.Snapshot {
	s := &snapshot.Snapshot{}
	groups := []string{"kubeflow.org", "serving.kserve.io", "trainer.kubeflow.org", "argoproj.io", "kueue.x-k8s.io", "", "rbac.authorization.k8s.io", "example.com"}
	names := []string{"notebooks", "viewers", "workflows", "trainingruntimes", "applications", "secrets", "models"}
	verbs := []string{"get", "list", "watch", "create", "update", "patch", "delete", "*"}
	for _, group := range groups {
		for _, name := range names {
			if random.IntN(2) == 0 {
				r := snapshot.Resource{Group: group, Name: name, Kind: name, Namespaced: random.IntN(4) > 0}
				if random.IntN(2) == 0 {
					r.Subresources = []string{"status"}
				}
				s.Resources = append(s.Resources, r)
			}
		}
	}
	for _, level := range []coverage.Level{coverage.View, coverage.Edit, coverage.Admin} {
		s.ClusterRoles = append(s.ClusterRoles, aggregated(level))
	}
	if random.IntN(3) > 0 { // as in Kubeflow: what view has, edit has
		s.ClusterRoles[0].Labels = map[string]string{coverage.Edit.Label(): "true"}
		s.ClusterRoles[1].Labels = map[string]string{coverage.Admin.Label(): "true"}
	}
	for i := range random.IntN(8) {
		level := []coverage.Level{coverage.View, coverage.Edit, coverage.Admin}[random.IntN(3)]
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("some-", i), Labels: map[string]string{level.Label(): "true"}}}
		for range random.IntN(4) {
			role.Rules = append(role.Rules, rbacv1.PolicyRule{
				APIGroups: []string{groups[random.IntN(len(groups))]}, Resources: []string{names[random.IntN(len(names))], names[random.IntN(len(names))]},
				Verbs: []string{verbs[random.IntN(len(verbs))], verbs[random.IntN(len(verbs))]},
			})
		}
		s.ClusterRoles = append(s.ClusterRoles, role)
	}
	return s
}

// aggregated is one of the three roles.
func aggregated(level coverage.Level) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		ObjectMeta:      metav1.ObjectMeta{Name: level.Role()},
		AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{level.Label(): "true"}}}},
	}
}

func TestDefaultPolicy_isOneThatCanBeRead(t *testing.T) {
	text, err := yaml.Marshal(coverage.DefaultPolicy())
	if err != nil {
		t.Fatal(err)
	}
	got, err := coverage.ReadPolicy(text)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(coverage.DefaultPolicy(), got); diff != "" {
		t.Errorf("written and read (-want +got):\n%s", diff)
	}
}
