// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package coverage_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/access/coverage"
	"berth.dev/berth/internal/snapshot"
)

const (
	view  = coverage.View
	edit  = coverage.Edit
	admin = coverage.Admin
)

// tenancy has the three roles, each a part of the next, and one kind.
func tenancy(more ...*rbacv1.ClusterRole) *snapshot.Snapshot {
	roles := []*rbacv1.ClusterRole{aggregated(view), aggregated(edit), aggregated(admin)}
	roles[0].Labels = map[string]string{edit.Label(): "true"}
	roles[1].Labels = map[string]string{admin.Label(): "true"}
	return &snapshot.Snapshot{
		ClusterRoles: append(roles, more...),
		Resources:    []snapshot.Resource{{Group: "serving.kserve.io", Name: "trainedmodels", Kind: "TrainedModel", Namespaced: true}},
	}
}

// part is a role that is a part of that of a level. A rule is "group resource verbs", with commas.
func part(level coverage.Level, rules ...string) *rbacv1.ClusterRole {
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "part-" + string(level), Labels: map[string]string{level.Label(): "true"}}}
	for _, rule := range rules {
		fields := strings.Fields(rule)
		group := strings.ReplaceAll(fields[0], "core", "")
		role.Rules = append(role.Rules, rbacv1.PolicyRule{
			APIGroups: []string{group}, Resources: strings.Split(fields[1], ","), Verbs: strings.Split(fields[2], ","),
		})
	}
	return role
}

// full covers the one kind of tenancy.
func full() []*rbacv1.ClusterRole {
	return []*rbacv1.ClusterRole{
		part(view, "serving.kserve.io trainedmodels get,list,watch"), part(edit, "serving.kserve.io trainedmodels create,update,patch,delete"),
	}
}

