// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// invite has each owner invite somebody through the access-management API, as the dashboard does, and prints who the
// API says has access then.
func (d *demo) invite(ctx context.Context) error {
	for _, name := range d.tenants {
		var p kubeflowv1.Profile
		if err := d.client.Get(ctx, client.ObjectKey{Name: name}, &p); err != nil {
			return fmt.Errorf("read profile %q: %w", name, err)
		}
		owner := p.Spec.Owner.Name
		fmt.Fprintln(d.out)
		err := d.step(fmt.Sprintf("%s invites %s to %s, by the access-management API", owner, guest, name), func() (string, error) {
			// The API learns of a new profile a moment after the one who made it.
			return "done", d.await(ctx, "the invitation to be accepted", func(ctx context.Context) (bool, string, error) {
				if _, err := d.ask(ctx, http.MethodPost, "/kfam/v1/bindings", owner, invitation(name)); err != nil {
					return false, err.Error(), nil //nolint:nilerr // it is told if it stays
				}
				return true, "", nil
			})
		})
		if err != nil {
			return err
		}
		if err := d.showContributors(ctx, name, owner); err != nil {
			return err
		}
	}
	return nil
}

func invitation(namespace string) string {
	return fmt.Sprintf(`{"user":{"kind":"User","name":%q},"referredNamespace":%q,"RoleRef":{"kind":"ClusterRole","name":"edit"}}`, guest, namespace)
}

// showContributors prints who has access, as the API tells owner.
func (d *demo) showContributors(ctx context.Context, namespace, owner string) error {
	answer, err := d.ask(ctx, http.MethodGet, "/kfam/v1/bindings?namespace="+url.QueryEscape(namespace), owner, "")
	if err != nil {
		return err
	}
	var list struct {
		Bindings []struct {
			User    struct{ Kind, Name string }
			RoleRef struct{ Name string }
		}
	}
	if err := json.Unmarshal(answer, &list); err != nil {
		return fmt.Errorf("read the list of contributors: %w", err)
	}
	rows := [][]string{{"KIND", "NAME", "ROLE"}}
	for _, binding := range list.Bindings {
		rows = append(rows, []string{binding.User.Kind, binding.User.Name, binding.RoleRef.Name})
	}
	if !slices.ContainsFunc(rows, func(row []string) bool { return row[1] == guest }) {
		return fmt.Errorf("the access-management API does not list %s, whom %s has just invited to %s", guest, owner, namespace)
	}
	d.table(fmt.Sprintf("Who is in %s now:", namespace), rows)
	return nil
}

// ask sends a request to the access-management API as somebody.
func (d *demo) ask(ctx context.Context, method, path, as, body string) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, d.kfam+path, strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header.Set(userHeader, as)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the access-management API: %w", err)
	}
	answer, err := io.ReadAll(response.Body)
	if err := response.Body.Close(); err != nil {
		return nil, err
	}
	if err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("the access-management API answers %s %s with %s: %s (error %w)", method, path, response.Status, answer, err)
	}
	return answer, nil
}

// inviteYourself prints how to use the access-management API.
func (d *demo) inviteYourself(name string) {
	fmt.Fprint(d.out, "\nThe access-management API believes the header here; in a cluster, the gateway sets it:\n\n")
	fmt.Fprintf(d.out, "  KFAM=%s\n", d.kfam)
	fmt.Fprintf(d.out, "  curl -H '%s: alice@example.com' \"$KFAM/kfam/v1/bindings?namespace=%s\"\n", userHeader, name)
	fmt.Fprintf(d.out, "  curl -H '%s: alice@example.com' -X DELETE $KFAM/kfam/v1/bindings -d '%s'\n", userHeader, invitation(name))
}
