// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cloud_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/cloud"
)

func TestParseRoleARN(t *testing.T) {
	cases := map[string]struct {
		in      string
		want    cloud.RoleARN
		wantErr bool
	}{
		"a plain role":             {in: "arn:aws:iam::123456789012:role/s3-reader", want: cloud.RoleARN{Partition: "aws", Account: "123456789012", Path: "/", Name: "s3-reader"}},
		"a role with a path":       {in: "arn:aws:iam::123456789012:role/ml/team-a/Reader_1", want: cloud.RoleARN{Partition: "aws", Account: "123456789012", Path: "/ml/team-a/", Name: "Reader_1"}},
		"China":                    {in: "arn:aws-cn:iam::1:role/a", want: cloud.RoleARN{Partition: "aws-cn", Account: "1", Path: "/", Name: "a"}},
		"GovCloud":                 {in: "arn:aws-us-gov:iam::1:role/a", want: cloud.RoleARN{Partition: "aws-us-gov", Account: "1", Path: "/", Name: "a"}},
		"nothing":                  {in: "", wantErr: true},
		"the bare name":            {in: "s3-reader", wantErr: true},
		"a user":                   {in: "arn:aws:iam::123456789012:user/ann", wantErr: true},
		"another service":          {in: "arn:aws:sts::123456789012:role/a", wantErr: true},
		"an unknown partition":     {in: "arn:azure:iam::123456789012:role/a", wantErr: true},
		"an account with letters":  {in: "arn:aws:iam::12345678901x:role/a", wantErr: true},
		"no account":               {in: "arn:aws:iam:::role/a", wantErr: true},
		"no name":                  {in: "arn:aws:iam::123456789012:role/path/", wantErr: true},
		"an empty path segment":    {in: "arn:aws:iam::123456789012:role//a", wantErr: true},
		"a name of 65 characters":  {in: "arn:aws:iam::123456789012:role/" + strings.Repeat("a", 65), wantErr: true},
		"a name with a line break": {in: "arn:aws:iam::123456789012:role/a\n", wantErr: true},
		"a name with a wildcard":   {in: "arn:aws:iam::123456789012:role/*", wantErr: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := cloud.ParseRoleARN(tc.in)
			checkParse(t, tc.in, err, tc.wantErr)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want, +got:\n%s", diff)
			}
			if err == nil && got.String() != tc.in {
				t.Errorf("written again: %q", got)
			}
		})
	}
}

func TestParseServiceAccount(t *testing.T) {
	cases := map[string]struct {
		in      string
		want    cloud.GoogleServiceAccount
		wantErr bool
	}{
		"a plain account":           {in: "trainer@team-a.iam.gserviceaccount.com", want: cloud.GoogleServiceAccount{Name: "trainer", Project: "team-a"}},
		"a domain-scoped project":   {in: "trainer@proj.example.com.iam.gserviceaccount.com", want: cloud.GoogleServiceAccount{Name: "trainer", Project: "example.com:proj"}},
		"nothing":                   {in: "", wantErr: true},
		"a name too short to slice": {in: "a@b.com", wantErr: true},
		"only the suffix":           {in: ".iam.gserviceaccount.com", wantErr: true},
		"no name":                   {in: "@p1.iam.gserviceaccount.com", wantErr: true},
		"no project":                {in: "a@.iam.gserviceaccount.com", wantErr: true},
		"no at sign":                {in: "a.p1.iam.gserviceaccount.com", wantErr: true},
		"two at signs":              {in: "a@b@p1.iam.gserviceaccount.com", wantErr: true},
		"a user's address":          {in: "ann@example.com", wantErr: true},
		"a slash in the name":       {in: "../a@p1.iam.gserviceaccount.com", wantErr: true},
		"a slash in the project":    {in: "a@p1/x.iam.gserviceaccount.com", wantErr: true},
		"capitals":                  {in: "Trainer@p1.iam.gserviceaccount.com", wantErr: true},
		"a domain with empty label": {in: "a@p1..com.iam.gserviceaccount.com", wantErr: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got, err := cloud.ParseServiceAccount(tc.in)
			checkParse(t, tc.in, err, tc.wantErr)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("-want, +got:\n%s", diff)
			}
			if err == nil && got.Email() != tc.in {
				t.Errorf("written again: %q", got.Email())
			}
		})
	}
}

func checkParse(t *testing.T, in string, err error, wantErr bool) {
	t.Helper()
	if (err != nil) != wantErr {
		t.Fatalf("parse %q: error %v, want one: %t", in, err, wantErr)
	}
	if wantErr && !errors.Is(err, cloud.ErrInvalid) {
		t.Errorf("error %v is not ErrInvalid", err)
	}
}

func TestSubject(t *testing.T) {
	if got, err := cloud.Subject("team-a"); err != nil || got != "system:serviceaccount:team-a:default-editor" {
		t.Errorf("got %q, %v", got, err)
	}
	if got, err := cloud.WorkloadMember("example.com:p1", "team-a"); err != nil || got != "serviceAccount:example.com:p1.svc.id.goog[team-a/default-editor]" {
		t.Errorf("got %q, %v", got, err)
	}
	for _, ns := range []string{"", "*", "a.b", "a:b", "a/b", "A", strings.Repeat("a", 64)} {
		if _, err := cloud.Subject(ns); !errors.Is(err, cloud.ErrInvalid) {
			t.Errorf("subject of namespace %q: error %v, want ErrInvalid", ns, err)
		}
		if _, err := cloud.WorkloadMember("p1", ns); !errors.Is(err, cloud.ErrInvalid) {
			t.Errorf("member of namespace %q: error %v, want ErrInvalid", ns, err)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add("arn:aws:iam::1:role/a/b")
	f.Add("a@p1.example.com.iam.gserviceaccount.com")
	f.Fuzz(func(t *testing.T, in string) {
		if got, err := cloud.ParseRoleARN(in); err == nil && got.String() != in {
			t.Errorf("role %q became %q", in, got)
		}
		if got, err := cloud.ParseServiceAccount(in); err == nil && got.Email() != in {
			t.Errorf("account %q became %q", in, got.Email())
		}
	})
}
