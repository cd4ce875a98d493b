// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-git/go-git/v5"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/pmr"
	"berth.dev/berth/internal/testkit"
)

var update = flag.Bool("update", false, "write the golden files")

// ran is what berth pmr printed, to standard output and then to standard error, and its exit code.
func ran(t *testing.T, args ...string) (out, told string, code int) {
	t.Helper()
	return ranCommand(t, append([]string{"pmr"}, args...)...)
}

// golden compares got with testdata/name.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v: go test ./internal/cli -run %s -update writes it", err, t.Name())
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("-want, +got; go test ./internal/cli -run %s -update takes it over:\n%s", t.Name(), d)
	}
}

func TestPMR_golden(t *testing.T) {
	const dir = "testdata/pmr/"
	cases := map[string]struct {
		args []string
		code int
	}{
		"lint-bad":       {args: []string{"lint", dir + "bad.yaml"}, code: 1},
		"lint-bad-json":  {args: []string{"lint", dir + "bad.yaml", "-o", "json"}, code: 1},
		"lint-warning":   {args: []string{"lint", dir + "list.yaml"}},
		"lint-domain":    {args: []string{"lint", dir + "list.yaml", "--allow-domain", "example.org"}, code: 1},
		"lint-directory": {args: []string{"lint", dir + "lists"}},
		"plan":           {args: []string{"plan", "-f", dir + "list.yaml", "--snapshot", dir + "cluster", "--sync", "platform"}, code: 2},
		"import":         {args: []string{"import", "--snapshot", dir + "cluster"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			out, told, code := ran(t, tc.args...)
			if code != tc.code {
				t.Errorf("the exit code is %d, want %d", code, tc.code)
			}
			golden(t, "pmr/"+name+".txt", out+told)
		})
	}
}

func TestPMR_refused(t *testing.T) {
	empty := t.TempDir()
	cases := map[string]struct {
		args []string
		want string
	}{
		"a list that is not there":     {[]string{"lint", "none.yaml"}, "none.yaml"},
		"a directory without lists":    {[]string{"lint", empty}, "no .yaml file right in " + empty},
		"a pattern that nothing has":   {[]string{"lint", empty + "/*.yaml"}, "no file matches"},
		"a validation":                 {[]string{"lint", "--validation", "lax"}, `--validation is "lax"`},
		"an output of lint":            {[]string{"lint", "testdata/pmr/list.yaml", "-o", "xml"}, `--output is "xml"`},
		"a level":                      {[]string{"lint", "--fail-on", "note"}, `--fail-on is "note"`},
		"an output of plan":            {[]string{"plan", "-o", "yaml"}, `--output is "yaml"`},
		"a list with mistakes":         {[]string{"plan", "-f", "testdata/pmr/bad.yaml", "--snapshot", "testdata/pmr/cluster"}, "the list can't be used"},
		"a snapshot that is not there": {[]string{"plan", "-f", "testdata/pmr/list.yaml", "--snapshot", "none"}, "read the snapshot"},
		"a snapshot of nothing":        {[]string{"import", "--snapshot", empty}, "there is no Profile"},
		"a branch nobody has":          {[]string{"plan", "-f", "testdata/pmr/list.yaml", "--against", "no-such-branch"}, "no such branch"},
		"two clusters":                 {[]string{"plan", "-f", "testdata/pmr/list.yaml", "--against", "x", "--snapshot", "y"}, "against snapshot"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if out, told, code := ran(t, tc.args...); code != 1 || !strings.Contains(told, tc.want) {
				t.Errorf("exit code %d, want %q in:\n%s%s", code, tc.want, out, told)
			}
		})
	}
}

func TestPMR_lintFailsOnWarnings(t *testing.T) {
	if _, _, code := ran(t, "lint", "testdata/pmr/list.yaml", "--fail-on", "warning"); code != 1 {
		t.Errorf("the exit code is %d", code)
	}
	// github-profiles-automator skips a key that it does not know.
	list := write(t, "pmr.yaml", "profiles:\n- name: team\n  owner: {kind: User, name: a@x.org}\n  colour: blue\n")
	if _, _, code := ran(t, "lint", list, "--validation", "compat"); code != 0 {
		t.Errorf("in compat the exit code is %d", code)
	}
}

