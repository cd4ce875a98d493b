// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package hook_test

import (
	"fmt"
	"maps"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/render"
	"berth.dev/berth/internal/testkit"
)

// settledWrites waits until the hook was asked again twice and says what was written meanwhile.
func settledWrites(t *testing.T, e env, r *running, a *answerer, p *kubeflowv1.Profile) []string {
	t.Helper()
	// The watch of what was just written has the hook asked once more; what is counted begins after that.
	e.touch(t, p.Name, "before")
	a.awaitAsked(t, p.Name, len(a.about(p.Name)))
	e.awaitHooksReady(t, p.Name)
	before := len(r.written(p.Name))
	for _, round := range []string{"one", "two"} {
		asked := len(a.about(p.Name))
		e.touch(t, p.Name, round)
		a.awaitAsked(t, p.Name, asked)
		r.enqueueAll(t.Context())
		a.awaitAsked(t, p.Name, asked+1)
	}
	return r.written(p.Name)[before:]
}

// touch changes the namespace so that hooks are asked.
func (e env) touch(t *testing.T, namespace, value string) {
	t.Helper()
	ns := e.namespace(t, namespace)
	before := ns.DeepCopy()
	ns.Annotations["test/touched"] = value
	if err := e.Patch(t.Context(), ns, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// pipelines answers as the sync server of Kubeflow Pipelines does: by what the namespace is called and labelled, and by
// how many of each kind are there.
func pipelines(r request) any {
	if r.Object.Metadata.Labels["pipelines.kubeflow.org/enabled"] != "true" {
		return object{"status": object{}, "attachments": []any{}}
	}
	ready := "False"
	if len(r.Attachments["Secret.v1"]) == 1 && len(r.Attachments["ConfigMap.v1"]) == 3 &&
		len(r.Attachments["Deployment.apps/v1"]) == 1 && len(r.Attachments["Service.v1"]) == 1 {
		ready = "True"
	}
	namespace := r.Object.Metadata.Name
	named := func(apiVersion, kind, name string, more object) object {
		o := object{"apiVersion": apiVersion, "kind": kind, "metadata": object{"name": name, "namespace": namespace}}
		maps.Copy(o, more)
		return o
	}
	labels := object{"app": "ml-pipeline-ui-artifact"}
	resources := object{"cpu": "100m", "memory": "100Mi", "ephemeral-storage": "1024Mi"}
	return object{"status": object{"kubeflow-pipelines-ready": ready}, "attachments": []any{
		named("v1", "ConfigMap", "kfp-launcher", object{"data": object{"defaultPipelineRoot": "minio://mlpipeline/private-artifacts/" + namespace}}),
		named("v1", "ConfigMap", "metadata-grpc-configmap", object{"data": object{"METADATA_GRPC_SERVICE_PORT": "8080"}}),
		named("v1", "ConfigMap", "artifact-repositories", object{"data": object{"default-v1": "archiveLogs: true"}}),
		named("v1", "Secret", "mlpipeline-minio-artifact", object{"data": object{"accesskey": "bWluaW8=", "secretkey": "bWluaW8xMjM="}}),
		named("apps/v1", "Deployment", "ml-pipeline-ui-artifact", object{"spec": object{
			"selector": object{"matchLabels": labels},
			"template": object{
				"metadata": object{"labels": labels, "annotations": nil},
				"spec": object{
					"containers": []any{object{
						"name": "ml-pipeline-ui-artifact", "image": "ghcr.io/kubeflow/kfp-frontend:2.15.0", "imagePullPolicy": "IfNotPresent",
						"ports": []any{object{"containerPort": 3000}},
						// Not as the API server writes quantities: 1000m is 1.
						"resources": object{"requests": resources, "limits": object{"cpu": "1000m", "memory": "500Mi"}},
					}},
					"serviceAccountName": "default-editor",
				},
			},
		}}),
		named("v1", "Service", "ml-pipeline-ui-artifact", object{"spec": object{
			"ports":    []any{object{"name": "http", "port": 80, "protocol": "TCP", "targetPort": 3000}},
			"selector": labels,
		}}),
	}}
}

var pipelineKinds = []berthv1alpha1.HookAttachment{
	attached("v1", "secrets", berthv1alpha1.OnDelete), attached("v1", "configmaps", berthv1alpha1.OnDelete),
	attached("apps/v1", "deployments", berthv1alpha1.InPlace), attached("v1", "services", berthv1alpha1.InPlace),
	attached("networking.istio.io/v1alpha3", "destinationrules", berthv1alpha1.InPlace),
	attached("security.istio.io/v1beta1", "authorizationpolicies", berthv1alpha1.InPlace),
}

// The sync server of Kubeflow Pipelines gets what Metacontroller sends it, and has what it asks for.
func TestHook_ofKubeflowPipelines(t *testing.T) {
	e := setUp(t)
	kinds := pipelineKinds
	a := newAnswerer(t, pipelines)
	class := e.newClass(t, hookFor(a, "pipelines", kinds...))
	r := e.run(t, nil)
	p := e.newProfile(t, class)
	e.awaitHooksReady(t, p.Name)
	first := a.about(p.Name)[0]
	if first.Object.Kind != "Namespace" || first.Object.APIVersion != "v1" || first.Finalizing {
		t.Errorf("the first request is %+v", first)
	}
	for _, key := range []string{
		"Secret.v1", "ConfigMap.v1", "Deployment.apps/v1", "Service.v1",
		"DestinationRule.networking.istio.io/v1alpha3", "AuthorizationPolicy.security.istio.io/v1beta1",
	} {
		if have, found := first.Attachments[key]; !found || len(have) != 0 {
			t.Errorf("the first request has %v for %s (found %t), want none", have, key, found)
		}
	}

	ns := e.namespace(t, p.Name)
	ns.Labels["pipelines.kubeflow.org/enabled"] = "true"
	if err := e.Update(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		about := a.about(p.Name)
		last := about[len(about)-1]
		if ready := pipelines(last).(object)["status"].(object)["kubeflow-pipelines-ready"]; ready != "True" {
			return fmt.Errorf("pipelines are not ready: asked %+v", last.Attachments)
		}
		if _, byName := last.Attachments["Secret.v1"][p.Name+"/mlpipeline-minio-artifact"]; !byName {
			return fmt.Errorf("secrets are not named by namespace and name: %v", last.Attachments["Secret.v1"])
		}
		return nil
	})
	deployment := &appsv1.Deployment{}
	if err := e.Get(t.Context(), client.ObjectKey{Namespace: p.Name, Name: "ml-pipeline-ui-artifact"}, deployment); err != nil {
		t.Fatal(err)
	}
	wantLabels := map[string]string{"app.kubernetes.io/managed-by": "berth", "berth.dev/hook": "pipelines"}
	if diff := cmp.Diff(wantLabels, deployment.Labels); diff != "" {
		t.Errorf("labels (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]metav1.OwnerReference{render.OwnerReference(e.profile(t, p.Name))}, deployment.OwnerReferences); diff != "" {
		t.Errorf("owners (-want +got):\n%s", diff)
	}
	if writes := settledWrites(t, e, r, a, p); len(writes) > 0 {
		t.Errorf("writes at rest: %q", writes)
	}

	ns = e.namespace(t, p.Name)
	delete(ns.Labels, "pipelines.kubeflow.org/enabled")
	if err := e.Update(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	controllertest.AwaitGone(t, e.Client, deployment)
	controllertest.AwaitGone(t, e.Client, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.Name, Name: "mlpipeline-minio-artifact"}})
}

// What a hook asks for is changed, repaired and taken back.
func TestHook_attachmentsFollow(t *testing.T) {
	e := setUp(t)
	a := newAnswerer(t, always(attachments(configMap("a", "1"), configMap("b", "1"))))
	class := e.newClass(t, hookFor(a, "maps", configMaps))
	r := e.run(t, nil)
	p := e.newProfile(t, class)
	e.awaitConfigMap(t, p.Name, "a", "1")
	b := e.awaitConfigMap(t, p.Name, "b", "1")

	// Drift: changed, deleted, and its label taken off.
	b.Data["key"] = "tampered"
	if err := e.Update(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	e.awaitConfigMap(t, p.Name, "b", "1")
	if err := e.Delete(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	b = e.awaitConfigMap(t, p.Name, "b", "1")
	delete(b.Labels, berthv1alpha1.HookLabel)
	if err := e.Update(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		if b := e.awaitConfigMap(t, p.Name, "b", "1"); b.Labels[berthv1alpha1.HookLabel] != "maps" {
			return fmt.Errorf("labels are %v", b.Labels)
		}
		return nil
	})

	a.answer(always(attachments(configMap("a", "2"))))
	r.enqueueAll(t.Context())
	e.awaitConfigMap(t, p.Name, "a", "2")
	controllertest.AwaitGone(t, e.Client, b)
	if writes := settledWrites(t, e, r, a, p); len(writes) > 0 {
		t.Errorf("writes at rest: %q", writes)
	}

	// A hook that leaves the class takes along what is its own.
	e.setHooks(t, r, class)
	controllertest.AwaitGone(t, e.Client, e.configMap(p.Name, "a"))
	testkit.Eventually(t, patience, func() error {
		if c := meta.FindStatusCondition(e.profile(t, p.Name).Status.Conditions, kubeflowv1.ConditionHooksReady); c != nil {
			return fmt.Errorf("there is still a condition: %+v", c)
		}
		if record := e.namespace(t, p.Name).Annotations[berthv1alpha1.AppliedHooksAnnotation]; record != "" {
			return fmt.Errorf("there is still a record: %s", record)
		}
		return nil
	})
}

// A kind that a hook does not declare any more is pruned, too.
func TestHook_dropsAKind(t *testing.T) {
	e := setUp(t)
	secret := object{"apiVersion": "v1", "kind": "Secret", "metadata": object{"name": "s"}, "stringData": object{"word": "hidden"}}
	a := newAnswerer(t, always(attachments(configMap("a", "1"), secret)))
	secrets := attached("v1", "secrets", berthv1alpha1.Recreate)
	class := e.newClass(t, hookFor(a, "maps", configMaps, secrets))
	r := e.run(t, nil)
	p := e.newProfile(t, class)
	e.awaitConfigMap(t, p.Name, "a", "1")
	e.awaitHooksReady(t, p.Name)
	// stringData is stored in other words; that must not count as a difference, or it would be made anew for ever.
	if writes := settledWrites(t, e, r, a, p); len(writes) > 0 {
		t.Errorf("writes at rest: %q", writes)
	}
	a.answer(always(attachments(configMap("a", "1"))))
	e.setHooks(t, r, class, hookFor(a, "maps", configMaps))
	controllertest.AwaitGone(t, e.Client, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.Name, Name: "s"}})
	testkit.Eventually(t, patience, func() error {
		want := `{"maps":{"kinds":["ConfigMap.v1"]}}`
		if record := e.namespace(t, p.Name).Annotations[berthv1alpha1.AppliedHooksAnnotation]; record != want {
			return fmt.Errorf("the record is %s, want %s", record, want)
		}
		return nil
	})
}

