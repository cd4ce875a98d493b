// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"slices"

	securityv1beta1 "istio.io/client-go/pkg/apis/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/pmr"
)

// maxFile is the largest file, in bytes, that a directory may have.
const maxFile = 1 << 30

// Files reads what a cluster had when its objects were written into the YAML or JSON files of a directory, as kubectl get
// prints them. Kinds that say nothing about profiles are skipped.
func Files(dir fs.FS) (pmr.Have, error) {
	var found objects
	err := fs.WalkDir(dir, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !slices.Contains([]string{".yaml", ".yml", ".json"}, path.Ext(name)) {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		if info.Size() > maxFile {
			return fmt.Errorf("%s has %d bytes: at most %d are read", name, info.Size(), maxFile)
		}
		data, err := fs.ReadFile(dir, name)
		if err != nil {
			return err
		}
		return found.file(name, data)
	})
	if err != nil {
		return pmr.Have{}, fmt.Errorf("read the snapshot: %w", err)
	}
	if len(found.profiles.Items)+len(found.namespaces.Items)+len(found.bindings.Items)+len(found.policies.Items) == 0 {
		return pmr.Have{}, errors.New("read the snapshot: there is no Profile, Namespace, RoleBinding or AuthorizationPolicy in any .yaml or .json file")
	}
	return read(found.list)
}

// objects are what files have.
type objects struct {
	profiles   kubeflowv1.ProfileList
	namespaces corev1.NamespaceList
	bindings   rbacv1.RoleBindingList
	policies   securityv1beta1.AuthorizationPolicyList
}

// list hands out the objects of a kind.
func (o *objects) list(into client.ObjectList, use func()) error {
	switch into := into.(type) {
	case *kubeflowv1.ProfileList:
		*into = o.profiles
	case *corev1.NamespaceList:
		*into = o.namespaces
	case *rbacv1.RoleBindingList:
		*into = o.bindings
	case *securityv1beta1.AuthorizationPolicyList:
		into.Items = o.policies.Items
	}
	use()
	return nil
}

// file adds the objects of a file.
func (o *objects) file(name string, data []byte) error {
	line := 1
	for len(data) > 0 {
		document, rest := cutDocument(data)
		if err := o.document(document); err != nil {
			return fmt.Errorf("%s, in the document from line %d on: %w", name, line+leading(document), err)
		}
		line += bytes.Count(data[:len(data)-len(rest)], []byte("\n"))
		data = rest
	}
	return nil
}

// cutDocument cuts data after the line that ends its first document.
func cutDocument(data []byte) (document, rest []byte) {
	for at := 0; at < len(data); {
		end := len(data)
		if newline := bytes.IndexByte(data[at:], '\n'); newline >= 0 {
			end = at + newline + 1
		}
		if line := bytes.TrimRight(data[at:end], " \t\r\n"); bytes.Equal(line, []byte("---")) || bytes.HasPrefix(line, []byte("--- ")) {
			return data[:at], data[end:]
		}
		at = end
	}
	return data, nil
}

// leading counts the empty lines that document begins with.
func leading(document []byte) int {
	return bytes.Count(document[:len(document)-len(bytes.TrimLeft(document, " \t\r\n"))], []byte("\n"))
}

// document adds the object, or the list of objects, of a document.
func (o *objects) document(data []byte) error {
	var head struct {
		metav1.TypeMeta

		Items []runtime.RawExtension `json:"items"`
	}
	if len(bytes.TrimSpace(data)) == 0 {
		return nil
	}
	asJSON, err := yaml.YAMLToJSON(data)
	if err != nil {
		return fmt.Errorf("this is not YAML: %w", err)
	}
	if string(asJSON) == "null" {
		return nil // comments alone
	}
	if err := yaml.Unmarshal(asJSON, &head); err != nil {
		return fmt.Errorf("this is no Kubernetes object: %w", err)
	}
	if head.Items == nil {
		return o.add(head.TypeMeta, asJSON)
	}
	for i, item := range head.Items {
		var of metav1.TypeMeta
		if err := yaml.Unmarshal(item.Raw, &of); err != nil {
			return fmt.Errorf("items[%d] is no Kubernetes object: %w", i, err)
		}
		if of.Kind == "" { // a list of one kind need not repeat it
			of = metav1.TypeMeta{APIVersion: head.APIVersion, Kind: head.Kind[:max(0, len(head.Kind)-len("List"))]}
		}
		if err := o.add(of, item.Raw); err != nil {
			return fmt.Errorf("items[%d]: %w", i, err)
		}
	}
	return nil
}

// add adds an object of one of the kinds that are looked at.
func (o *objects) add(of metav1.TypeMeta, asJSON []byte) error {
	var err error
	switch of.GroupVersionKind().GroupKind() {
	case kubeflowv1.GroupVersion.WithKind("Profile").GroupKind(): // its JSON is the same in all versions
		o.profiles.Items, err = appended(o.profiles.Items, asJSON)
	case corev1.SchemeGroupVersion.WithKind("Namespace").GroupKind():
		o.namespaces.Items, err = appended(o.namespaces.Items, asJSON)
	case rbacv1.SchemeGroupVersion.WithKind("RoleBinding").GroupKind():
		o.bindings.Items, err = appended(o.bindings.Items, asJSON)
	case securityv1beta1.SchemeGroupVersion.WithKind("AuthorizationPolicy").GroupKind():
		policy := metav1.PartialObjectMetadata{} // what it says decides nothing
		if err = yaml.Unmarshal(asJSON, &policy); err == nil {
			o.policies.Items = append(o.policies.Items, &securityv1beta1.AuthorizationPolicy{ObjectMeta: policy.ObjectMeta})
		}
	}
	if err != nil {
		return fmt.Errorf("this is no %s: %w", of.Kind, err)
	}
	return nil
}

func appended[T any](items []T, asJSON []byte) ([]T, error) {
	var item T
	if err := yaml.Unmarshal(asJSON, &item); err != nil {
		return items, err
	}
	return append(items, item), nil
}
