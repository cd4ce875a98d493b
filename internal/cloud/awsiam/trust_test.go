// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package awsiam

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/cloud"
)

const (
	clusterA = `arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/AAAA`
	clusterB = `arn:aws:iam::123456789012:oidc-provider/oidc.eks.eu-west-1.amazonaws.com/id/BBBB`
	github   = `arn:aws:iam::123456789012:oidc-provider/token.actions.githubusercontent.com`
	ours     = `system:serviceaccount:team-a:default-editor`
	theirs   = `system:serviceaccount:team-b:default-editor`

	ec2Statement  = `{"Sid":"Machines","Effect":"Allow","Principal":{"Service":"ec2.amazonaws.com"},"Action":"sts:AssumeRole"}`
	denyStatement = `{"Sid":"Never","Effect":"Deny","Principal":{"Federated":"` + clusterA + `"},"Action":"sts:AssumeRoleWithWebIdentity"}`
)

// policy is a trust policy of these statements.
func policy(statements ...string) string {
	return `{"Version":"2012-10-17","Statement":[` + strings.Join(statements, ",") + `]}`
}

// web is a web-identity statement with these conditions; in them, ISSUER stands for the provider's issuer.
func web(provider, conditions string) string {
	issuer, _ := parseProvider(provider)
	return `{"Effect":"Allow","Principal":{"Federated":"` + provider + `"},"Action":"sts:AssumeRoleWithWebIdentity","Condition":` +
		strings.ReplaceAll(conditions, "ISSUER", issuer) + `}`
}

// subs is a web-identity statement as the incumbent writes it, with a JSON value for the subjects.
func subs(provider, value string) string {
	return web(provider, `{"StringEquals":{"ISSUER:aud":["sts.amazonaws.com"],"ISSUER:sub":`+value+`}}`)
}

type trustCase struct {
	doc, want string // want: empty if the document should stay as it is
	wantErr   bool
}

// incumbentAdd is what the incumbent's own tests hold for adding.
var incumbentAdd = map[string]trustCase{
	"incumbent: no subject":    {doc: policy(web(clusterA, `{"StringEquals":{"ISSUER:aud":["sts.amazonaws.com"]}}`)), want: policy(subs(clusterA, `["`+ours+`"]`))},
	"incumbent: empty subject": {doc: policy(subs(clusterA, `[]`)), want: policy(subs(clusterA, `["`+ours+`"]`))},
	"incumbent: other subject": {doc: policy(subs(clusterA, `["`+theirs+`"]`)), want: policy(subs(clusterA, `["`+theirs+`","`+ours+`"]`))},
}