// Labels and annotations of the namespace are set, repaired and taken back; those of others stay.
func TestHook_labelsTheNamespace(t *testing.T) {
	e := setUp(t)
	a := newAnswerer(t, always(object{"labels": object{"example.com/team": "a", "example.com/none": nil}, "annotations": object{"example.com/note": "x y"}}))
	class := e.newClass(t, hookFor(a, "labels"))
	r := e.run(t, nil)
	p := e.newProfile(t, class)
	e.awaitHooksReady(t, p.Name)
	ns := e.namespace(t, p.Name)
	if ns.Labels["example.com/team"] != "a" || ns.Annotations["example.com/note"] != "x y" {
		t.Errorf("the namespace has %v and %v", ns.Labels, ns.Annotations)
	}
	if writes := settledWrites(t, e, r, a, p); len(writes) > 0 {
		t.Errorf("writes at rest: %q", writes)
	}
	ns = e.namespace(t, p.Name)
	ns.Labels["example.com/team"], ns.Labels["example.com/others"] = "tampered", "theirs"
	if err := e.Update(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	testkit.Eventually(t, patience, func() error {
		if got := e.namespace(t, p.Name).Labels["example.com/team"]; got != "a" {
			return fmt.Errorf("the label is %q", got)
		}
		return nil
	})
	a.answer(always(object{"labels": object{"example.com/others": "mine"}}))
	r.enqueueAll(t.Context())
	if message := e.awaitHookFailed(t, p.Name); message != `hook "labels": label "example.com/others" is there already with another value` {
		t.Errorf("the message is %s", message)
	}
	ns = e.namespace(t, p.Name)
	if _, found := ns.Labels["example.com/team"]; found || ns.Annotations["example.com/note"] != "" || ns.Labels["example.com/others"] != "theirs" {
		t.Errorf("the namespace has %v and %v", ns.Labels, ns.Annotations)
	}
}
