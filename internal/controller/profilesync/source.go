// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profilesync

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/pmrsource"
	"berth.dev/berth/internal/pmrsource/configmap"
	"berth.dev/berth/internal/pmrsource/git"
	"berth.dev/berth/internal/pmrsource/http"
	"berth.dev/berth/internal/pmrsource/web"
)

// Keys of the Secrets that sources name.
const (
	keyUsername    = "username"
	keyPassword    = "password"
	keyBearerToken = "bearerToken"
	keyCA          = "ca.crt"
	keyCertificate = "tls.crt"
	keyKey         = "tls.key"
	keyIdentity    = "identity"
	keyPassphrase  = "identityPassphrase"
	keyKnownHosts  = "known_hosts"
)

// secrets reads the Secrets and ConfigMaps that syncs name, in the namespace that the controller runs in.
type secrets struct {
	reader    client.Reader
	namespace string
}

// read returns a Secret's data. Without a name there is none.
func (s secrets) read(ctx context.Context, ref *berthv1alpha1.SecretName) (map[string][]byte, error) {
	if ref == nil {
		return nil, nil
	}
	var secret corev1.Secret
	err := s.reader.Get(ctx, client.ObjectKey{Namespace: s.namespace, Name: ref.Name}, &secret)
	if apierrors.IsNotFound(err) {
		return nil, pmrsource.Errorf(pmrsource.NotFound, "there is no Secret %q in namespace %q", ref.Name, s.namespace)
	}
	if err != nil {
		return nil, fmt.Errorf("read Secret %q of namespace %q: %w", ref.Name, s.namespace, err)
	}
	return secret.Data, nil
}

// Get reads a ConfigMap, for sources that are one.
func (s secrets) Get(ctx context.Context, namespace, name string) (data map[string]string, version string, err error) {
	var found corev1.ConfigMap
	if err := s.reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, &found); err != nil {
		return nil, "", err
	}
	return found.Data, found.ResourceVersion, nil
}

// setting is a source as it is configured, with what its Secrets say now.
type setting struct {
	spec         berthv1alpha1.SyncSource
	credentials  map[string][]byte
	verification map[string][]byte
}

// setting reads the Secrets of a source.
func (s secrets) setting(ctx context.Context, spec berthv1alpha1.SyncSource) (setting, error) {
	found := setting{spec: spec}
	var ref *berthv1alpha1.SecretName
	switch {
	case spec.Git != nil:
		ref = spec.Git.SecretRef
		if spec.Git.Verify != nil {
			keys, err := s.read(ctx, &spec.Git.Verify.SecretRef)
			if err != nil {
				return found, err
			}
			found.verification = keys
		}
	case spec.HTTP != nil:
		ref = spec.HTTP.SecretRef
	}
	var err error
	found.credentials, err = s.read(ctx, ref)
	return found, err
}

// hash tells settings apart: another one is another source.
func (s setting) hash() string {
	sum := sha256.New()
	encoder := json.NewEncoder(sum)
	// Of texts and bytes, which there is JSON for.
	_ = encoder.Encode(s.spec)
	for _, data := range []map[string][]byte{s.credentials, s.verification} {
		for _, key := range slices.Sorted(maps.Keys(data)) {
			_ = encoder.Encode([]any{key, data[key]})
		}
		_ = encoder.Encode(nil)
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// open makes the source. since is the commit that was accepted last.
func (s setting) open(getter configmap.Getter, namespace, since string) (pmrsource.Source, error) {
	selection := pmrsource.Selection{Path: s.spec.Path, Overlays: s.spec.Overlays}
	limits := pmrsource.Limits{Timeout: s.spec.Timeout.Duration}
	switch {
	case s.spec.Git != nil:
		verify := git.Verify{Keys: s.verification}
		if v := s.spec.Git.Verify; v != nil {
			verify.Mode = map[string]git.Mode{"Head": git.VerifyHead, "Tag": git.VerifyTag, "TagAndHead": git.VerifyTagAndHead}[cmp.Or(v.Mode, "Head")]
			if verify.Mode == "" || len(verify.Keys) == 0 {
				return nil, pmrsource.Errorf(pmrsource.BadConfiguration, "the Secret %q of source.git.verify has no keys", v.SecretRef.Name)
			}
		}
		return git.New(git.Options{
			URL: s.spec.Git.URL, Ref: git.Ref{Branch: s.spec.Git.Ref.Branch, Tag: s.spec.Git.Ref.Tag, Commit: s.spec.Git.Ref.Commit},
			Selection: selection, Web: s.web(), Verify: verify, Since: since, AllowRewrite: s.spec.Git.AllowRewrite, Limits: limits,
			SSH: git.SSH{
				Key: s.credentials[keyIdentity], Passphrase: s.credentials[keyPassphrase], KnownHosts: s.credentials[keyKnownHosts],
				InsecureIgnoreHostKey: s.spec.Git.InsecureIgnoreHostKey,
			},
		})
	case s.spec.HTTP != nil:
		return http.New(http.Options{URL: s.spec.HTTP.URL, Credentials: s.web(), Limits: limits})
	case s.spec.ConfigMap != nil:
		return configmap.New(getter, configmap.Options{Namespace: namespace, Name: s.spec.ConfigMap.Name, Selection: selection, Limits: limits})
	}
	return nil, errors.New("no source is named: give one of git, http and configMap")
}

// web are the credentials for servers that speak HTTP. Line ends at the end of a text come from how Secrets are made.
func (s setting) web() web.Credentials {
	text := func(key string) string { return strings.TrimRight(string(s.credentials[key]), "\r\n") }
	return web.Credentials{
		Username: text(keyUsername), Password: text(keyPassword), Token: text(keyBearerToken),
		CA: s.credentials[keyCA], Certificate: s.credentials[keyCertificate], Key: s.credentials[keyKey],
	}
}
