// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	istionetworking "istio.io/api/networking/v1beta1"
	istiosecurity "istio.io/api/security/v1beta1"
	istiotype "istio.io/api/type/v1beta1"
	networkingv1beta1 "istio.io/client-go/pkg/apis/networking/v1beta1"
	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/snapshot"
)

// Goals of the access engine, from its issue.
const (
	goalDecision   = 20.0   // microseconds
	goalMatrix     = 10.0   // seconds
	goalMatrixHeap = 1000.0 // MB
	accessProfiles = 1_000
	decisions      = 20_000
)

// measureAccess is the part about who can do what: it asks a snapshot, and no cluster.
func (b *bench) measureAccess(context.Context) error {
	say("asking about %d profiles with %d contributors each", accessProfiles, contributorsEach)
	s := b.tenants(accessProfiles)
	began := time.Now()
	engine := access.New(s, access.DefaultOptions())
	ready := time.Since(began)
	api, err := each("a decision of RBAC", engine, func(profile string, n int) access.Question {
		return access.Question{
			User:     rbac.SignedIn(accessPerson(profile, n%contributorsEach)),
			Resource: &rbac.Question{Verb: "create", Group: "serving.kserve.io", Resource: "inferenceservices", Namespace: profile},
		}
	})
	if err != nil {
		return err
	}
	web, err := each("a decision through gateway, route and sidecar", engine, func(profile string, n int) access.Question {
		return access.Question{
			User: rbac.SignedIn(accessPerson(profile, n%contributorsEach)),
			Web:  &access.Web{Method: "GET", Path: "/notebook/" + profile + "/nb/lab", ViaGateway: true},
		}
	})
	if err != nil {
		return err
	}
	began = time.Now()
	matrices, err := engine.Matrices(names("tenant", accessProfiles)...)
	if err != nil {
		return fmt.Errorf("ask who can do what: %w", err)
	}
	took := time.Since(began)
	for _, m := range matrices {
		if len(m.Rows) < contributorsEach {
			return fmt.Errorf("%d people in namespace %q: there are more", len(m.Rows), m.Namespace)
		}
	}
	var heap runtime.MemStats
	runtime.ReadMemStats(&heap)
	b.report.add(fmt.Sprintf("who can do what: %d profiles with %d contributors each", accessProfiles, contributorsEach),
		seconds("the engine made ready", ready), api.atMost(goalDecision), web.atMost(goalDecision),
		seconds(fmt.Sprintf("%d namespaces by %d people", accessProfiles, accessProfiles*contributorsEach), took).atMost(goalMatrix),
		figure{What: "heap, snapshot included", Value: float64(heap.HeapSys) / 1e6, Unit: "MB"}.atMost(goalMatrixHeap))
	runtime.KeepAlive(s)
	return nil
}

// each asks many questions, all of which are to be answered yes, and returns how long one takes.
func each(what string, engine *access.Engine, question func(profile string, n int) access.Question) (figure, error) {
	profiles := names("tenant", accessProfiles)
	began := time.Now()
	for n := range decisions {
		d, err := engine.Can(question(profiles[n%len(profiles)], n))
		if err != nil {
			return figure{}, fmt.Errorf("ask who can do what: %w", err)
		}
		if d.Verdict != mesh.Allowed {
			return figure{}, errors.New("a contributor is not let in: " + d.Steps[len(d.Steps)-1].Why)
		}
	}
	return figure{What: what, Value: float64(time.Since(began).Microseconds()) / decisions, Unit: "µs"}, nil
}

func accessPerson(profile string, n int) string {
	return fmt.Sprintf("person-%d@%s.example.com", n, profile)
}

