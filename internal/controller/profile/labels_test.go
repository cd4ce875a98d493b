// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package profile_test

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/controller/controllertest"
	"berth.dev/berth/internal/testkit"
)

type labels = map[string]string

// labelsFile writes a namespace labels file into a directory of its own.
func labelsFile(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "namespace-labels.yaml")
	writeFile(t, path, content)
	return path
}

func writeFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// awaitLabels waits until the namespace has exactly these labels, besides the one that every namespace has and ours.
func awaitLabels(t *testing.T, c client.Client, namespace string, want labels) {
	t.Helper()
	testkit.Eventually(t, patience, func() error {
		have := maps.Clone(read(t, c, namespaceKind.object("", namespace)).GetLabels())
		delete(have, "kubernetes.io/metadata.name")
		delete(have, managedBy)
		if d := cmp.Diff(want, have); d != "" {
			return fmt.Errorf("labels of namespace %q (-want +got):\n%s", namespace, d)
		}
		return nil
	})
}

// adopted creates a namespace that is given to the owner of profiles, with labels, and the profile.
func adopted(t *testing.T, c client.Client, have labels) *kubeflowv1.Profile {
	t.Helper()
	p := controllertest.Profile(testkit.Name(t, "adopted"))
	create(t, c, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: p.Name, Labels: have, Annotations: map[string]string{"owner": controllertest.Owner},
	}})
	return create(t, c, p)
}

// MUST keep: the format of the labels file and its rule, on namespaces that the controller makes and on existing ones.
func TestLabelsFile_rule(t *testing.T) {
	cfg, c := onOwn(t)
	path := labelsFile(t, `
added: "by-the-file"
kept: by-the-file
emptied: ""
nulled:
flag: true
number: 5
`)
	controllertest.Start(t, cfg, controllertest.WithLabelsFile(path))
	made := readyProfile(t, c)
	awaitLabels(t, c, made.Name, labels{
		"istio-injection": "enabled", "added": "by-the-file", "kept": "by-the-file", "flag": "true", "number": "5",
	})
	existing := adopted(t, c, labels{"kept": "foreign", "emptied": "foreign", "nulled": "foreign", "other": "foreign"})
	controllertest.AwaitReady(t, c, existing.Name)
	awaitLabels(t, c, existing.Name, labels{
		"added": "by-the-file", "kept": "foreign", "flag": "true", "number": "5", "other": "foreign",
	})

	// A value is never overwritten, not even our own: changing it takes a removal first.
	writeFile(t, path, "added: another\nmark: \"1\"\n")
	awaitLabels(t, c, made.Name, labels{"istio-injection": "enabled", "added": "by-the-file", "mark": "1"})
	writeFile(t, path, "added: \"\"\n")
	awaitLabels(t, c, made.Name, labels{"istio-injection": "enabled"})
	writeFile(t, path, "added: another\n")
	awaitLabels(t, c, made.Name, labels{"istio-injection": "enabled", "added": "another"})
}

// MUST keep: istio-injection: "" makes namespaces without the label and takes it off others; no other value counts.
func TestLabelsFile_istioInjection(t *testing.T) {
	cfg, c := onOwn(t)
	path := labelsFile(t, "istio-injection: disabled\n")
	controllertest.Start(t, cfg, controllertest.WithLabelsFile(path))
	made := readyProfile(t, c)
	awaitLabels(t, c, made.Name, labels{"istio-injection": "enabled"})
	existing := adopted(t, c, labels{"istio-injection": "enabled"})
	controllertest.AwaitReady(t, c, existing.Name)

	writeFile(t, path, "istio-injection: \"\"\nistio.io/dataplane-mode: ambient\n")
	awaitLabels(t, c, made.Name, labels{"istio.io/dataplane-mode": "ambient"})
	awaitLabels(t, c, existing.Name, labels{"istio.io/dataplane-mode": "ambient"})
	awaitLabels(t, c, readyProfile(t, c).Name, labels{"istio.io/dataplane-mode": "ambient"})
}

// Defect 13: a key dropped from the file is removed where it was set by us, also by an earlier process.
func TestLabelsFile_droppedKeyGoesWhereItWasOurs(t *testing.T) {
	cfg, c := onOwn(t)
	path := labelsFile(t, "stays: \"1\"\ndropped: \"1\"\n")
	first := controllertest.Start(t, cfg, controllertest.WithLabelsFile(path))
	made := readyProfile(t, c)
	changed := readyProfile(t, c)
	edit(t, c, namespaceKind.object("", changed.Name), set("somebody-else", "metadata", "labels", "dropped"))
	foreign := adopted(t, c, labels{"dropped": "1"})
	controllertest.AwaitReady(t, c, foreign.Name)
	first.Stop(t)

	writeFile(t, path, "stays: \"1\"\n")
	controllertest.Start(t, cfg, controllertest.WithLabelsFile(path))
	awaitLabels(t, c, made.Name, labels{"istio-injection": "enabled", "stays": "1"})
	awaitLabels(t, c, changed.Name, labels{"istio-injection": "enabled", "stays": "1", "dropped": "somebody-else"})
	awaitLabels(t, c, foreign.Name, labels{"stays": "1", "dropped": "1"})
}

