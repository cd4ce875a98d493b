// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/kfam"
	"berth.dev/berth/internal/kube/scheme"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

const (
	patience = time.Minute

	ann   = "ann@example.com"  // owns the profiles of the tests
	ben   = "ben@example.com"  // is invited
	cleo  = "cleo@example.com" // is invited, too
	eve   = "eve@example.com"  // has nothing to do with anything
	root  = "root@example.com" // is a cluster admin
	staff = "platform-staff"   // is a group of cluster admins

	gateway   = "cluster.local/ns/istio-system/sa/istio-ingressgateway-service-account"
	dashboard = "cluster.local/ns/kubeflow/sa/centraldashboard"
	stranger  = "cluster.local/ns/evil/sa/default"

	userHeader = "x-goog-authenticated-user-email"
	userPrefix = "accounts.google.com:"

	profilesPath = "/kfam/v1/profiles"
	bindingsPath = "/kfam/v1/bindings"
	adminPath    = "/kfam/v1/role/clusteradmin"
)

// api is a running server and what it logged.
type api struct {
	t      testing.TB
	url    string
	server *kfam.Server
	client *http.Client
	place  place
	log    *lines
	// stop ends the server and returns what Serve does. It may be called again.
	stop func() error
}

// principalsOnly is what berth kfam does by default: the header counts only behind the gateway or the dashboard.
func principalsOnly(o *kfam.Options) { o.Authentication.Trust = kfam.TrustPrincipal }

// dropIn is what /access-management does: everybody's header counts.
func dropIn(o *kfam.Options) { o.Authentication.Trust = kfam.TrustAlways }

// aggregated has one policy for all contributors of a namespace.
func aggregated(o *kfam.Options) { o.Render.ContributorPolicies = render.PolicyAggregated }

// serve runs a server on a port of its own until the test ends.
func serve(t testing.TB, at place, changes ...func(*kfam.Options)) *api {
	t.Helper()
	return listen(t, at, kfam.Listen{}, changes...)
}

