// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"

	"berth.dev/berth/internal/testkit"
)

// exchange is one request and the answer that clients know.
type exchange struct {
	name, method, path, body string
	headers                  caller
	code                     int
	contentType, want        string
	line                     int
}

// readExchanges reads a file of exchanges: "## NAME", the request line, header lines, an empty line and the body, and
// then "=> CODE CONTENT-TYPE" and the body of the answer, in which "..." at the end stands for anything.
func readExchanges(t *testing.T, file string, names *strings.Replacer) []exchange {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []exchange
	line := 1
	for i, entry := range strings.Split("\n"+names.Replace(string(data)), "\n## ") {
		begin := line
		line += strings.Count(entry, "\n") + 1
		if i == 0 {
			continue // what the file says about itself
		}
		name, entry, _ := strings.Cut(entry, "\n")
		request, reply, found := strings.Cut(entry, "\n=> ")
		if !found {
			t.Fatalf("%s: %q has no answer", file, name)
		}
		e := exchange{name: name, line: begin}
		head, body, _ := strings.Cut(request, "\n\n")
		e.body = strings.TrimRight(body, "\n")
		lines := strings.Split(strings.TrimSpace(head), "\n")
		e.method, e.path, _ = strings.Cut(lines[0], " ")
		e.headers = lines[1:]
		first, want, _ := strings.Cut(reply, "\n")
		if _, err := fmt.Sscanf(first, "%d", &e.code); err != nil {
			t.Fatalf("%s: %q: %v", file, name, err)
		}
		_, e.contentType, _ = strings.Cut(first, " ")
		e.want = strings.TrimRight(want, "\n")
		all = append(all, e)
	}
	return all
}

// TestWire holds the server, run as the drop-in for Kubeflow's, to the requests and answers that clients know: every row
// of the routes, of who may, of the endpoints, and of what the dashboard sends. All answers also have to be what the
// OpenAPI document says.
func TestWire(t *testing.T) {
	t.Parallel()
	at := onShared(t)
	a := serve(t, at, dropIn)
	mine, other := tenant(t, at, a), tenantOf(t, at, person("olga@example.com"), a)
	two := handMade(mine, "made-by-hand", "wire-team", "view", person("v1@example.com"), person("v2@example.com"))
	create(t, at, two)
	create(t, at, handMade(mine, "carl-edit", "carl@example.com", "edit")) // as Canonical's automator names them
	foreign := handMade(mine, "other-role", "odd@example.com", "odd")
	foreign.RoleRef = rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}
	create(t, at, foreign)
	testkit.Eventually(t, patience, func() error {
		if have := a.listed("?namespace="+mine, nobody()); len(have) != 5 {
			return fmt.Errorf("the server knows of %q only", have)
		}
		return nil
	})

	names := strings.NewReplacer("NEW", testkit.Name(t, "kfam"), "MINE", mine, "OTHER", other,
		"AS-ANN", userHeader+": "+userPrefix+ann, "AS-WIM", userHeader+": "+userPrefix+"wim@example.com", "AS-ROOT", userHeader+": "+userPrefix+root)
	schema := readOpenAPI(t)
	for _, e := range readExchanges(t, "testdata/wire.txt", names) {
		got := a.send(e.method, e.path, e.body, e.headers)
		have := fmt.Sprintf("%d %s\n%s", got.code, got.header.Get("Content-Type"), strings.TrimRight(got.body, "\n"))
		want := fmt.Sprintf("%d %s\n%s", e.code, e.contentType, e.want)
		if begin, open := strings.CutSuffix(want, "..."); open && strings.HasPrefix(have, begin) {
			have = want
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("testdata/wire.txt:%d: %s: -want, +got:\n%s", e.line, e.name, diff)
		}
		if err := schema.check(e.method, e.path, got); err != nil {
			t.Errorf("testdata/wire.txt:%d: %s: the answer is not what openapi.json says: %v", e.line, e.name, err)
		}
	}
	if t.Failed() {
		t.Logf("MINE was %s, OTHER %s", mine, other)
	}
	if got := a.send(http.MethodGet, "/readyz", "", nil); got.code != http.StatusOK {
		t.Errorf("after all that the server is not ready: %+v", got)
	}
}