// MUST keep: a changed file is noticed, however it was changed.
func TestLabelsFile_changesAreNoticed(t *testing.T) {
	cases := map[string]func(t *testing.T, path, content string){
		"written":  writeFile,
		"replaced": replaceFile,
		"swapped":  swapConfigMap,
	}
	cfg, c := onOwn(t)
	for name, change := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "namespace-labels.yaml")
			change(t, path, "v: \"1\"\n")
			running := controllertest.Start(t, cfg, controllertest.WithLabelsFile(path))
			p := readyProfile(t, c)
			awaitLabels(t, c, p.Name, labels{"istio-injection": "enabled", "v": "1"})
			for _, key := range []string{"w", "x", "y"} { // again and again
				change(t, path, key+": \"1\"\n")
				awaitLabels(t, c, p.Name, labels{"istio-injection": "enabled", key: "1"})
			}
			running.Stop(t)
		})
	}
}

// replaceFile writes a new file and renames it over the old one, as editors do.
func replaceFile(t *testing.T, path, content string) {
	t.Helper()
	writeFile(t, path+".new", content)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// swapConfigMap changes the file as the kubelet changes those of a mounted ConfigMap.
func swapConfigMap(t *testing.T, path, content string) {
	t.Helper()
	dir, name := filepath.Split(path)
	data := filepath.Join(dir, "..data_"+testkit.Name(t, "version"))
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(data, name), content)
	swap := filepath.Join(dir, "..data_tmp")
	if err := os.Symlink(filepath.Base(data), swap); err != nil {
		t.Fatal(err)
	}
	old, err := os.Readlink(filepath.Join(dir, "..data"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.Rename(swap, filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if old == "" {
		err = os.Symlink(filepath.Join("..data", name), path)
	} else {
		err = os.RemoveAll(filepath.Join(dir, old))
	}
	if err != nil {
		t.Fatal(err)
	}
}

// Defect 13: a file that can't be used ends nothing. The last good labels stay in force, and it is told.
func TestLabelsFile_badOnReloadKeepsTheLastGoodLabels(t *testing.T) {
	cases := map[string]string{
		"not YAML":       "a: [",
		"a list":         "- a\n- b\n",
		"nested":         "a:\n  b: c\n",
		"no valid label": "\"not a key\": x\n",
	}
	cfg, c := onOwn(t)
	metrics := servedMetrics(t)
	path := labelsFile(t, "good: \"1\"\n")
	told := labelsEvents(t, c)
	controllertest.Start(t, cfg, controllertest.WithLabelsFile(path), metrics.option)
	for name, content := range cases {
		t.Run(name, func(t *testing.T) {
			writeFile(t, path, "good: \"1\"\n")
			awaitLabels(t, c, readyProfile(t, c).Name, labels{"istio-injection": "enabled", "good": "1"})
			failures := metrics.value(t, "berth_namespace_labels_failures_total")
			writeFile(t, path, content)
			testkit.Eventually(t, patience, func() error {
				if have := metrics.value(t, "berth_namespace_labels_failures_total"); have <= failures {
					return fmt.Errorf("%v failures counted, want more", have)
				}
				if labelsEvents(t, c) <= told { // what follows within minutes is counted as more of the same
					return errors.New("no Event tells that the file is bad")
				}
				return nil
			})
			awaitLabels(t, c, readyProfile(t, c).Name, labels{"istio-injection": "enabled", "good": "1"})
		})
	}
}

// labelsEvents counts the Events that tell that the labels file can't be used.
func labelsEvents(t *testing.T, c client.Client) int {
	t.Helper()
	var list eventsv1.EventList
	if err := c.List(t.Context(), &list, client.InNamespace(metav1.NamespaceDefault)); err != nil {
		t.Fatal(err)
	}
	return len(slices.DeleteFunc(list.Items, func(e eventsv1.Event) bool { return e.Reason != "NamespaceLabelsInvalid" }))
}

// Defect 13: bad from the start, nothing is touched and nothing is made that may lack the labels that make it safe.
func TestLabelsFile_badAtTheStart(t *testing.T) {
	cfg, c := onOwn(t)
	path := labelsFile(t, "good: \"1\"\n")
	first := controllertest.Start(t, cfg, controllertest.WithLabelsFile(path))
	existing := readyProfile(t, c)
	want := readTenant(t, c, existing)
	first.Stop(t)
	told := labelsEvents(t, c)

	writeFile(t, path, "a: [")
	controllertest.Start(t, cfg, controllertest.WithLabelsFile(path))
	waiting := newProfile(t, c)
	message := awaitRefusal(t, c, waiting.Name, kubeflowv1.ReasonNamespaceLabelsUnreadable)
	if !strings.Contains(message, "mend the file") {
		t.Errorf("the message does not say what to do: %s", message)
	}
	namespace := namespaceKind.object("", waiting.Name)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace); !apierrors.IsNotFound(err) {
		t.Errorf("the namespace was made without its labels (error %v)", err)
	}
	testkit.Eventually(t, patience, func() error {
		if have := labelsEvents(t, c); have <= told {
			return errors.New("nobody was told that the file is bad")
		}
		return nil
	})
	// What is there is still kept in order.
	remove(t, c, bindingKind.object(existing.Name, "namespaceAdmin"))
	awaitTenant(t, c, existing, want)

	writeFile(t, path, "mended: \"1\"\n")
	awaitLabels(t, c, existing.Name, labels{"istio-injection": "enabled", "mended": "1"})
	controllertest.AwaitReady(t, c, waiting.Name)
	awaitLabels(t, c, waiting.Name, labels{"istio-injection": "enabled", "mended": "1"})
}
