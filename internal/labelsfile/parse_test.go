// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package labelsfile

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/util/validation"
)

func TestParse(t *testing.T) {
	long := strings.Repeat("x", 63)
	cases := map[string]struct {
		in   string
		want map[string]string
	}{
		"the file of Kubeflow's manifests": {
			in: "# a comment\napp.kubernetes.io/part-of: \"kubeflow-profile\"\nistio-injection: \"\" # another\n" +
				"pipelines.kubeflow.org/enabled: \"true\"\n",
			want: map[string]string{"app.kubernetes.io/part-of": "kubeflow-profile", "istio-injection": "", "pipelines.kubeflow.org/enabled": "true"},
		},
		"true keeps its text":            {in: "k: true", want: map[string]string{"k": "true"}},
		"yes keeps its text":             {in: "k: yes", want: map[string]string{"k": "yes"}},
		"a number keeps its text":        {in: "k: 5", want: map[string]string{"k": "5"}},
		"an octal keeps its text":        {in: "k: 0010", want: map[string]string{"k": "0010"}},
		"a fraction keeps its text":      {in: "k: 1.50", want: map[string]string{"k": "1.50"}},
		"a date keeps its text":          {in: "k: 2026-01-02", want: map[string]string{"k": "2026-01-02"}},
		"a big number keeps its text":    {in: "k: 12345678901234567890", want: map[string]string{"k": "12345678901234567890"}},
		"null is empty":                  {in: "k: null", want: map[string]string{"k": ""}},
		"a tilde is empty":               {in: "k: ~", want: map[string]string{"k": ""}},
		"no value is empty":              {in: "k:", want: map[string]string{"k": ""}},
		"a number as key":                {in: "5: v", want: map[string]string{"5": "v"}},
		"of a key twice the last counts": {in: "k: a\nk: b", want: map[string]string{"k": "b"}},
		"an empty file":                  {in: ""},
		"comments alone":                 {in: "# nothing\n"},
		"an empty mapping":               {in: "{}"},
		"null alone":                     {in: "null"},
		"one document, with its mark":    {in: "---\nk: v\n", want: map[string]string{"k": "v"}},
		"a byte order mark":              {in: "\ufeffk: v\n", want: map[string]string{"k": "v"}},
		"line ends of Windows":           {in: "k: v\r\nl: w\r\n", want: map[string]string{"k": "v", "l": "w"}},
		"as JSON":                        {in: `{"k": "v", "l": 5}`, want: map[string]string{"k": "v", "l": "5"}},
		"by reference":                   {in: "k: &x v\nl: *x", want: map[string]string{"k": "v", "l": "v"}},
		"the longest value":              {in: "k: " + long, want: map[string]string{"k": long}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := Parse([]byte(tc.in))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want, +got:\n%s", diff)
			}
		})
	}
}

func TestParse_refused(t *testing.T) {
	long := strings.Repeat("x", 64)
	cases := map[string]struct {
		in string
		// want is in the error: the label at fault.
		want string
	}{
		"a list":                  {in: "- a\n- b"},
		"a word":                  {in: "word"},
		"a list as value":         {in: "k: [a, b]"},
		"a mapping as value":      {in: "k: {a: b}"},
		"a mapping below":         {in: "k:\n  a: b\n"},
		"no YAML":                 {in: "k: v\n\tx: y\n"},
		"an open quote":           {in: "k: \"v\n"},
		"an unknown anchor":       {in: "k: *x"},
		"a blank in a value":      {in: "k: a b", want: `"a b"`},
		"a long value":            {in: "k: " + long, want: `"k"`},
		"a value with a slash":    {in: "k: a/b", want: `"a/b"`},
		"a value that ends badly": {in: "k: a-", want: `"a-"`},
		"a long key":              {in: long + ": v", want: long},
		"a key with a blank":      {in: "a b: v", want: `"a b"`},
		"a key with two slashes":  {in: "a/b/c: v", want: `"a/b/c"`},
		"an empty key":            {in: "'': v", want: `""`},
		"a key that is removed":   {in: "a b: ''", want: `"a b"`},
		"the first of two":        {in: "z z: v\na a: v", want: `"a a"`},
		"a bomb":                  {in: bomb(), want: ""},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := Parse([]byte(tc.in))
			if err == nil {
				t.Fatalf("accepted as %v", got)
			}
			if !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error does not name %s: %v", tc.want, err)
			}
		})
	}
}

// bomb is a small file that would be a huge value.
func bomb() string {
	var b strings.Builder
	b.WriteString("a0: &a0 [x, x]\n")
	for i := 1; i < 30; i++ {
		fmt.Fprintf(&b, "a%d: &a%d [*a%d, *a%d, *a%d]\n", i, i, i-1, i-1, i-1)
	}
	return b.String()
}

func TestParse_huge(t *testing.T) {
	var file strings.Builder
	for i := range 20_000 {
		fmt.Fprintf(&file, "k%d: v\n", i)
	}
	if got, err := Parse([]byte(file.String())); err != nil || len(got) != 20_000 {
		t.Errorf("read %d labels: %v", len(got), err)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"", "k: v", "k: true\nl: ~", "- a", "? k\n: v", "k: &x v\nl: *x", "!!binary k: dg==", "\ufeffk: v", "k: |\n  v", "<<: {k: v}", bomb()} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		labels, err := Parse(data)
		if err != nil {
			return
		}
		for key, value := range labels {
			if len(validation.IsQualifiedName(key))+len(validation.IsValidLabelValue(value)) > 0 {
				t.Errorf("no label: %q: %q", key, value)
			}
		}
		if again, err := Parse(data); err != nil || !cmp.Equal(labels, again) {
			t.Errorf("read again it is %v, not %v: %v", again, labels, err)
		}
	})
}
