// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"runtime"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/pmr"
	"berth.dev/berth/internal/render"
)

// planProfiles is how many profiles the plan is measured with.
const planProfiles = 10_000

// planMany measures planning itself: a list of planProfiles against a cluster that has nothing of it, and against one that
// has all of it.
func (b *bench) planMany() error {
	say("planning for %d profiles", planProfiles)
	text := []byte(listOf(names("listed", planProfiles)))
	rules := pmr.Rules{Sync: "bench", Now: time.Now(), Limits: pmr.DefaultLimits(), ConfigOf: func(string) render.Config { return b.config }}

	began := time.Now()
	doc, findings := pmr.Read(pmr.Input{Files: []pmr.File{{Path: "pmr.yaml", Data: text}}})
	findings = append(findings, pmr.Lint(doc, pmr.LintRules{Now: rules.Now})...)
	if pmr.HasErrors(findings) {
		return fmt.Errorf("the list has errors: %s", findings[0])
	}
	want := pmr.Resolve(doc)
	read := time.Since(began)
	plan := pmr.Diff(want, pmr.Have{}, rules)
	digest := plan.Digest()
	all := time.Since(began)

	have := b.haveAll(plan)
	began = time.Now()
	unchanged := pmr.Diff(want, have, rules)
	again := time.Since(began)
	if len(unchanged.Actions)+len(unchanged.Problems) > 0 {
		return fmt.Errorf("planned for what is there already: %+v", unchanged)
	}
	var heap runtime.MemStats
	runtime.ReadMemStats(&heap)
	reading, planning, comparing := seconds("reading and checking the list", read), seconds("that, and the plan with its digest", all), seconds("the plan where all is there", again)
	reading.Note = fmt.Sprintf("%s MB of YAML", number(float64(len(text))/1e6))
	planning.Note = fmt.Sprintf("%d actions, %s", len(plan.Actions), digest[:15])
	b.report.add(fmt.Sprintf("a plan for %d profiles with %d contributors each", planProfiles, contributorsEach),
		reading, planning.atMost(goalPlan), comparing,
		figure{What: "heap, list and cluster included", Value: float64(heap.HeapSys) / 1e6, Unit: "MB"}.atMost(goalPlanHeap))
	runtime.KeepAlive(have)
	return nil
}

// haveAll is a cluster in which plan was carried out.
func (b *bench) haveAll(plan pmr.Plan) pmr.Have {
	have := pmr.Have{Profiles: map[string]*pmr.HaveProfile{}}
	var p *kubeflowv1.Profile
	for _, a := range plan.Actions {
		if a.Type == pmr.CreateProfile {
			p = a.Target.DeepCopy()
			p.UID = types.UID(p.Name)
			have.Profiles[p.Name] = &pmr.HaveProfile{Profile: p, Namespace: &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
				Name: p.Name, Annotations: map[string]string{kubeflowv1.MadeForAnnotation: string(p.UID)},
			}}}
			continue
		}
		binding, ok := render.ContributorBinding(p, b.config, a.Grant.Contributor, render.BindingNames(a.Grant.Contributor)[0]).Resource.(*rbacv1.RoleBinding)
		if ok {
			have.Profiles[a.Profile].Bindings = append(have.Profiles[a.Profile].Bindings, binding)
		}
	}
	return have
}
