// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/examples"
	"berth.dev/berth/internal/render"
)

const (
	// guest is invited by the owner.
	guest = "bob@example.com"
	// stranger is somebody whom no profile of the demo knows.
	stranger = "mallory@example.com"
)

// applyQuickstart applies the files of examples/quickstart, as kubectl apply --server-side does, and waits for each
// profile to be ready.
func (d *demo) applyQuickstart(ctx context.Context) error {
	files, err := fs.Glob(examples.Quickstart, "quickstart/*.yaml")
	if err != nil {
		return err
	}
	for _, file := range files {
		data, err := examples.Quickstart.ReadFile(file)
		if err != nil {
			return err
		}
		profile := &unstructured.Unstructured{}
		if err := yaml.UnmarshalStrict(data, &profile.Object); err != nil {
			return fmt.Errorf("read %s: %w", file, err)
		}
		owner, _, _ := unstructured.NestedString(profile.Object, "spec", "owner", "name")
		text := fmt.Sprintf("Applying %s: %s %s of %s, %d lines",
			path.Join("examples", file), profile.GetKind(), profile.GetName(), owner, bytes.Count(data, []byte("\n")))
		err = d.step(text, func() (string, error) {
			apply := client.ApplyConfigurationFromUnstructured(profile)
			if err := d.client.Apply(ctx, apply, client.FieldOwner("berth-demo"), client.ForceOwnership); err != nil {
				return "", fmt.Errorf("apply %s: %w", file, err)
			}
			return "Ready", d.awaitReady(ctx, profile.GetName())
		})
		if err != nil {
			return err
		}
		d.tenants = append(d.tenants, profile.GetName())
	}
	return nil
}

func (d *demo) awaitReady(ctx context.Context, name string) error {
	return d.await(ctx, fmt.Sprintf("profile %q to be ready", name), func(ctx context.Context) (bool, string, error) {
		var p kubeflowv1.Profile
		if err := d.client.Get(ctx, client.ObjectKey{Name: name}, &p); err != nil {
			return false, "", fmt.Errorf("read profile %q: %w", name, err)
		}
		ready := meta.FindStatusCondition(p.Status.Conditions, kubeflowv1.ConditionReady)
		if ready == nil {
			return false, "it has no status yet", nil
		}
		return ready.Status == metav1.ConditionTrue && ready.ObservedGeneration == p.Generation, ready.Reason + ": " + ready.Message, nil
	})
}

// showTenants prints what is there. What each object is for comes from where the objects are rendered; that it is there
// comes from the cluster.
func (d *demo) showTenants(ctx context.Context) error {
	for _, name := range d.tenants {
		var p kubeflowv1.Profile
		if err := d.client.Get(ctx, client.ObjectKey{Name: name}, &p); err != nil {
			return fmt.Errorf("read profile %q: %w", name, err)
		}
		var ns corev1.Namespace
		if err := d.client.Get(ctx, client.ObjectKey{Name: name}, &ns); err != nil {
			return fmt.Errorf("read namespace %q: %w", name, err)
		}
		tenant := render.Profile(&p, render.Input{
			Config:    render.DefaultConfig(),
			Namespace: &ns,
			Mesh:      render.MeshKinds{AuthorizationPolicy: true},
		})
		rows := [][]string{{"KIND", "NAME", "WHAT IT IS FOR"}}
		for _, object := range tenant.Objects() {
			live := &unstructured.Unstructured{}
			live.SetGroupVersionKind(object.GetObjectKind().GroupVersionKind())
			if err := d.client.Get(ctx, client.ObjectKeyFromObject(object), live); err != nil {
				return fmt.Errorf("profile %q is ready without one of its objects: %w", name, err)
			}
			rows = append(rows, []string{live.GetKind(), live.GetName(), object.Purpose})
		}
		d.table(fmt.Sprintf("What Profile %s became:", name), rows)
	}
	return nil
}

// checkAccess asks the API server what the owner, a contributor and a stranger may do, and prints the answers.
func (d *demo) checkAccess(ctx context.Context) error {
	var wrong []error
	for _, name := range d.tenants {
		var p kubeflowv1.Profile
		if err := d.client.Get(ctx, client.ObjectKey{Name: name}, &p); err != nil {
			return fmt.Errorf("read profile %q: %w", name, err)
		}
		rows := [][]string{{"WHO", "WHAT", "ALLOWED"}}
		for _, person := range []struct {
			name, standing string
			want           bool
		}{
			{p.Spec.Owner.Name, "owner", true},
			{guest, "contributor", true},
			{stranger, "stranger", false},
		} {
			for _, what := range []authorizationv1.ResourceAttributes{
				{Namespace: name, Verb: "create", Group: "kubeflow.org", Resource: "notebooks"},
				{Namespace: name, Verb: "create", Resource: "pods"},
			} {
				allowed, err := d.mayDo(ctx, person.name, what, person.want)
				if err != nil {
					return err
				}
				if allowed != person.want {
					wrong = append(wrong, fmt.Errorf("the %s %s may %s %s in namespace %s: %s, want %s",
						person.standing, person.name, what.Verb, what.Resource, name, yesNo(allowed), yesNo(person.want)))
				}
				rows = append(rows, []string{person.name + ", " + person.standing, what.Verb + " " + what.Resource, yesNo(allowed)})
			}
		}
		d.table(fmt.Sprintf("Who may do what in namespace %s, by the API server's own answer:", name), rows)
	}
	return errors.Join(wrong...)
}

// mayDo asks the API server. Its authorizer learns of a new RoleBinding a moment after the one who made it, so an
// expected yes may take a second question.
func (d *demo) mayDo(ctx context.Context, user string, what authorizationv1.ResourceAttributes, want bool) (allowed bool, err error) {
	const moments = 100
	tries := 0
	err = d.await(ctx, "the API server's answer", func(ctx context.Context) (bool, string, error) {
		tries++
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user, Groups: []string{"system:authenticated"}, ResourceAttributes: &what,
		}}
		if err := d.client.Create(ctx, review); err != nil {
			return false, "", fmt.Errorf("ask whether %s may %s %s: %w", user, what.Verb, what.Resource, err)
		}
		allowed = review.Status.Allowed
		return allowed == want || !want || tries == moments, "no", nil
	})
	return allowed, err
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
