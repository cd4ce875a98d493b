// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam_test

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// mutants makes requests out of good ones, the same in each run.
type mutants struct {
	*rand.Rand

	good []string
}

// next is a good request, as it goes over the wire, with a few bytes changed, left out, doubled or moved.
func (m *mutants) next() string {
	request := []byte(m.good[m.IntN(len(m.good))])
	for range m.IntN(5) {
		at := m.IntN(len(request))
		end := min(len(request), at+1+m.IntN(8))
		switch m.IntN(6) {
		case 0:
			request[at] = byte(m.IntN(256))
		case 1:
			request = slices.Delete(request, at, end)
		case 2:
			request = slices.Insert(request, at, slices.Clone(request[at:end])...)
		case 3:
			odd := []string{"*", "\x00", "\r\n", "\"", "{", "}", "%", "..", "//", ";", ",", "\xff", "null", "-1", "99999999999", " ", "é", "\\u0000", "system:masters"}
			request = slices.Insert(request, at, []byte(odd[m.IntN(len(odd))])...)
		case 4:
			request = request[:at]
		default:
			other := m.good[m.IntN(len(m.good))]
			request = append(request[:at], other[m.IntN(len(other)):]...)
		}
		if len(request) == 0 {
			return "\r\n"
		}
	}
	return string(request)
}

// goodRequests are ones that would change something, sent by people who may in mine only, and by nobody.
func goodRequests(mine, theirs string) []string {
	var all []string
	for _, ns := range []string{mine, theirs, "default", "kube-system"} {
		for _, who := range []string{user(ann)[0] + "\r\n" + user(ann)[1], user(eve)[0] + "\r\n" + user(eve)[1], xfcc(dashboard), "x: y"} {
			for _, request := range [][3]string{
				{http.MethodPost, bindingsPath, invite(ns, ben, "edit")},
				{http.MethodPost, bindingsPath, inviteKind(ns, "Group", "ml", "view")},
				{http.MethodDelete, bindingsPath, invite(ns, ben, "edit")},
				{http.MethodDelete, bindingsPath, invite(ns, "kept@example.com", "edit")},
				{http.MethodGet, bindingsPath + "?namespace=" + ns + "&user=" + ben + "&role=edit", ""},
				{http.MethodGet, adminPath + "?user=" + root, ""},
				{http.MethodPost, profilesPath, strings.Replace(profileBody(ns, ann), "{", `{"apiVersion":"kubeflow.org/v1",`, 1)},
			} {
				all = append(all, fmt.Sprintf("%s %s HTTP/1.1\r\nHost: kfam\r\n%s\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
					request[0], request[1], who, len(request[2]), request[2]))
			}
		}
		all = append(all, fmt.Sprintf("DELETE %s/%s HTTP/1.1\r\nHost: kfam\r\n%s\r\nConnection: close\r\n\r\n", profilesPath, theirs, strings.Join(user(eve), "\r\n")))
	}
	return all
}

// everythingOf is what belongs to profiles, as the API server has it.
func everythingOf(t *testing.T, at place, names ...string) map[string]string {
	t.Helper()
	versions := map[string]string{}
	for _, name := range names {
		for _, list := range []client.ObjectList{&rbacv1.RoleBindingList{}, &securityv1beta1.AuthorizationPolicyList{}} {
			if err := at.client.List(t.Context(), list, client.InNamespace(name)); err != nil {
				t.Fatal(err)
			}
			switch list := list.(type) {
			case *rbacv1.RoleBindingList:
				for _, item := range list.Items {
					versions["binding "+name+"/"+item.Name] = item.ResourceVersion
				}
			case *securityv1beta1.AuthorizationPolicyList:
				for _, item := range list.Items {
					versions["policy "+name+"/"+item.Name] = item.ResourceVersion
				}
			}
		}
		versions["namespace "+name] = string(get(t, at, "", name, &corev1.Namespace{}).UID)
		if name != "default" && name != "kube-system" {
			versions["profile "+name] = get(t, at, "", name, &kubeflowv1.Profile{}).ResourceVersion
		}
	}
	return versions
}

// Ten thousand requests that are nearly right, from a fixed seed, leave the server serving, no panic in its log, and what
// is not the callers' as it was.
func TestMutatedRequests_changeNothingOfOthers(t *testing.T) {
	at := onQuiet(t) // alone on the cluster, as the namespaces of the platform are looked at, too
	a := serve(t, at)
	mine := tenant(t, at, a)
	theirs := tenantOf(t, at, person("olga@example.com"), a)
	create(t, at, handMade(theirs, "kept", "kept@example.com", "edit"))
	create(t, at, handMadePolicy(theirs, "kept", "kept@example.com", "edit"))
	before := everythingOf(t, at, theirs, "default", "kube-system")

	const requests, senders = 10_000, 8
	good := goodRequests(mine, theirs)
	var wait sync.WaitGroup
	var mu sync.Mutex
	codes := map[string]int{}
	counted := func(code string) {
		mu.Lock()
		defer mu.Unlock()
		codes[code]++
	}
	for sender := range senders {
		m := &mutants{rand.New(rand.NewPCG(20, uint64(sender))), good}
		wait.Go(func() {
			for range requests / senders {
				counted(sendRaw(t, a, m.next()))
			}
		})
	}
	wait.Wait()
	for _, code := range []string{"200", "400", "401", "403", "404"} {
		if codes[code] < requests/200 {
			t.Errorf("the requests are not odd in the ways they are meant to be: answers %v", codes)
		}
	}

	if diff := cmp.Diff(before, everythingOf(t, at, theirs, "default", "kube-system")); diff != "" {
		t.Errorf("what belongs to others, -before, +after:\n%s", diff)
	}
	get(t, at, "", mine, &kubeflowv1.Profile{})
	if strings.Contains(a.log.text(), "panic") {
		t.Errorf("a request made the server panic:\n%s", a.log.text())
	}
	a.must(http.MethodPost, bindingsPath, invite(mine, "after@example.com", "edit"), user(ann))
	if have := a.listed("?user=after@example.com&namespace="+mine, user(ann)); len(have) != 1 {
		t.Errorf("after all that the list is %q", have)
	}
}

// sendRaw sends bytes as they are and returns the code of what comes back. What is no request at all may be dropped.
func sendRaw(t *testing.T, a *api, request string) (code string) {
	t.Helper()
	var dialer net.Dialer
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(a.url, "http://"))
	if err != nil {
		t.Errorf("the server does not answer any more: %v", err)
		return ""
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		return "" // the server has seen enough
	}
	// A server that waits for the rest of a request is told that there is none. One that is at work would take that
	// for a caller who has gone.
	reply := make([]byte, 4096)
	if err := conn.SetReadDeadline(time.Now().Add(30 * time.Millisecond)); err != nil {
		t.Error(err)
	}
	n, err := conn.Read(reply)
	if tcp, ok := conn.(*net.TCPConn); ok && errors.Is(err, os.ErrDeadlineExceeded) {
		_ = tcp.CloseWrite() // it may be closed already
		if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Error(err)
		}
		n, _ = conn.Read(reply) // what came is what counts
	}
	reply = reply[:n]
	if strings.HasPrefix(string(reply), "HTTP/1.1 500") {
		t.Errorf("%q is answered with %q", request, reply)
	}
	_, status, _ := strings.Cut(string(reply[:min(n, 12)]), " ")
	return status
}