func TestPMR_sarif(t *testing.T) {
	out, _, code := ran(t, "lint", "testdata/pmr/bad.yaml", "-o", "sarif")
	var log struct {
		Version string
		Runs    []struct {
			Tool struct {
				Driver struct{ Rules []struct{ ID string } }
			}
			Results []struct {
				RuleID, Level string
				Locations     []struct {
					PhysicalLocation struct {
						ArtifactLocation struct{ URI string }
						Region           struct{ StartLine, StartColumn int }
					}
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(out), &log); err != nil || code != 1 || log.Version != "2.1.0" || len(log.Runs) != 1 {
		t.Fatalf("exit code %d, %v:\n%s", code, err, out)
	}
	for _, r := range log.Runs[0].Results {
		at := r.Locations[0].PhysicalLocation
		if at.ArtifactLocation.URI != "testdata/pmr/bad.yaml" || at.Region.StartLine < 1 || at.Region.StartColumn < 1 || r.RuleID == "" || (r.Level != "error" && r.Level != "warning" && r.Level != "note") {
			t.Errorf("%+v", r)
		}
	}
	if len(log.Runs[0].Results) < 3 || len(log.Runs[0].Tool.Driver.Rules) < 3 {
		t.Errorf("too little is found:\n%s", out)
	}
}

func TestPMR_planAsJSON(t *testing.T) {
	out, _, code := ran(t, "plan", "-f", "testdata/pmr/lists", "--snapshot", "testdata/pmr/cluster", "--sync", "platform", "-o", "json")
	var plan struct {
		Actions []struct {
			Type, Profile, Held string
			Position            pmr.Position
		}
		Digest, HeldDigest     string
		Profiles, Contributors int
	}
	if err := json.Unmarshal([]byte(out), &plan); err != nil || code != 2 {
		t.Fatalf("exit code %d, %v:\n%s", code, err, out)
	}
	first := plan.Actions[0]
	if first.Type != "ChangeOwner" || first.Profile != "gone" || first.Held != "NewAdmin" || first.Position.String() != "testdata/pmr/lists/b.yaml:2:3" ||
		len(plan.Digest) != 71 || len(plan.HeldDigest) != 71 || plan.Profiles != 2 || plan.Contributors != 2 {
		t.Errorf("printed:\n%s", out)
	}
}

func TestPMR_schema(t *testing.T) {
	out, _, code := ran(t, "schema")
	if want, err := pmr.Schema(); err != nil || out != string(want) || code != 0 {
		t.Errorf("exit code %d, %v, printed:\n%s", code, err, out)
	}
}

func TestPMR_planAgainst(t *testing.T) {
	dir := t.TempDir()
	repository, err := git.PlainInit(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	worktree, err := repository.Worktree()
	if err != nil {
		t.Fatal(err)
	}
	save := func(name, text string) {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	commit := func() {
		if err := worktree.AddGlob("."); err != nil {
			t.Fatal(err)
		}
		if _, err := worktree.Commit("x", &git.CommitOptions{Author: &object.Signature{Name: "ann", Email: "ann@example.com", When: time.Unix(0, 0)}}); err != nil {
			t.Fatal(err)
		}
	}
	save("README.md", "lists\n")
	commit()
	save("lists/a.yaml", "profiles:\n- name: team\n  owner: {kind: User, name: ann@example.com}\n  contributors:\n  - {name: bob@example.com, role: edit}\n  - {name: cat@example.com, role: view, classRole: auditor}\n")
	save("lists/b.yaml", "profiles: []\n")
	save("staging.yaml", "profiles: []\n")
	plan := func(args ...string) (string, int) {
		out, told, code := ran(t, append([]string{"plan", "--against", "HEAD", "-f", filepath.Join(dir, "lists")}, args...)...)
		return strings.ReplaceAll(out+told, dir, "DIR"), code
	}
	if out, code := plan(); code != 2 || !strings.Contains(out, "create, for User ann@example.com") {
		t.Errorf("a list that is new, exit code %d:\n%s", code, out)
	}
	commit()
	if out, code := plan(); code != 0 || !strings.Contains(out, "Nothing to do") {
		t.Errorf("the same list, exit code %d:\n%s", code, out)
	}
	save("lists/a.yaml", "profiles:\n- name: team\n  owner: {kind: User, name: ann@example.com}\n  contributors:\n  - {name: bob@example.com, role: admin}\n")
	save("staging.yaml", "profiles:\n- {name: test, owner: {kind: User, name: ann@example.com}}\n")
	out, code := plan("--overlay", filepath.Join(dir, "staging.yaml"))
	if code != 2 {
		t.Errorf("the exit code is %d", code)
	}
	golden(t, "pmr/plan-against.txt", out)
	outside := write(t, "pmr.yaml", "profiles: []\n")
	if out, told, code := ran(t, "plan", "--against", "HEAD", "-f", outside); code != 1 || !strings.Contains(told, "in no git repository") {
		t.Errorf("exit code %d:\n%s%s", code, out, told)
	}
}

// The list that is imported from a cluster changes nothing in it.
func TestPMR_cluster(t *testing.T) {
	cluster := testkit.StartCluster(t)
	c := controllertest.Client(t, cluster.Config())
	controllers := controllertest.Start(t, cluster.Config())
	for _, name := range []string{"team-a", "team-b"} {
		controllertest.Create(t, c, controllertest.Profile(name, func(p *kubeflowv1.Profile) {
			testkit.Quota("requests.cpu", "4000m")(p)
		}))
		controllertest.AwaitReady(t, c, name)
	}
	controllers.Stop(t)
	out, told, code := ran(t, "import", "--kubeconfig", cluster.Kubeconfig)
	if code != 0 || !strings.Contains(told, "adopt 2 profiles and change nothing") {
		t.Fatalf("exit code %d:\n%s%s", code, out, told)
	}
	list := write(t, "pmr.yaml", out+"  contributors: [{name: new@example.com, role: edit}]\n")
	out, told, code = ran(t, "plan", "-f", list, "--kubeconfig", cluster.Kubeconfig)
	if code != 2 || !strings.Contains(out, "new@example.com: edit") || !strings.Contains(out, "2 profiles to adopt, 1 contributor to add") {
		t.Errorf("exit code %d:\n%s%s", code, out, told)
	}
	if err := c.Get(t.Context(), client.ObjectKey{Name: "team-a"}, &kubeflowv1.Profile{}); err != nil {
		t.Error(err)
	}
}
