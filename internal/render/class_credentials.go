// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utiljson "k8s.io/apimachinery/pkg/util/json"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
)

// SecretsGroup is the group of External Secrets. Its version is found by discovery.
const SecretsGroup = "external-secrets.io"

// Names of the objects of a class with credentials.
const (
	// CredentialsAccount is the ServiceAccount by which External Secrets reads a profile's secrets.
	CredentialsAccount = "berth-credentials" //nolint:gosec // a name, and no secret
	// tokenRole is the ClusterRole that lets External Secrets ask for tokens of that account.
	tokenRole      = "berth-credentials-token" //nolint:gosec // a name, and no secret
	storeName      = "berth"
	s3SecretName   = "berth-s3"
	pullSecretName = "berth-registry"
)

// credentials renders what External Secrets needs to bring a profile's secrets into its namespace.
func credentials(p *kubeflowv1.Profile, in Input) Part {
	given := in.Class.Spec.Credentials
	if given == nil {
		return Part{}
	}
	if in.Mesh.ExternalSecrets == "" {
		return Part{Keep: true, Problem: &Problem{Reason: kubeflowv1.ReasonExternalSecretsUnavailable, Message: fmt.Sprintf(
			"the cluster does not serve SecretStore and ExternalSecret of %s, so no secrets are brought into the namespace; "+
				"install External Secrets, and this will be made up for", SecretsGroup)}}
	}
	fill := filler{profile: p.Name}
	part := Part{Reason: kubeflowv1.ReasonReady, Message: "the store and the external secrets are in place"}
	part.Objects = append(part.Objects, tokenAccess(p, in, *given, &fill)...)
	part.Objects = append(part.Objects, secretStore(p, in, *given, &fill))
	for _, secret := range given.Secrets {
		if secret.Name == s3SecretName && given.S3 != nil || secret.Name == pullSecretName && given.PullSecret != nil {
			fill.fail("spec.credentials.secrets has the name %s, which s3 or pullSecret has already: choose another name", secret.Name)
		}
		part.Objects = append(part.Objects, externalSecret(p, in, secret.Name, secret.RefreshInterval, secretSpec(secret, &fill)))
	}
	if given.S3 != nil {
		part.Objects = append(part.Objects, externalSecret(p, in, s3SecretName, "1h", s3Spec(*given.S3, &fill)))
	}
	if given.PullSecret != nil {
		part.Objects = append(part.Objects, externalSecret(p, in, pullSecretName, "1h", pullSpec(*given.PullSecret, &fill)))
	}
	if fill.err != nil {
		return Part{Problem: &Problem{Reason: kubeflowv1.ReasonCredentialsInvalid, Message: fill.err.Error()}, Keep: true}
	}
	return part
}

// tokenAccess are the account by which the secrets are read, and the right of External Secrets to act as it.
func tokenAccess(p *kubeflowv1.Profile, in Input, given berthv1alpha1.Credentials, fill *filler) []Object {
	account := Object{
		Resource: &corev1.ServiceAccount{
			TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ServiceAccount"},
			ObjectMeta: partMeta(p, partCredentials, CredentialsAccount),
		},
		Purpose: "reads the profile's secrets",
	}
	settings := berthv1alpha1.ServiceAccountSettings{Annotations: map[string]string{}}
	for _, key := range sortedKeys(given.ServiceAccountAnnotations) {
		settings.Annotations[key] = fill.in(given.ServiceAccountAnnotations[key])
	}
	// An identity that the class names no more must not stay on the account.
	in.settle(&account, in.placedAccount(CredentialsAccount), settings)
	binding := &rbacv1.RoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: rbacv1.SchemeGroupVersion.String(), Kind: "RoleBinding"},
		ObjectMeta: partMeta(p, partCredentials, tokenRole),
		RoleRef:    clusterRole(tokenRole),
		Subjects: []rbacv1.Subject{{
			Kind: rbacv1.ServiceAccountKind, Namespace: orElse(given.Operator.Namespace, "external-secrets"), Name: orElse(given.Operator.Name, "external-secrets"),
		}},
	}
	return []Object{
		account,
		{Resource: binding, Purpose: "lets External Secrets act as " + CredentialsAccount, Exact: []string{"subjects", "roleRef"}},
	}
}

// placedAccount is the ServiceAccount of that name as it is, if it was made for a part of a class; else nil.
func (in Input) placedAccount(name string) *corev1.ServiceAccount {
	for _, there := range in.Placed {
		if account, ok := there.(*corev1.ServiceAccount); ok && account.Name == name {
			return account
		}
	}
	return nil
}

func secretStore(p *kubeflowv1.Profile, in Input, given berthv1alpha1.Credentials, fill *filler) Object {
	var provider any
	switch {
	case given.Vault != nil:
		provider = map[string]any{"vault": vault(*given.Vault, fill)}
	case given.Provider != nil:
		if err := utiljson.Unmarshal(given.Provider.Raw, &provider); err != nil {
			fill.fail("spec.credentials.provider is no JSON object: %w", err)
		}
		provider = fill.all(provider)
	}
	return secretsObject(p, in, "SecretStore", storeName, "says where the profile's secrets are", map[string]any{"provider": provider})
}