// tenants is a snapshot of profiles with contributors and a notebook each, as Berth renders them.
func (b *bench) tenants(n int) *snapshot.Snapshot {
	config := b.config
	config.UserIDHeader, config.UserIDPrefix = access.DefaultOptions().UserHeader, ""
	s := &snapshot.Snapshot{Mesh: snapshot.DefaultMesh(), ClusterRoles: accessRoles()}
	s.RequestAuthentications = append(s.RequestAuthentications, verified(s.Mesh.RootNamespace, map[string]string{"istio": "ingressgateway"}))
	for _, name := range names("tenant", n) {
		p := &kubeflowv1.Profile{ObjectMeta: metav1.ObjectMeta{Name: name}}
		p.Spec.Owner = rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: "owner@" + name + ".example.com"}
		s.Profiles = append(s.Profiles, p)
		s.Namespaces = append(s.Namespaces, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"istio-injection": "enabled"}}})
		for i := range contributorsEach {
			c := render.Contributor{Subject: rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: accessPerson(name, i)}, Role: "edit"}
			binding, _ := render.ContributorBinding(p, config, c, render.BindingNames(c)[0]).Resource.(*rbacv1.RoleBinding)
			s.RoleBindings = append(s.RoleBindings, binding)
			if object, possible := render.ContributorPolicy(p, config, binding); possible {
				if policy, ok := object.Resource.(*securityv1beta1.AuthorizationPolicy); ok {
					s.AuthorizationPolicies = append(s.AuthorizationPolicies, policy)
				}
			}
		}
		s.Services = append(s.Services, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "nb"},
			Spec: corev1.ServiceSpec{
				Selector: map[string]string{"statefulset": "nb"}, Ports: []corev1.ServicePort{{Port: 80, TargetPort: intstr.FromInt32(8888)}}, //nolint:mnd // Kubeflow's
			},
		})
		s.VirtualServices = append(s.VirtualServices, notebookRoute(name))
		s.RequestAuthentications = append(s.RequestAuthentications, verified(name, nil))
	}
	return s
}

// verified takes the tokens of those who sign in: the gateway's, which writes the header of the user, and a tenant's.
func verified(namespace string, selector map[string]string) *securityv1beta1.RequestAuthentication {
	a := &securityv1beta1.RequestAuthentication{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "sign-in"}}
	rule := &istiosecurity.JWTRule{Issuer: "https://dex.example.com"}
	if len(selector) > 0 {
		a.Spec.Selector = &istiotype.WorkloadSelector{MatchLabels: selector}
		rule.ForwardOriginalToken = true
		rule.OutputClaimToHeaders = []*istiosecurity.ClaimToHeader{{Header: access.DefaultOptions().UserHeader, Claim: "email"}}
	}
	a.Spec.JwtRules = []*istiosecurity.JWTRule{rule}
	return a
}

// notebookRoute is what Kubeflow's notebook controller makes.
func notebookRoute(namespace string) *networkingv1beta1.VirtualService {
	prefix := "/notebook/" + namespace + "/nb/"
	vs := &networkingv1beta1.VirtualService{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "notebook-" + namespace + "-nb"}}
	vs.Spec.Gateways, vs.Spec.Hosts = []string{access.DefaultOptions().Gateway}, []string{"*"}
	vs.Spec.Http = []*istionetworking.HTTPRoute{{
		Match: []*istionetworking.HTTPMatchRequest{{Uri: &istionetworking.StringMatch{MatchType: &istionetworking.StringMatch_Prefix{Prefix: prefix}}}},
		Route: []*istionetworking.HTTPRouteDestination{{Destination: &istionetworking.Destination{
			Host: "nb." + namespace + ".svc.cluster.local", Port: &istionetworking.PortSelector{Number: 80},
		}}},
	}}
	return vs
}

// accessRoles are roles as large as Kubeflow's.
func accessRoles() []*rbacv1.ClusterRole {
	var all []*rbacv1.ClusterRole
	for _, name := range []string{"kubeflow-admin", "kubeflow-edit", "kubeflow-view"} {
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}}
		for i := range 40 {
			role.Rules = append(role.Rules, rbacv1.PolicyRule{
				Verbs: []string{"get", "list", "watch", "create"}, APIGroups: []string{fmt.Sprintf("group-%d.example.com", i)}, Resources: []string{"things", "others"},
			})
		}
		role.Rules = append(role.Rules, rbacv1.PolicyRule{Verbs: []string{"create"}, APIGroups: []string{"serving.kserve.io"}, Resources: []string{"inferenceservices"}})
		all = append(all, role)
	}
	return all
}
