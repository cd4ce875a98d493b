// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package generate

// The words that policies and requests have in common. There are few of each, and they are prefixes and suffixes of one
// another, so that what should not match nearly does.
var (
	trustDomains    = []string{"cluster.local", "cluster.local", "td1", "old-td", "td.example.com"}
	namespaces      = []string{"a", "a2", "b", "team-a", "istio-system", "kube.x"}
	serviceAccounts = []string{"default", "default-editor", "sa", "s.a"}
	identities      = []string{
		"cluster.local/ns/a/sa/default", "cluster.local/ns/a2/sa/default", "cluster.local/ns/a/sa/default-editor",
		"cluster.local/ns/b/sa/sa", "td1/ns/a/sa/default", "old-td/ns/team-a/sa/s.a", "td.example.com/ns/a/sa/sa",
		"cluster.local/ns/istio-system/sa/sa", "cluster.local/ns/kube.x/sa/default",
	}
	// Identities that are not as Istio gives them out.
	oddIdentities = []string{
		"cluster.local", "cluster.local/ns/a", "x", "cluster.local/ns/a/zone/z/sa/default", "cluster.local/ns/a/sa/default/x",
		"cluster.local/zone/z/ns/a/sa/default", "cluster.local/ns//sa/default", "td1/ns/a/sa/",
	}
	addresses = []string{"10.0.0.1", "10.0.1.7", "10.1.0.1", "192.168.10.20", "127.0.0.1", "2001:db8::1", "2001:db8:1::7"}
	blocks    = []string{
		"10.0.0.1", "10.0.0.0/16", "10.0.1.7/24", "192.168.0.0/16", "0.0.0.0/0", "2001:db8::/32", "2001:db8::1", "::/0",
		"10.0.0.1/32", "10.1.0.0/31",
	}
	ports   = []string{"80", "443", "8080", "8081", "15008"}
	hosts   = []string{"app.example.com", "app.example.com:8080", "example.com", "App.Example.com", "svc.a.svc.cluster.local"}
	methods = []string{"GET", "POST", "PUT", "DELETE", "get", "GETX", "HEAD"}
	paths   = []string{
		"/", "/a", "/a/", "/a/b", "/a/b/c", "/admin", "/admin/x", "/healthz", "/api/kernels", "/notebook/a/nb/api/kernels",
		"//a", "/a//b", "/A", "/a%2Fb", "/a/b=c", "/a/./b",
		"/a/../admin", "/a//../b", "/..", "/a/b/..", `/a\b`, "/%2F%2fadmin", "/a/.", "/a/...", "/a%5cb",
	}
	templates = []string{
		"/a/{*}", "/a/{**}", "/{*}/b", "/{**}/c", "/{*}/{*}", "/{**}", "/a/{*}/", "/notebook/{*}/{*}/api/{**}", "/{*}/b/{**}/c",
		"/{**}/api/kernels", "/a.b/{*}",
	}
	queries     = []string{"?x=/a", "?", "#a", "?a#b", "#a?b"}
	headerNames = []string{"x-user", "x-user-2", "kubeflow-userid", "authorization", "x-list"}
	headerTexts = []string{"alice@example.com", "bob@example.com", "alice", "a,b", "a", "b", "Bearer x", "alice@example.com,bob@example.com"}
	issuers     = []string{"https://issuer.example.com", "https://issuer.example.com/x", "issuer", "https://issuer"}
	subjects    = []string{"alice", "alice@example.com", "bob", "sub-1"}
	claimKeys   = []string{"[groups]", "[email]", "[scope]", "[permission]", "[realm][roles]", "[realm]", "[iss]", "[sub]", "[n]", "[a.b]"}
	claimTexts  = []string{"ml", "ml-admins", "admins", "alice@example.com", "a b", "a", "b", "true", "7", " "}
	audiences   = []string{"kubeflow", "kubeflow-ui", "other"}
	servers     = []string{"app.example.com", "outbound_.80_._.svc.a.svc.cluster.local", "example.com", "*.example.com"}

	apps     = []string{"x", "y"}
	versions = []string{"v1", "v2"}
	gateways = []string{"gw", "gw-2"}
	services = []string{"svc", "svc-2"}
)