func TestCheck(t *testing.T) {
	kserve := coverage.Policy{Groups: []coverage.Group{{Name: "serving.kserve.io"}}}
	named := part(edit, "serving.kserve.io trainedmodels *")
	named.Rules[0].ResourceNames = []string{"one"}
	unreadable := tenancy(full()...)
	unreadable.ClusterRoles[0].AggregationRule.ClusterRoleSelectors = []metav1.LabelSelector{
		{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}},
	}
	withoutAdmin := tenancy(full()...)
	withoutAdmin.ClusterRoles = withoutAdmin.ClusterRoles[:2]
	withoutAdmin.ClusterRoles = append(withoutAdmin.ClusterRoles, full()...)
	apart := tenancy(full()...)
	apart.ClusterRoles[1].Labels = nil
	readOnly := tenancy(part(view, "serving.kserve.io trainedmodels get,list,watch"))
	readOnly.Resources[0].Verbs = []string{"get", "list"}

	cases := map[string]struct {
		in   *snapshot.Snapshot
		want string
	}{
		"nothing is missing":                     {tenancy(full()...), ""},
		"nothing is there":                       {tenancy(), "error no-role: no role of tenants gives anything on trainedmodels.serving.kserve.io: get, list, watch, create, update, patch, delete\nnote selects-none: the aggregation rule of kubeflow-view selects no role\n"},
		"a wildcard is enough":                   {tenancy(part(view, "* trainedmodels get,list,watch"), part(edit, "serving.kserve.io * *")), ""},
		"a rule for one object is not enough":    {tenancy(part(view, "serving.kserve.io trainedmodels get,list,watch"), named), "error edit-lacks: kubeflow-edit lacks create, update, patch, delete on trainedmodels.serving.kserve.io\n"},
		"a kind that knows no other verbs":       {readOnly, ""},
		"there is no kubeflow-admin":             {withoutAdmin, "error role-absent: there is no ClusterRole kubeflow-admin\n"},
		"kubeflow-admin has nothing of edit":     {apart, "error admin-lacks: kubeflow-admin lacks get, list, watch, create, update, patch, delete on trainedmodels.serving.kserve.io\nnote selects-none: the aggregation rule of kubeflow-admin selects no role\n"},
		"an aggregation that can't be read":      {unreadable, "error bad-selector: Kubernetes can't read the aggregation rule of kubeflow-view, and leaves the role as it is\nerror view-lacks: kubeflow-view lacks get, list, watch on trainedmodels.serving.kserve.io\nerror edit-lacks: kubeflow-edit lacks get, list, watch on trainedmodels.serving.kserve.io\n"},
		"view writes":                            {tenancy(append(full(), part(view, "example.com things,others get,create"))...), "error view-writes: kubeflow-view, which is for reading, gives create on others.example.com (ClusterRole part-view, rule 1)\nerror view-writes: kubeflow-view, which is for reading, gives create on things.example.com (ClusterRole part-view, rule 1)\n"},
		"view has all verbs":                     {tenancy(append(full(), part(view, "example.com things *"))...), "error view-writes: kubeflow-view, which is for reading, gives * on things.example.com (ClusterRole part-view, rule 1)\n"},
		"view reads secrets":                     {tenancy(append(full(), part(view, "core secrets,pods get"))...), "error view-secrets: kubeflow-view gives get on secrets (ClusterRole part-view, rule 2)\n"},
		"edit reads secrets, as it runs pods":    {tenancy(append(full(), part(edit, "core secrets,pods get"))...), ""},
		"edit writes policies of the mesh":       {tenancy(append(full(), part(edit, "security.istio.io * *"))...), "error grants-access: kubeflow-edit gives * on *.security.istio.io: whoever has it lets others in (ClusterRole part-edit, rule 1)\n"},
		"view writes roles":                      {tenancy(append(full(), part(view, "rbac.authorization.k8s.io rolebindings get,create"))...), "error grants-access: kubeflow-view gives create on rolebindings.rbac.authorization.k8s.io: whoever has it lets others in (ClusterRole part-view, rule 1)\n"},
		"admin writes roles, as it should":       {tenancy(append(full(), part(admin, "rbac.authorization.k8s.io rolebindings create"))...), ""},
		"a name with a letter too many":          {tenancy(append(full(), part(admin, "serving.kserve.io trainnedmodels get"))...), "warning misspelt: part-admin names trainnedmodels.serving.kserve.io, which nobody serves; likely trainedmodels.serving.kserve.io is meant (trainedmodels.serving.kserve.io; ClusterRole part-admin, rule 1)\n"},
		"a name beside the right one":            {tenancy(append(full(), part(admin, "serving.kserve.io trainedmodels,trainnedmodels get"))...), "note unserved: part-admin names trainnedmodels.serving.kserve.io, which nobody serves (ClusterRole part-admin, rule 1)\n"},
		"a kind that is not installed":           {tenancy(append(full(), part(admin, "serving.kserve.io inferencegraphs/status get"))...), "note unserved: part-admin names inferencegraphs.serving.kserve.io, which nobody serves (ClusterRole part-admin, rule 1)\n"},
		"a group that is not installed":          {tenancy(append(full(), part(admin, "ray.io rayclusters get"))...), ""},
		"what is generated is no part of others": {tenancy(append(full(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "x"}, AggregationRule: &rbacv1.AggregationRule{}})...), ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			findings := coverage.Check(kserve, tc.in)
			if diff := cmp.Diff(tc.want, told(ofOther(findings))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			for _, f := range findings {
				if f.Fix == "" || f.Severity == "" {
					t.Errorf("%+v says not what to do", f)
				}
			}
		})
	}
}

// ofOther leaves out that kubeflow-edit and kubeflow-admin are put together from nothing in a case without parts for them.
func ofOther(findings []coverage.Finding) (rest []coverage.Finding) {
	for _, f := range findings {
		if f.Code != coverage.CodeSelectsNone || f.Role != edit.Role() {
			rest = append(rest, f)
		}
	}
	return rest
}

func TestCheck_takesWhatIsAccepted(t *testing.T) {
	p := coverage.Policy{
		Groups:   []coverage.Group{{Name: "serving.kserve.io"}},
		Accepted: []coverage.Accepted{{Role: view, Group: "kubeflow.org", Resources: []string{"viewers"}, Verbs: []string{"create"}}},
	}
	findings := coverage.Check(p, tenancy(append(full(), part(view, "kubeflow.org viewers create,delete"))...))
	if len(findings) != 1 || !cmp.Equal(findings[0].Verbs, []string{"delete"}) {
		t.Errorf("found %+v", findings)
	}
}