var add = map[string]trustCase{
	"already there, a list":            {doc: policy(subs(clusterA, `["`+theirs+`","`+ours+`"]`))},
	"already there, a string":          {doc: policy(subs(clusterA, `"`+ours+`"`))},
	"already there in a later issuer":  {doc: policy(subs(clusterA, `["`+theirs+`"]`), subs(clusterB, `["`+ours+`"]`))},
	"a subject as a string":            {doc: policy(subs(clusterA, `"`+theirs+`"`)), want: policy(subs(clusterA, `["`+theirs+`","`+ours+`"]`))},
	"an empty string":                  {doc: policy(subs(clusterA, `""`)), want: policy(subs(clusterA, `["`+ours+`"]`))},
	"the placeholder gives way":        {doc: policy(subs(clusterA, `["`+nobody+`"]`)), want: policy(subs(clusterA, `["`+ours+`"]`))},
	"the first of several issuers":     {doc: policy(subs(clusterB, `["`+theirs+`"]`), subs(clusterA, `["`+theirs+`"]`)), want: policy(subs(clusterB, `["`+theirs+`","`+ours+`"]`), subs(clusterA, `["`+theirs+`"]`))},
	"not the first statement":          {doc: policy(ec2Statement, denyStatement, subs(clusterA, `[]`)), want: policy(ec2Statement, denyStatement, subs(clusterA, `["`+ours+`"]`))},
	"not the issuer of a build system": {doc: policy(subs(github, `"repo:acme/app:ref:refs/heads/main"`), subs(clusterA, `[]`)), want: policy(subs(github, `"repo:acme/app:ref:refs/heads/main"`), subs(clusterA, `["`+ours+`"]`))},
	"no condition at all": {
		doc:  policy(`{"Effect":"Allow","Principal":{"Federated":"` + clusterA + `"},"Action":["sts:TagSession","sts:assumerolewithwebidentity"]}`),
		want: policy(`{"Effect":"Allow","Principal":{"Federated":"` + clusterA + `"},"Action":["sts:TagSession","sts:assumerolewithwebidentity"],"Condition":{"StringEquals":{"oidc.eks.eu-west-1.amazonaws.com/id/AAAA:sub":["` + ours + `"]}}}`),
	},
	"everything else survives": {
		doc: `{"Version":"2012-10-17","Id":"x<y>","Statement":[` + ec2Statement + `,` + web(clusterA,
			`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"StringEquals":{"ISSUER:aud":["other","sts.amazonaws.com"],"ISSUER:sub":"`+theirs+`"},"StringLike":{"aws:RequestTag/team":"ml-*"}}`) + `]}`,
		want: `{"Version":"2012-10-17","Id":"x<y>","Statement":[` + ec2Statement + `,` + web(clusterA,
			`{"IpAddress":{"aws:SourceIp":"10.0.0.0/8"},"StringEquals":{"ISSUER:aud":["other","sts.amazonaws.com"],"ISSUER:sub":["`+theirs+`","`+ours+`"]},"StringLike":{"aws:RequestTag/team":"ml-*"}}`) + `]}`,
	},
	"one statement, not a list": {doc: `{"Statement":` + subs(clusterA, `[]`) + `,"Version":"2012-10-17"}`, want: `{"Statement":` + subs(clusterA, `["`+ours+`"]`) + `,"Version":"2012-10-17"}`},
	"a pattern stays alone": {
		doc:  policy(web(clusterA, `{"StringLike":{"ISSUER:sub":"system:serviceaccount:ci-*:*"}}`)),
		want: policy(web(clusterA, `{"StringLike":{"ISSUER:sub":"system:serviceaccount:ci-*:*"}}`), subs(clusterA, `["`+ours+`"]`)),
	},
	"one pattern, not a list": {
		doc:  `{"Statement":` + web(clusterA, `{"StringLike":{"ISSUER:sub":"system:serviceaccount:ci-*:*"}}`) + `}`,
		want: `{"Statement":[` + web(clusterA, `{"StringLike":{"ISSUER:sub":"system:serviceaccount:ci-*:*"}}`) + `,` + subs(clusterA, `["`+ours+`"]`) + `]}`,
	},
	"a pattern before a suitable statement": {
		doc:  policy(web(clusterA, `{"StringLike":{"ISSUER:sub":"system:serviceaccount:ci-*:*"}}`), subs(clusterA, `["`+theirs+`"]`)),
		want: policy(web(clusterA, `{"StringLike":{"ISSUER:sub":"system:serviceaccount:ci-*:*"}}`), subs(clusterA, `["`+theirs+`","`+ours+`"]`)),
	},
	"a subject that a pattern narrows does not count": {
		doc:  policy(web(clusterA, `{"StringLike":{"ISSUER:sub":"*:prod"},"StringEquals":{"ISSUER:sub":"`+ours+`"}}`)),
		want: policy(web(clusterA, `{"StringLike":{"ISSUER:sub":"*:prod"},"StringEquals":{"ISSUER:sub":"`+ours+`"}}`), subs(clusterA, `["`+ours+`"]`)),
	},
	"other principals beside": {
		doc: policy(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:root","Federated":"` + clusterA + `"},"Action":"sts:AssumeRoleWithWebIdentity"}`),
		want: policy(`{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:root","Federated":"`+clusterA+`"},"Action":"sts:AssumeRoleWithWebIdentity"}`,
			subs(clusterA, `["`+ours+`"]`)),
	},
	"no web identity":          {doc: policy(ec2Statement), wantErr: true},
	"only another issuer kind": {doc: policy(subs(github, `"repo:acme/app:*"`)), wantErr: true},
	"only a denial":            {doc: policy(denyStatement), wantErr: true},
	"no statements":            {doc: policy(), wantErr: true},
	"no statement key":         {doc: `{"Version":"2012-10-17"}`, wantErr: true},
	"empty":                    {doc: ``, wantErr: true},
	"no object":                {doc: `[]`, wantErr: true},
	"null":                     {doc: `null`, wantErr: true},
	"two objects":              {doc: `{}{}`, wantErr: true},
	"keys twice":               {doc: `{"Statement":[],"Statement":[]}`, wantErr: true},
	"statements of any type":   {doc: `{"Statement":[null,1,"x",[],{},{"Effect":1},{"Effect":"Allow","Principal":"*","Action":{}}]}`, wantErr: true},
}

var remove = map[string]trustCase{
	"incumbent: one of two": {doc: policy(subs(clusterA, `["`+theirs+`","`+ours+`"]`)), want: policy(subs(clusterA, `["`+theirs+`"]`))},
	// Where the incumbent drops the condition, and with it every bar.
	"incumbent differs: last one":  {doc: policy(subs(clusterA, `["`+ours+`"]`)), want: policy(subs(clusterA, `["`+nobody+`"]`))},
	"the last one, a string":       {doc: policy(subs(clusterA, `"`+ours+`"`)), want: policy(subs(clusterA, `["`+nobody+`"]`))},
	"in two statements":            {doc: policy(subs(clusterA, `["`+ours+`"]`), ec2Statement, subs(clusterB, `["`+ours+`","`+theirs+`"]`)), want: policy(subs(clusterA, `["`+nobody+`"]`), ec2Statement, subs(clusterB, `["`+theirs+`"]`))},
	"twice in one":                 {doc: policy(subs(clusterA, `["`+ours+`","`+theirs+`","`+ours+`"]`)), want: policy(subs(clusterA, `["`+theirs+`"]`))},
	"beside a pattern":             {doc: policy(web(clusterA, `{"StringLike":{"ISSUER:sub":"*"},"StringEquals":{"ISSUER:sub":"`+ours+`"}}`)), want: policy(web(clusterA, `{"StringLike":{"ISSUER:sub":"*"},"StringEquals":{"ISSUER:sub":["`+nobody+`"]}}`))},
	"one statement, not a list":    {doc: `{"Statement":` + subs(clusterA, `["`+ours+`"]`) + `}`, want: `{"Statement":` + subs(clusterA, `["`+nobody+`"]`) + `}`},
	"not there":                    {doc: policy(ec2Statement, subs(clusterA, `["`+theirs+`"]`))},
	"never a pattern":              {doc: policy(web(clusterA, `{"StringLike":{"ISSUER:sub":"`+ours+`"}}`))},
	"never a denial":               {doc: policy(strings.Replace(subs(clusterA, `["`+ours+`"]`), "Allow", "Deny", 1))},
	"no subject condition":         {doc: policy(web(clusterA, `{"StringEquals":{"ISSUER:aud":"sts.amazonaws.com"}}`))},
	"no web identity":              {doc: policy(ec2Statement)},
	"statements of any type":       {doc: `{"Statement":[null,1,"x",[],{},{"Effect":"Allow","Principal":"*","Condition":[]}]}`},
	"no object":                    {doc: `"x"`, wantErr: true},
	"a list of strings as objects": {doc: `{"Statement":"x"}`, wantErr: true},
}

func TestAddSubject(t *testing.T) {
	for name, tc := range incumbentAdd {
		t.Run(name, func(t *testing.T) { tc.check(t, addSubject) })
	}
	for name, tc := range add {
		t.Run(name, func(t *testing.T) { tc.check(t, addSubject) })
	}
}

func TestRemoveSubject(t *testing.T) {
	for name, tc := range remove {
		t.Run(name, func(t *testing.T) { tc.check(t, removeSubject) })
	}
}

func (tc trustCase) check(t *testing.T, edit func(doc, namespace string) (string, bool, error)) {
	t.Helper()
	got, changed, err := edit(tc.doc, "team-a")
	if tc.wantErr {
		if !errors.Is(err, cloud.ErrInvalid) {
			t.Errorf("got %s, error %v, want ErrInvalid", got, err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	want := tc.want
	if want == "" {
		want = tc.doc
	}
	// As text, not only as JSON: the order of the keys is kept too.
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
	if changed != (tc.want != "") {
		t.Errorf("changed: %t", changed)
	}
	if again, changed, err := edit(got, "team-a"); changed || err != nil || again != got {
		t.Errorf("a second time: %s, changed %t, error %v", again, changed, err)
	}
}

func TestEdit_refusesWhatIsNoNamespace(t *testing.T) {
	for _, ns := range []string{"", "*", "a.b", "a:b"} {
		if _, _, err := addSubject(policy(subs(clusterA, `[]`)), ns); !errors.Is(err, cloud.ErrInvalid) {
			t.Errorf("add %q: %v", ns, err)
		}
		if _, _, err := removeSubject(policy(subs(clusterA, `[]`)), ns); !errors.Is(err, cloud.ErrInvalid) {
			t.Errorf("remove %q: %v", ns, err)
		}
	}
}

// FuzzTrust holds the laws: no panic, valid JSON, foreign statements untouched, an edit is final, and what was closed
// to other ServiceAccounts stays closed.
func FuzzTrust(f *testing.F) {
	for _, cases := range []map[string]trustCase{incumbentAdd, add, remove} {
		for _, tc := range cases {
			f.Add(tc.doc)
		}
	}
	f.Fuzz(func(t *testing.T, doc string) {
		cleared, _, err := removeSubject(doc, "team-a")
		if err == nil {
			checkEdit(t, doc, cleared, removeSubject)
		}
		added, _, err := addSubject(doc, "team-a")
		if err != nil {
			return
		}
		checkEdit(t, doc, added, addSubject)
		removed, changed, err := removeSubject(added, "team-a")
		if err != nil || !changed {
			t.Fatalf("take out of %s what was added to %s: changed %t, error %v", added, doc, changed, err)
		}
		checkEdit(t, added, removed, removeSubject)
	})
}

func checkEdit(t *testing.T, before, after string, edit func(doc, namespace string) (string, bool, error)) {
	t.Helper()
	if !json.Valid([]byte(after)) {
		t.Fatalf("%s became invalid: %s", before, after)
	}
	if again, changed, err := edit(after, "team-a"); changed || err != nil {
		t.Fatalf("%s is not final: %s, error %v", after, again, err)
	}
	was, _ := parseTrust(before)
	is, _ := parseTrust(after)
	if len(is.statements) < len(was.statements) {
		t.Fatalf("%s lost statements: %s", before, after)
	}
	for i, raw := range was.statements {
		fields, _ := parseObject(raw)
		if principal, _ := parseObject(fields.get("Principal")); principal.get("Federated") != nil {
			checkClosed(t, raw, is.statements[i])
			continue
		}
		if diff := cmp.Diff(compact(raw), compact(is.statements[i])); diff != "" {
			t.Fatalf("foreign statement changed:\n%s", diff)
		}
	}
}

// checkClosed: a statement with a subject condition never becomes one without.
func checkClosed(t *testing.T, before, after json.RawMessage) {
	t.Helper()
	was, ok := parseStatement(before)
	if !ok || len(was.subjects) == 0 {
		return
	}
	if is, ok := parseStatement(after); !ok || len(is.subjects) == 0 {
		t.Fatalf("%s lost its subject condition: %s", before, after)
	}
}

func compact(raw json.RawMessage) string {
	out, _ := json.Marshal(raw)
	return string(out)
}
