// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package kfam

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/render"
)

// configFor is the configuration for contributors of p with those roles. The class of p is read, past any cache, only
// where one of them is not a role of every class.
func (c *contributors) configFor(ctx context.Context, p *kubeflowv1.Profile, roles ...string) (render.Config, error) {
	if p == nil || !slices.ContainsFunc(roles, isOfClass) {
		return c.config, nil
	}
	var classes berthv1alpha1.ProfileClassList
	if err := c.client.List(ctx, &classes); err != nil && !meta.IsNoMatchError(err) {
		return c.config, fmt.Errorf("list profile classes: %w", err)
	}
	class := render.ClassOf(p, classes.Items)
	if class.Unknown {
		return c.config, failure{http.StatusForbidden, class.Problem.Message}
	}
	return c.config.With(class), nil
}

func isOfClass(role string) bool { return role != "" && !slices.Contains(render.Roles, role) }

// checkRole refuses a role that profiles of p's class do not have.
func (c *contributors) checkRole(ctx context.Context, p *kubeflowv1.Profile, role string) error {
	config, err := c.configFor(ctx, p, role)
	if err != nil {
		return err
	}
	if _, found := config.RoleNamed(role); !found {
		return unknownRole(role, config)
	}
	return nil
}

// checkRemoved refuses a role that nobody in the namespace can have. Roles that a class had once can be taken away.
func (c *contributors) checkRemoved(ctx context.Context, p *kubeflowv1.Profile, namespace, role string) error {
	if slices.ContainsFunc(c.index.contributorBindings(namespace), func(b *rbacv1.RoleBinding) bool { return hasRole(b, role) }) {
		return nil
	}
	return c.checkRole(ctx, p, role)
}

func unknownRole(role string, config render.Config) error {
	names := config.RoleNames()
	last := len(names) - 1
	return failure{http.StatusForbidden, fmt.Sprintf("RoleRef.name is %q: use %s or %s", role, strings.Join(names[:last], ", "), names[last])}
}

// rolesOf are the roles of bindings.
func rolesOf(bindings []*rbacv1.RoleBinding) []string {
	var roles []string
	for _, binding := range bindings {
		roles = append(roles, render.RoleShown(binding))
	}
	return roles
}
