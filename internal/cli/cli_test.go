// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"slices"
	"testing"
)

func TestArguments(t *testing.T) {
	cases := map[string]struct{ in, want []string }{
		"as berth":                     {[]string{"berth", "render", "-f", "x"}, []string{"render", "-f", "x"}},
		"as /manager":                  {[]string{"/manager", "-userid-header", "h"}, []string{"controller", "-userid-header", "h"}},
		"as /manager without flags":    {[]string{"/manager"}, []string{"controller"}},
		"as ./manager":                 {[]string{"./manager", "--leader-elect"}, []string{"controller", "--leader-elect"}},
		"as /access-management":        {[]string{"/access-management", "-cluster-admin", "a"}, []string{"kfam", "-trust-header=always", "-cluster-admin", "a"}},
		"in a directory of that name":  {[]string{"/manager/berth", "render"}, []string{"render"}},
		"with a name that begins so":   {[]string{"/manager-1", "render"}, []string{"render"}},
		"as berth with a word of that": {[]string{"berth", "manager"}, []string{"manager"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := arguments(tc.in); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestMain_exitCodes(t *testing.T) {
	cases := map[string]struct {
		args []string
		want int
	}{
		"help":                    {[]string{"berth", "--help"}, 0},
		"version":                 {[]string{"berth", "--version"}, 0},
		"help of the controller":  {[]string{"berth", "controller", "-help"}, 0},
		"help as /manager":        {[]string{"/manager", "--help"}, 0},
		"an unknown command":      {[]string{"berth", "nope"}, 1},
		"an unknown flag":         {[]string{"/manager", "-nope"}, 1},
		"render without a file":   {[]string{"berth", "render"}, 1},
		"help as kubectl berth":   {[]string{"/usr/local/bin/kubectl-berth", "access", "--help"}, 0},
		"render of a lost file":   {[]string{"berth", "render", "-f", "/not/there.yaml"}, 1},
		"a configuration amiss":   {[]string{"/manager", "-config", "/not/there.yaml"}, 1},
		"a mesh that is not one":  {[]string{"/manager", "-service-mesh-mode", "none"}, 1},
		"render with stray words": {[]string{"berth", "render", "-f", "-", "word"}, 1},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := Main(tc.args); got != tc.want {
				t.Errorf("exit code is %d, want %d", got, tc.want)
			}
		})
	}
}