func vault(given berthv1alpha1.VaultStore, fill *filler) map[string]any {
	account := map[string]any{"name": CredentialsAccount}
	if len(given.Audiences) > 0 {
		account["audiences"] = anyList(given.Audiences)
	}
	store := map[string]any{
		"server":  given.Server,
		"path":    fill.in(given.Path),
		"version": orElse(given.Version, "v2"),
		"auth": map[string]any{"kubernetes": map[string]any{
			"mountPath":         orElse(given.MountPath, "kubernetes"),
			"role":              fill.in(given.Role),
			"serviceAccountRef": account,
		}},
	}
	if given.Namespace != "" {
		store["namespace"] = fill.in(given.Namespace)
	}
	if len(given.CABundle) > 0 {
		store["caBundle"] = base64.StdEncoding.EncodeToString(given.CABundle)
	}
	return store
}

// externalSecret has External Secrets make the Secret of that name.
func externalSecret(p *kubeflowv1.Profile, in Input, name, refresh string, spec map[string]any) Object {
	spec["secretStoreRef"] = map[string]any{"kind": "SecretStore", "name": storeName}
	spec["refreshInterval"] = orElse(refresh, "1h")
	target, _ := spec["target"].(map[string]any)
	if target == nil {
		target = map[string]any{}
	}
	target["name"] = name
	spec["target"] = target
	return secretsObject(p, in, "ExternalSecret", name, "keeps the secret "+name, spec)
}

func secretSpec(secret berthv1alpha1.ExternalSecret, fill *filler) map[string]any {
	spec := map[string]any{}
	var data []any
	for _, value := range secret.Data {
		data = append(data, secretData(value.SecretKey, fill.in(value.RemoteKey), value.Property))
	}
	if len(data) > 0 {
		spec["data"] = data
	}
	if secret.Extract != "" {
		spec["dataFrom"] = []any{map[string]any{"extract": map[string]any{"key": fill.in(secret.Extract)}}}
	}
	if secret.Type != "" {
		spec["target"] = map[string]any{"template": map[string]any{"type": secret.Type}}
	}
	return spec
}

func s3Spec(given berthv1alpha1.S3Credentials, fill *filler) map[string]any {
	key := fill.in(given.RemoteKey)
	values := map[string]any{
		"AWS_ACCESS_KEY_ID":     "{{ .accessKeyId }}",
		"AWS_SECRET_ACCESS_KEY": "{{ .secretAccessKey }}",
		"bucket":                fill.plain(given.Bucket),
		"prefix":                fill.in(orElse(given.Prefix, "{{ .profile }}/")),
	}
	if given.Endpoint != "" {
		values["AWS_ENDPOINT_URL_S3"] = fill.plain(given.Endpoint)
	}
	if given.Region != "" {
		values["AWS_REGION"] = fill.plain(given.Region)
	}
	return map[string]any{
		"data":   []any{secretData("accessKeyId", key, "accessKeyId"), secretData("secretAccessKey", key, "secretAccessKey")},
		"target": map[string]any{"template": map[string]any{"data": values}},
	}
}

func pullSpec(given berthv1alpha1.PullSecret, fill *filler) map[string]any {
	return map[string]any{
		"data":   []any{secretData(corev1.DockerConfigJsonKey, fill.in(given.RemoteKey), given.Property)},
		"target": map[string]any{"template": map[string]any{"type": string(corev1.SecretTypeDockerConfigJson)}},
	}
}

func secretData(secretKey, remoteKey, property string) map[string]any {
	ref := map[string]any{"key": remoteKey}
	if property != "" {
		ref["property"] = property
	}
	return map[string]any{"secretKey": secretKey, "remoteRef": ref}
}

// secretsObject is an object of External Secrets, whose defaults differ between versions.
func secretsObject(p *kubeflowv1.Profile, in Input, kind, name, purpose string, spec map[string]any) Object {
	meta := partMeta(p, partCredentials, name)
	obj := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	obj.SetGroupVersionKind(schema.GroupVersionKind{Group: SecretsGroup, Version: in.Mesh.ExternalSecrets, Kind: kind})
	obj.SetName(name)
	obj.SetNamespace(meta.Namespace)
	obj.SetLabels(meta.Labels)
	obj.SetOwnerReferences(meta.OwnerReferences)
	if text, err := json.Marshal(spec); err == nil {
		obj.SetAnnotations(map[string]string{berthv1alpha1.RenderedAnnotation: shortHash(string(text))})
	}
	return Object{Resource: obj, Purpose: purpose, Foreign: func(live metav1.Object) bool {
		return !IsOurs(live, p) && live.GetAnnotations()[berthv1alpha1.RenderedAnnotation] == ""
	}}
}

// filler puts the profile's name in place of {{ .profile }}, which is all the templating that there is, and keeps the
// first error.
type filler struct {
	profile string
	err     error
}

var profilePlace = regexp.MustCompile(`\{\{\s*\.profile\s*\}\}`)

func (f *filler) in(text string) string {
	return f.plain(profilePlace.ReplaceAllLiteralString(text, f.profile))
}

// plain is text, which must have no templates.
func (f *filler) plain(text string) string {
	if strings.Contains(text, "{{") {
		f.fail("%q has a template other than {{ .profile }}, which is the only one there is", text)
	}
	return text
}

func (f *filler) fail(format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(format, args...)
	}
}

// all is value with all its texts filled in.
func (f *filler) all(value any) any {
	switch value := value.(type) {
	case string:
		return f.in(value)
	case []any:
		for i := range value {
			value[i] = f.all(value[i])
		}
	case map[string]any:
		for key := range value {
			value[key] = f.all(value[key])
		}
	}
	return value
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

func anyList(texts []string) []any {
	var list []any
	for _, text := range texts {
		list = append(list, text)
	}
	return list
}
