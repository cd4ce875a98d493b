// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package controller_test

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// manager is the program as Kubeflow's manifests start it.
type manager struct {
	cmd    *exec.Cmd
	output *lockedBuffer
}

type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write takes output.
func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func startManager(t *testing.T, server *testkit.Cluster, args ...string) *manager {
	t.Helper()
	binary, err := filepath.Abs("../../bin/berth")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatalf("%v; to build it, run: make bin/berth", err)
	}
	link := filepath.Join(t.TempDir(), "manager")
	if err := os.Symlink(binary, link); err != nil {
		t.Fatal(err)
	}
	m := &manager{cmd: exec.CommandContext(t.Context(), link, args...), output: &lockedBuffer{}}
	m.cmd.Env = append(os.Environ(), "KUBECONFIG="+server.Kubeconfig, "KATIB_CONTROLLER_PRINCIPAL=cluster.local/ns/kubeflow/sa/katib")
	m.cmd.Stdout, m.cmd.Stderr = m.output, m.output
	if err := m.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = m.cmd.Process.Kill()
		_ = m.cmd.Wait()
		if t.Failed() {
			t.Logf("output of the program:\n%s", m.output)
		}
	})
	return m
}

// terminate asks the program to end, and wants it to end well.
func (m *manager) terminate(t *testing.T) {
	t.Helper()
	if err := m.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := m.cmd.Wait(); err != nil {
		t.Errorf("after SIGTERM: %v\n%s", err, m.output)
	}
}

// freeAddress is an address that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func get(t *testing.T, url string) (body string, err error) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", url, response.Status)
	}
	return string(text), err
}

func TestManager_isStartedLikeKubeflows(t *testing.T) {
	t.Parallel() // on a cluster of its own
	server := testkit.StartCluster(t, testkit.WithCRDs("testdata/crds"))
	c := controllertest.Client(t, server.Config())
	probes, metrics := freeAddress(t), freeAddress(t)
	flags := []string{
		"-userid-header", "kubeflow-userid", "-userid-prefix", "", "-workload-identity", "",
		"-service-mesh-mode", "istio-ambient", "-create-waypoint", "true",
		"--leader-elect=false", "--health-probe-bind-address=" + probes,
	}
	m := startManager(t, server, append(flags, "--metrics-bind-address="+metrics)...)
	for _, path := range []string{"/healthz", "/readyz"} {
		testkit.Eventually(t, patience, func() error {
			if body, err := get(t, "http://"+probes+path); err != nil || body != "ok" {
				return fmt.Errorf("%s answers %q (error %w)", path, body, err)
			}
			return nil
		})
	}
	people := troubledProfiles(t, server)
	text, err := get(t, "http://"+metrics+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	checkMetrics(t, text, people)
	m.terminate(t)
	for _, name := range people {
		for line := range strings.Lines(m.output.String()) {
			if strings.Contains(name, "@") && strings.Contains(line, name) {
				t.Errorf("the log tells who %s is: %s", name, line)
			}
		}
	}

	quiet := startManager(t, server, append(flags, "--metrics-bind-address=0")...)
	name := testkit.Name(t, "again")
	controllertest.Create(t, c, controllertest.Profile(name))
	controllertest.AwaitReady(t, c, name)
	if body, err := get(t, "http://"+metrics+"/metrics"); err == nil {
		t.Errorf("metrics are served although they are turned off: %s", body)
	}
	quiet.terminate(t)
}

// troubledProfiles has the controller meet people's names in every way that it can, and returns these names and those
// of the profiles.
func troubledProfiles(t *testing.T, server *testkit.Cluster) (people []string) {
	t.Helper()
	c := controllertest.Client(t, server.Config())
	fine, foreign, account, gone, refused := testkit.Name(t, "fine"), testkit.Name(t, "foreign"), testkit.Name(t, "account"), testkit.Name(t, "gone"), testkit.Name(t, "refused")
	if err := c.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: foreign}}); err != nil {
		t.Fatal(err)
	}
	refuseOwners(t, c)
	owners := map[string]string{
		fine: "first@example.com", foreign: "second@example.com", account: "third@example.com", gone: "fourth@example.com", refused: "fifth@example.com",
	}
	for name, owner := range owners {
		controllertest.Create(t, c, controllertest.Profile(name, controllertest.WithQuota("requests.cpu", "4"), ownedBy(owner), func(p *kubeflowv1.Profile) {
			if name == account {
				p.Spec.Owner.Kind, p.Spec.Owner.Namespace = "ServiceAccount", "people"
			}
		}))
	}
	controllertest.AwaitReady(t, c, fine)
	controllertest.AwaitReady(t, c, gone)
	controllertest.AwaitCondition(t, c, foreign, "Ready", metav1.ConditionFalse, kubeflowv1.ReasonNamespaceNotOwned)
	controllertest.AwaitCondition(t, c, account, "Ready", metav1.ConditionFalse, kubeflowv1.ReasonOwnerInvalid)
	message := controllertest.AwaitCondition(t, c, refused, "Ready", metav1.ConditionFalse, kubeflowv1.ReasonApplyFailed)
	if !strings.Contains(message, owners[refused]) {
		t.Errorf("the condition does not tell the whole: %s", message)
	}
	controllertest.Change(t, c, fine, ownedBy("sixth@example.com"))
	controllertest.AwaitReady(t, c, fine)
	wantTenant(t, c, fine, "sixth@example.com")
	controllertest.Delete(t, c, gone)
	awaitNothingLeft(t, c, gone)
	for name, owner := range owners {
		people = append(people, name, owner)
	}
	return append(people, "sixth@example.com")
}