// through has the server talk to the cluster by funcs.
func through(t testing.TB, at place, funcs interceptor.Funcs) func(*kfam.Options) {
	t.Helper()
	scheme, err := scheme.New()
	if err != nil {
		t.Fatal(err)
	}
	c, err := client.NewWithWatch(at.config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	return func(o *kfam.Options) { o.Client = interceptor.NewClient(c, funcs) }
}

func listen(t testing.TB, at place, how kfam.Listen, changes ...func(*kfam.Options)) *api {
	t.Helper()
	admins, err := access.ParseAdmins(root + ",group:" + staff)
	if err != nil {
		t.Fatal(err)
	}
	logged := &lines{}
	options := kfam.Options{
		Render: render.DefaultConfig(),
		Authentication: kfam.Authentication{
			Header: userHeader, Prefix: userPrefix, Trust: kfam.TrustPrincipal,
			Gateways: []string{gateway}, Platform: []string{dashboard},
		},
		Admins: admins,
		Log:    funcr.New(func(_, args string) { logged.add(args) }, funcr.Options{LogTimestamp: false, Verbosity: 0}),
	}
	if err := kfam.Connect(at.config, &options); err != nil {
		t.Fatal(err)
	}
	for _, change := range changes {
		change(&options)
	}
	a := &api{t: t, place: at, log: logged, server: kfam.New(options), client: &http.Client{
		Timeout:       time.Minute,
		Transport:     &http.Transport{MaxIdleConnsPerHost: 32},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	where := make(chan net.Addr, 1)
	how.Address, how.Listening = "127.0.0.1:0", func(addr net.Addr) { where <- addr }
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- a.server.Serve(ctx, how) }()
	a.stop = sync.OnceValue(func() error { cancel(); return <-ended })
	t.Cleanup(func() {
		a.client.CloseIdleConnections()
		if err := a.stop(); err != nil {
			t.Errorf("the server did not end well: %v", err)
		}
	})
	select {
	case addr := <-where:
		a.url = "http://" + addr.String()
	case err := <-ended:
		ended <- err
		t.Fatalf("the server did not start: %v", err)
	}
	if how.CertFile == "" {
		a.awaitReady()
	}
	return a
}

func (a *api) awaitReady() {
	a.t.Helper()
	testkit.Eventually(a.t, patience, func() error {
		if got := a.send(http.MethodGet, "/readyz", "", nil); got.code != http.StatusOK {
			return fmt.Errorf("not ready: %+v", got)
		}
		return nil
	})
}

// caller is what a request carries to say who sent it: header lines, "Name: value".
type caller []string

func (c caller) with(lines ...string) caller { return append(slices.Clone(c), lines...) }

func xfcc(principal string) string {
	return "x-forwarded-client-cert: By=spiffe://cluster.local/ns/kubeflow/sa/profiles;Hash=0123;Subject=\"\";URI=spiffe://" + principal
}

// user is somebody who comes through the gateway.
func user(name string) caller { return caller{xfcc(gateway), userHeader + ": " + userPrefix + name} }

// nobody sends a request without saying anything.
func nobody() caller { return nil }

func theDashboard() caller { return caller{xfcc(dashboard)} }

func bearer(token string) caller { return caller{"Authorization: Bearer " + token} }

// answer is what came back.
type answer struct {
	code   int
	body   string
	header http.Header
}

func (a *api) request(ctx context.Context, method, path, body string, as caller) *http.Request {
	a.t.Helper()
	var content io.Reader = http.NoBody
	if body != "" {
		content = strings.NewReader(body)
	}
	r, err := http.NewRequestWithContext(ctx, method, a.url+path, content)
	if err != nil {
		a.t.Fatal(err)
	}
	for _, line := range as {
		name, value, _ := strings.Cut(line, ": ")
		r.Header.Add(name, value)
	}
	return r
}

// send sends one request. An answer that does not come fails the test.
func (a *api) send(method, path, body string, as caller) answer {
	a.t.Helper()
	got, err := a.try(a.request(context.WithoutCancel(a.t.Context()), method, path, body, as))
	if err != nil {
		a.t.Errorf("%s %s: %v", method, path, err)
	}
	return got
}

func (a *api) try(r *http.Request) (answer, error) {
	response, err := a.client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	data, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, string(data), response.Header}, err
}

// must sends a request that has to be answered with 200.
func (a *api) must(method, path, body string, as caller) string {
	a.t.Helper()
	got := a.send(method, path, body, as)
	if got.code != http.StatusOK {
		a.t.Fatalf("%s %s %s: want 200, got %d %s", method, path, body, got.code, got.body)
	}
	return got.body
}

// wants sends a request that has to be answered with code and, unless says is empty, a text that contains it.
func (a *api) wants(code int, says, method, path, body string, as caller) {
	a.t.Helper()
	got := a.send(method, path, body, as)
	if got.code != code || !strings.Contains(got.body, says) {
		a.t.Errorf("%s %s %s: want %d with %q, got %d %q", method, path, body, code, says, got.code, got.body)
	}
}

// invite is the body that adds or removes a user.
func invite(namespace, name, role string) string { return inviteKind(namespace, "User", name, role) }

func inviteKind(namespace, kind, name, role string) string {
	body, err := json.Marshal(map[string]any{
		"user":              map[string]string{"kind": kind, "name": name},
		"referredNamespace": namespace,
		"RoleRef":           map[string]string{"kind": "ClusterRole", "name": role},
	})
	if err != nil {
		panic(err)
	}
	return string(body)
}

// listed are the entries that query finds, as "KIND NAME ROLE" in the namespace of the query or all.
func (a *api) listed(query string, as caller) []string {
	a.t.Helper()
	var list struct {
		Bindings []struct {
			User              struct{ Kind, Name, Namespace string }
			ReferredNamespace string
			RoleRef           struct{ Name string }
		}
	}
	body := a.must(http.MethodGet, bindingsPath+query, "", as)
	if err := json.Unmarshal([]byte(body), &list); err != nil {
		a.t.Fatalf("%v in %s", err, body)
	}
	all := []string{}
	for _, b := range list.Bindings {
		name := b.User.Name
		if b.User.Namespace != "" {
			name = b.User.Namespace + "/" + name
		}
		all = append(all, b.User.Kind+" "+name+" "+b.RoleRef.Name)
	}
	return all
}

// lines is what a server logged at the level info.
type lines struct {
	mu  sync.Mutex
	all []string
}

func (l *lines) add(line string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, line)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Join(l.all, "\n")
}
