// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package gather

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// maxFile is the largest file, in bytes, that a directory may have.
const maxFile = 1 << 30

// add takes an object of a file, as JSON.
type add func(of metav1.TypeMeta, asJSON []byte) error

// walk adds all objects of the YAML and JSON files of a directory.
func walk(dir fs.FS, add add) error {
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
		return add.file(name, data)
	})
	if err != nil {
		return fmt.Errorf("read the snapshot: %w", err)
	}
	return nil
}

// file adds the objects of a file.
func (add add) file(name string, data []byte) error {
	line := 1
	for len(data) > 0 {
		document, rest := cutDocument(data)
		if err := add.document(document); err != nil {
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
func (add add) document(data []byte) error {
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
		return add(head.TypeMeta, asJSON)
	}
	for i, item := range head.Items {
		var of metav1.TypeMeta
		if err := yaml.Unmarshal(item.Raw, &of); err != nil {
			return fmt.Errorf("items[%d] is no Kubernetes object: %w", i, err)
		}
		if of.Kind == "" { // a list of one kind need not repeat it
			of = metav1.TypeMeta{APIVersion: head.APIVersion, Kind: head.Kind[:max(0, len(head.Kind)-len("List"))]}
		}
		if err := add(of, item.Raw); err != nil {
			return fmt.Errorf("items[%d]: %w", i, err)
		}
	}
	return nil
}