// refuseOwners has the API server refuse the owner's binding in some namespaces.
func refuseOwners(t *testing.T, c client.Client) {
	t.Helper()
	data, err := os.ReadFile("testdata/refuse-owners.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for doc := range bytes.SplitSeq(data, []byte("\n---\n")) {
		obj := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(doc, &obj.Object); err != nil {
			t.Fatal(err)
		}
		if err := c.Create(t.Context(), obj); err != nil {
			t.Fatal(err)
		}
	}
	probe := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "refused-probe"}}
	if err := c.Create(t.Context(), probe); err != nil {
		t.Fatal(err)
	}
	binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: probe.Name, Name: "namespaceAdmin"}}
	binding.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "kubeflow-view"}
	binding.Subjects = []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: "probe"}}
	testkit.Eventually(t, patience, func() error { // a policy takes a moment to count
		err := c.Create(t.Context(), binding.DeepCopy(), client.DryRunAll)
		if err == nil || !strings.Contains(err.Error(), "nothing for probe") {
			return fmt.Errorf("the policy does not count yet: %w", err)
		}
		return nil
	})
}

// checkMetrics wants the metrics that dashboards and alerts know, and nobody's name in any.
func checkMetrics(t *testing.T, text string, people []string) {
	t.Helper()
	series := regexp.MustCompile(`(?m)^((?:request_kf|request_kf_failure|service_heartbeat)\{[^}]*\})`)
	var got []string
	for _, match := range series.FindAllStringSubmatch(text, -1) {
		got = append(got, match[1])
	}
	want := []string{
		`request_kf_failure{component="profile_controller",kind="error updating Owner Rolebindi",severity="major"}`,
		`request_kf{component="profile_controller",kind="profile deletion"}`,
		`request_kf{component="profile_controller",kind="reconcile"}`,
		`request_kf{component="profile_controller",kind="reject profile taking over exi"}`,
		`service_heartbeat{component="profile_controller",severity="critical"}`,
	}
	for _, w := range want {
		if !slices.Contains(got, w) {
			t.Errorf("no metric %s", w)
		}
	}
	labels := regexp.MustCompile(`(\w+)="`)
	names := map[string][]string{}
	for _, s := range got {
		metric, _, _ := strings.Cut(s, "{")
		names[metric] = nil
		for _, match := range labels.FindAllStringSubmatch(s, -1) {
			names[metric] = append(names[metric], match[1])
		}
	}
	if diff := cmp.Diff(map[string][]string{
		"request_kf":         {"component", "kind"},
		"request_kf_failure": {"component", "kind", "severity"},
		"service_heartbeat":  {"component", "severity"},
	}, names); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	for _, name := range people {
		if strings.Contains(text, name) {
			t.Errorf("the metrics name %q", name)
		}
	}
}
