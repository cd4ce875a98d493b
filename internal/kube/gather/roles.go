// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"context"
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"berth.dev/berth/internal/snapshot"
)

// Roles reads what a Snapshot needs of a cluster to compare its ClusterRoles with the kinds that it serves, and no more.
// Where a group for which needed is true can't be asked, that is an error: a kind that is not seen would pass for one that is
// not there.
func Roles(ctx context.Context, reader client.Reader, served discovery.ServerResourcesInterface, needed func(group string) bool) (*snapshot.Snapshot, error) {
	s := &snapshot.Snapshot{}
	list := &rbacv1.ClusterRoleList{}
	err := each(ctx, reader, list, func() {
		for i := range list.Items {
			s.ClusterRoles = append(s.ClusterRoles, &list.Items[i])
		}
	})
	if err != nil {
		return nil, fmt.Errorf("list the ClusterRoles: %w", err)
	}
	_, lists, err := served.ServerGroupsAndResources()
	if failed, some := discovery.GroupDiscoveryFailedErrorGroups(err); some {
		for version, err := range failed {
			if needed(version.Group) {
				return nil, fmt.Errorf("ask which resources %s has: %w", version, err)
			}
		}
	} else if err != nil {
		return nil, fmt.Errorf("ask which resources there are: %w", err)
	}
	for _, list := range lists {
		if _, err := s.Put(list); err != nil {
			return nil, fmt.Errorf("read which resources there are: %w", err)
		}
	}
	s.Sort()
	return s, nil
}
