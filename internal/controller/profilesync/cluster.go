// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/kube/gather"
	"berth.dev/berth/internal/kube/scheme"
	"berth.dev/berth/internal/pmr"
)

// cluster is one that a list is for.
type cluster struct {
	client  client.Client
	direct  client.Reader
	have    func(context.Context) (pmr.Have, error)
	classes func(context.Context) ([]berthv1alpha1.ProfileClass, error)
	// remote is set for another one than the controller's own.
	remote bool
}

// clusters are the remote ones, by the names of their syncs.
type clusters struct {
	mu    sync.Mutex
	known map[string]remote
}

// remote is the cluster of a kubeconfig, which has a hash.
type remote struct {
	hash   [sha256.Size]byte
	client client.Client
}

// forget drops the cluster of a sync that is gone.
func (c *clusters) forget(sync string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.known, sync)
}

// remoteTimeout is how long one request to a remote cluster may take.
const remoteTimeout = 30 * time.Second

// cluster returns the cluster of s.
func (r *Reconciler) cluster(ctx context.Context, s *berthv1alpha1.ProfileSync) (cluster, error) {
	ref := s.Spec.KubeConfig
	if ref == nil {
		return r.local(), nil
	}
	data, err := r.secrets.read(ctx, &berthv1alpha1.SecretName{Name: ref.Name})
	if err != nil {
		return cluster{}, err
	}
	text, found := data[ref.Key]
	if !found {
		return cluster{}, fmt.Errorf("the Secret %q has no entry %q: it is to be a kubeconfig", ref.Name, ref.Key)
	}
	c, err := r.clusters.of(s.Name, text)
	if err != nil {
		return cluster{}, fmt.Errorf("the kubeconfig in Secret %q can't be used: %w", ref.Name, err)
	}
	return cluster{
		client: c, direct: c, remote: true,
		have: func(ctx context.Context) (pmr.Have, error) { return gather.Live(ctx, c) },
		classes: func(ctx context.Context) ([]berthv1alpha1.ProfileClass, error) {
			var list berthv1alpha1.ProfileClassList
			if err := c.List(ctx, &list); err != nil && !meta.IsNoMatchError(err) && !apierrors.IsNotFound(err) {
				return nil, fmt.Errorf("list the profile classes: %w", err)
			}
			return list.Items, nil
		},
	}, nil
}

// of returns a client for the kubeconfig of a sync.
func (c *clusters) of(sync string, text []byte) (client.Client, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	hash := sha256.Sum256(text)
	if known := c.known[sync]; known.client != nil && known.hash == hash {
		return known.client, nil
	}
	parsed, err := clientcmd.Load(text)
	if err != nil {
		return nil, errors.New("it is no kubeconfig")
	}
	if err := harmless(parsed); err != nil {
		return nil, err
	}
	config, err := clientcmd.NewDefaultClientConfig(*parsed, nil).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("use it: %w", err)
	}
	config.Timeout, config.QPS, config.Burst = remoteTimeout, -1, 0
	kinds, err := scheme.New()
	if err != nil {
		return nil, err
	}
	made, err := client.New(rest.AddUserAgent(config, "berth"), client.Options{Scheme: kinds})
	if err != nil {
		return nil, fmt.Errorf("set up a client: %w", err)
	}
	if c.known == nil {
		c.known = map[string]remote{}
	}
	c.known[sync] = remote{hash, made}
	return made, nil
}

// harmless refuses what would run programs here, or read files of this machine.
func harmless(config *clientcmdapi.Config) error {
	for name, user := range config.AuthInfos {
		if user.Exec != nil || user.AuthProvider != nil {
			return fmt.Errorf("the user %q runs a program to log in: give a token or a certificate", name)
		}
		if user.TokenFile != "" || user.ClientCertificate != "" || user.ClientKey != "" {
			return fmt.Errorf("the user %q names files: put their content into the kubeconfig", name)
		}
	}
	for name, cluster := range config.Clusters {
		if cluster.CertificateAuthority != "" {
			return fmt.Errorf("the cluster %q names a file: put its content into the kubeconfig", name)
		}
	}
	return nil
}
