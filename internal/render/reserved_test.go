// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package render

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The API refuses the same names that the controller never takes.
func TestReserved_isTheListOfTheAPI(t *testing.T) {
	data, err := os.ReadFile("../../api/crds/kubeflow.org_profiles.yaml")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(data)), " ") // rules are wrapped anywhere
	rules := regexp.MustCompile(`startsWith\('+kube-'+\) \|\| self\.metadata\.name in \[([^\]]*)\]`).FindAllStringSubmatch(text, -1)
	if len(rules) != 2 {
		t.Fatalf("%d versions have the rule, want 2", len(rules))
	}
	for _, rule := range rules {
		var names []string
		for name := range strings.SplitSeq(rule[1], ",") {
			names = append(names, strings.Trim(strings.TrimSpace(name), "'"))
		}
		slices.Sort(names)
		if d := cmp.Diff(reserved, names); d != "" {
			t.Errorf("reserved names (-Go +CRD):\n%s", d)
		}
	}
}