func TestGenerate_leavesNamesOfOthersAlone(t *testing.T) {
	name := coverage.Name("serving.kserve.io", "trainedmodels", view)
	other := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, role := range coverage.Generate(coverage.DefaultPolicy(), tenancy(other)) {
		if role.Name == name {
			t.Errorf("%s is somebody else's", name)
		}
	}
}

func TestGenerate_withoutTheThreeRolesWritesNothing(t *testing.T) {
	s := tenancy()
	s.ClusterRoles = nil
	if roles := coverage.Generate(coverage.DefaultPolicy(), s); len(roles) > 0 {
		t.Errorf("generated %d roles", len(roles))
	}
}

func TestReadPolicy_refusesWhatNobodyShouldGet(t *testing.T) {
	cases := map[string]string{
		"no group":                      "groups: []",
		"what it does not know":         "groups: [{name: ray.io}]\nverbs: [get]",
		"a wildcard for a group":        "groups: [{name: '*'}]",
		"the core group":                "groups: [{name: ''}]",
		"a group of Kubernetes":         "groups: [{name: apps}]",
		"roles":                         "groups: [{name: rbac.authorization.k8s.io}]",
		"policies of the mesh":          "groups: [{name: security.istio.io}]",
		"our own":                       "groups: [{name: berth.dev}]",
		"a wildcard for kinds":          "groups: [{name: ray.io, resources: ['*']}]",
		"a subresource":                 "groups: [{name: ray.io, resources: [rayjobs/status]}]",
		"secrets":                       "groups: [{name: ray.io, resources: [secrets]}]",
		"a wildcard for verbs":          "groups: [{name: ray.io, edit: ['*']}]",
		"writing verbs for view":        "groups: [{name: ray.io, view: [get, create]}]",
		"writing verbs for all of view": "view: [patch]\ngroups: [{name: ray.io}]",
		"verbs that hand on rights":     "edit: [escalate]\ngroups: [{name: ray.io}]",
		"an unknown role":               "groups: [{name: ray.io}]\naccepted: [{role: owner, group: ray.io, resources: [a], verbs: [get]}]",
		"an exception for nothing":      "groups: [{name: ray.io}]\naccepted: [{role: view, group: ray.io}]",
		"no YAML":                       "groups: [",
	}
	for name, text := range cases {
		t.Run(name, func(t *testing.T) {
			if p, err := coverage.ReadPolicy([]byte("apiVersion: config.berth.dev/v1alpha1\nkind: RolePolicy\n" + text)); err == nil {
				t.Errorf("read %+v", p)
			}
		})
	}
	if _, err := coverage.ReadPolicy([]byte("apiVersion: v1\nkind: RolePolicy\ngroups: [{name: ray.io}]")); err == nil {
		t.Error("read one of another version")
	}
}

// FuzzReadPolicy: whatever can be read gives no wildcard, and nothing in groups that are not for policies.
func FuzzReadPolicy(f *testing.F) {
	text, err := yaml.Marshal(coverage.DefaultPolicy())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(text, "serving.kserve.io", "trainedmodels")
	f.Add([]byte("apiVersion: config.berth.dev/v1alpha1\nkind: RolePolicy\ngroups: [{name: ray.io, edit: [get]}]"), "ray.io", "secrets")
	f.Fuzz(func(t *testing.T, text []byte, group, resource string) {
		p, err := coverage.ReadPolicy(text)
		if err != nil {
			return
		}
		s := tenancy(part(view, "ray.io rayjob get"))
		s.Resources = append(s.Resources, snapshot.Resource{Group: group, Name: resource, Namespaced: true, Subresources: []string{"status"}},
			snapshot.Resource{Group: "rbac.authorization.k8s.io", Name: "roles", Namespaced: true})
		for _, role := range coverage.Generate(p, s) {
			wantSafe(t, s, role)
			if rule := role.Rules[0]; strings.HasPrefix(rule.APIGroups[0], "rbac.") {
				t.Errorf("gives %v", rule)
			}
		}
		coverage.Check(p, s)
	})
}
