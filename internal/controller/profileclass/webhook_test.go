// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profileclass_test

import (
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

// awaitNone waits until nothing is left that enforces rules of the class.
func awaitNone(t *testing.T, c client.Client, class string) {
	t.Helper()
	testkit.Eventually(t, controllertest.Patience, func() error {
		var policies admissionregistrationv1.ValidatingAdmissionPolicyList
		var bindings admissionregistrationv1.ValidatingAdmissionPolicyBindingList
		var webhooks admissionregistrationv1.ValidatingWebhookConfigurationList
		of := client.MatchingLabels{berthv1alpha1.ClassLabel: class}
		if err := errors.Join(c.List(t.Context(), &policies, of), c.List(t.Context(), &bindings, of), c.List(t.Context(), &webhooks, of)); err != nil {
			return err
		}
		if n := len(policies.Items) + len(bindings.Items) + len(webhooks.Items); n > 0 {
			return fmt.Errorf("%d objects are left", n)
		}
		return nil
	})
}

// budgets refuses profiles whose names it does not know.
func budgets(w http.ResponseWriter, r *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: strings.HasPrefix(review.Request.Name, "known")}
	if !review.Response.Allowed {
		review.Response.Result = &metav1.Status{Message: "no budget is known for " + review.Request.Name}
	}
	if err := json.NewEncoder(w).Encode(review); err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

func TestWebhook_isAsked(t *testing.T) {
	_, c := start(t)
	server := httptest.NewTLSServer(http.HandlerFunc(budgets))
	defer server.Close()
	url := server.URL + "/validate"
	class := newClass(t, c, "{description: asks}", func(class *berthv1alpha1.ProfileClass) {
		class.Spec.PolicyWebhook = &berthv1alpha1.PolicyWebhook{ClientConfig: admissionregistrationv1.WebhookClientConfig{
			URL: &url, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
		}}
	})
	p := ofClass(t, class.Name)
	awaitRefused(t, c, p, "no budget is known for "+p.Name)
	known := ofClass(t, class.Name)
	known.Name = testkit.Name(t, "known")
	if err := c.Create(t.Context(), known.DeepCopy(), client.DryRunAll); err != nil {
		t.Error(err)
	}
	controllertest.Create(t, c, controllertest.Profile(testkit.Name(t, "other"))) // of no class

	server.Close() // fail closed, as nothing else was asked for
	if err := refused(c.Create(t.Context(), known.DeepCopy(), client.DryRunAll), "failed calling webhook"); err != nil {
		t.Error(err)
	}
	change(t, c, class, func(class *berthv1alpha1.ProfileClass) {
		class.Spec.PolicyWebhook.FailurePolicy = admissionregistrationv1.Ignore
	})
	awaitTaken(t, c, known)
	change(t, c, class, func(class *berthv1alpha1.ProfileClass) { class.Spec.PolicyWebhook = nil })
	awaitNone(t, c, class.Name)
}
