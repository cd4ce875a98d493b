// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package contributor_test

import (
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/render"
)

const usual = "[istio-ingressgateway-service-account ml-pipeline-ui request.headers[kubeflow-userid]=" + alice

// What the administrator decides is rolled out when the controllers start, once.
func TestConfig_isRolledOut(t *testing.T) {
	cfg := cluster.Use(t).Config()
	c := controllertest.Client(t, cfg)
	first := controllertest.Start(t, cfg)
	p := team(t, c)
	viewer := binding(p.Name, "x", user(alice))
	viewer.RoleRef.Name = "kubeflow-view"
	create(t, c, viewer)
	want := map[string]string{"x": "ours: " + usual + "]", "ns-access-istio": "ours:"}
	awaitPolicies(t, c, p, want)
	first.Stop(t)

	for name, tc := range map[string]struct {
		change func(*render.Config)
		want   map[string]string
	}{
		"principals": {
			change: func(config *render.Config) {
				config.Principals.IngressGateway = "corp.example/ns/gw/sa/gateway"
				config.Principals.KFPUI = "corp.example/ns/kfp/sa/ui"
			},
			want: map[string]string{"x": "ours: [gateway ui request.headers[kubeflow-userid]=" + alice + "]", "ns-access-istio": "ours:"},
		},
		"header": {
			change: func(config *render.Config) { config.UserIDHeader = "x-user" },
			want:   map[string]string{"x": "ours: " + strings.Replace(usual, "kubeflow-userid", "x-user", 1) + "]", "ns-access-istio": "ours:"},
		},
		"prefix": {
			change: func(config *render.Config) { config.UserIDPrefix = "oidc:" },
			want:   map[string]string{"x": "ours: " + strings.Replace(usual, alice, "oidc:"+alice, 1) + "]", "ns-access-istio": "ours:"},
		},
		"ambient": {
			change: func(config *render.Config) { config.MeshMode = render.MeshAmbient },
			want:   map[string]string{"x": "ours: at Gateway waypoint " + usual + "]", "ns-access-istio": "ours: at Gateway waypoint"},
		},
		"view methods": {
			change: func(config *render.Config) { config.ViewMethods = true },
			want:   map[string]string{"x": "ours: " + usual + " GET+HEAD+OPTIONS]", "ns-access-istio": "ours:"},
		},
		"aggregated": {
			change: aggregated,
			want:   map[string]string{"ns-access-istio": "ours: " + usual + "]"},
		},
		"aggregated and ambient": {
			change: func(config *render.Config) { aggregated(config); config.MeshMode = render.MeshAmbient },
			want:   map[string]string{"ns-access-istio": "ours: at Gateway waypoint " + usual + "]"},
		},
		"back to the usual": {change: func(*render.Config) {}, want: want},
	} {
		t.Run(name, func(t *testing.T) {
			running := controllertest.Start(t, cfg, controllertest.WithConfig(tc.change))
			awaitPolicies(t, c, p, tc.want)
			controllertest.AwaitReady(t, c, p.Name)
			running.Stop(t)

			var again activity
			running = controllertest.Start(t, cfg, controllertest.WithConfig(tc.change), again.watch(nil))
			again.lookedAt(t, p.Name, 1)
			edit(t, c, viewer, func(b *rbacv1.RoleBinding) {
				b.Labels = map[string]string{"touched": strings.ReplaceAll(name, " ", "-")}
			})
			again.lookedAt(t, p.Name, 2)
			// The rest is the profile controller's, who may not have been done when it was stopped.
			writes := slices.DeleteFunc(again.written(p), func(write string) bool {
				return !strings.Contains(write, "AuthorizationPolicy ") || strings.HasSuffix(write, "/ns-owner-access-istio")
			})
			if len(writes) > 0 {
				t.Errorf("at rest, the controllers wrote %q", writes)
			}
			running.Stop(t)
		})
	}
}

func aggregated(config *render.Config) { config.ContributorPolicies = render.PolicyAggregated }

// A namespace where nothing is to be done costs no write, whoever made what is in it.
func TestRest_zeroWrites(t *testing.T) {
	cfg := cluster.Use(t).Config()
	c := controllertest.Client(t, cfg)
	for name, mode := range map[string]func(*render.Config){"per-contributor": func(*render.Config) {}, "aggregated": aggregated} {
		t.Run(name, func(t *testing.T) {
			var seen activity
			controllertest.Start(t, cfg, controllertest.WithConfig(mode), seen.watch(nil))
			p, outlived := team(t, c), adoptedTeam(t, c)
			for _, namespace := range []string{p.Name, outlived.Name} {
				create(t, c, kubeflows(namespace, "pair", alice))
				create(t, c, kubeflows(namespace, "alone", bob))
				create(t, c, binding(namespace, "pair", user(alice)))
				create(t, c, binding(namespace, "hand-made", user(alice), user(bob), rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: "Group", Name: "ml-team"}))
				create(t, c, binding(namespace, "refused", user("*")))
				create(t, c, binding(namespace, "Odd:name", user(alice)))
			}
			awaitRest(t, c, &seen, p.Name)
			awaitRest(t, c, &seen, outlived.Name)
			before := len(seen.written(p)) + len(seen.written(outlived))
			for _, namespace := range []string{p.Name, outlived.Name} {
				for i := range 3 {
					looks := seen.looked(namespace)
					b := binding(namespace, "pair")
					edit(t, c, b, func(b *rbacv1.RoleBinding) { b.Labels = map[string]string{"touched": strings.Repeat("x", i+1)} })
					seen.lookedAt(t, namespace, looks+1)
				}
			}
			if after := append(seen.written(p), seen.written(outlived)...); len(after) != before {
				t.Errorf("at rest, the controllers wrote; all writes are %q", after)
			}
		})
	}
}

// awaitRest waits until a look at namespace has found nothing to write.
func awaitRest(t *testing.T, c client.Client, seen *activity, namespace string) {
	t.Helper()
	p := controllertest.Profile(namespace)
	b := binding(namespace, "refused")
	for i := 0; ; i++ {
		looks, writes := seen.looked(namespace), len(seen.written(p))
		edit(t, c, b, func(b *rbacv1.RoleBinding) { b.Labels = map[string]string{"round": strings.Repeat("x", i+1)} })
		seen.lookedAt(t, namespace, looks+1)
		if i > 1 && len(seen.written(p)) == writes {
			return
		}
		if i > 20 {
			t.Fatalf("it never rests: %q", seen.written(p))
		}
	}
}
