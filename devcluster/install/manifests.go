// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package install puts into a fresh control plane what a Kubeflow cluster has before its first tenant: the CRDs of
// Istio and of Berth, and the aggregated ClusterRoles.
package install

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// CRDs returns the CustomResourceDefinitions in the YAML files of the directories. Other documents, such as a
// kustomization, are passed over. If several directories define one CRD, the last wins.
func CRDs(dirs []string) ([]*unstructured.Unstructured, error) {
	var crds []*unstructured.Unstructured
	index := map[string]int{}
	for _, dir := range dirs {
		objects, err := readDir(dir)
		if err != nil {
			return nil, err
		}
		for _, object := range objects {
			if object.GetKind() != "CustomResourceDefinition" {
				continue
			}
			if i, seen := index[object.GetName()]; seen {
				crds[i] = object
				continue
			}
			index[object.GetName()] = len(crds)
			crds = append(crds, object)
		}
	}
	return crds, nil
}

func readDir(dir string) ([]*unstructured.Unstructured, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	for _, entry := range entries {
		if !isManifest(entry) {
			continue
		}
		path := filepath.Join(dir, entry.Name())
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		parsed, err := parse(content)
		if err != nil {
			return nil, fmt.Errorf("read %q: %w", path, err)
		}
		objects = append(objects, parsed...)
	}
	return objects, nil
}

// isManifest passes over hidden files: editors and generators keep half-written files under such names.
func isManifest(entry fs.DirEntry) bool {
	switch filepath.Ext(entry.Name()) {
	case ".yaml", ".yml", ".json":
		return !entry.IsDir() && !strings.HasPrefix(entry.Name(), ".")
	}
	return false
}

// parse returns the objects of a file with any number of YAML documents.
func parse(content []byte) ([]*unstructured.Unstructured, error) {
	var objects []*unstructured.Unstructured
	reader := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(document, &object.Object); err != nil {
			return nil, err
		}
		if object.GetKind() != "" {
			objects = append(objects, object)
		}
	}
}
