// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package awsiam

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"berth.dev/berth/internal/cloud"
)

const (
	webIdentityAction = "sts:AssumeRoleWithWebIdentity"
	audience          = "sts.amazonaws.com"
	stringEquals      = "StringEquals"

	// subjectPrefix begins the subject of every ServiceAccount; an issuer of other subjects is not a cluster.
	subjectPrefix = "system:serviceaccount:"

	// nobody stands in a subject condition whose last subject was taken out. Without the condition every
	// ServiceAccount of the cluster could assume the role. Nobody can ever hold this one: the name of a namespace
	// has no dots. The next subject takes its place.
	nobody = subjectPrefix + "berth.dev:nobody"
)

// addSubject lets the default-editor of a namespace assume the role; changed is false where it may already.
func addSubject(doc, namespace string) (newDoc string, changed bool, err error) {
	subject, err := cloud.Subject(namespace)
	if err != nil {
		return "", false, err
	}
	t, err := parseTrust(doc)
	if err != nil {
		return "", false, err
	}
	edit, provider := -1, ""
	for i, raw := range t.statements {
		s, ok := parseStatement(raw)
		if !ok {
			continue
		}
		if s.editable && slices.Contains(s.subjects, subject) {
			return doc, false, nil
		}
		if s.editable && s.cluster && edit < 0 {
			edit = i
		}
		if s.cluster && provider == "" {
			provider = s.provider
		}
	}
	switch {
	case edit >= 0:
		s, _ := parseStatement(t.statements[edit])
		t.statements[edit] = s.withSubject(subject)
	case provider != "":
		t.statements = append(t.statements, ownStatement(provider, subject))
	default:
		return "", false, fmt.Errorf("%w: the role's trust policy has no statement for the cluster's OIDC provider: it needs one with "+
			`"Effect": "Allow", "Principal": {"Federated": "arn:aws:iam::<account>:oidc-provider/<the cluster's issuer>"}, "Action": %q`,
			cloud.ErrInvalid, webIdentityAction)
	}
	return t.encode(), true, nil
}

// removeSubject takes the default-editor of a namespace out of every condition that names it; changed is false where
// none does.
func removeSubject(doc, namespace string) (newDoc string, changed bool, err error) {
	subject, err := cloud.Subject(namespace)
	if err != nil {
		return "", false, err
	}
	t, err := parseTrust(doc)
	if err != nil {
		return "", false, err
	}
	for i, raw := range t.statements {
		if edited, ok := withoutSubject(raw, subject); ok {
			t.statements[i], changed = edited, true
		}
	}
	if !changed {
		return doc, false, nil
	}
	return t.encode(), true, nil
}

// trust is a trust policy; what is not Statement stays in fields as it was.
type trust struct {
	fields     object
	statements []json.RawMessage
	single     bool // Statement was one object, not a list
}

func parseTrust(doc string) (trust, error) {
	fields, ok := parseObject(json.RawMessage(doc))
	if !ok {
		return trust{}, fmt.Errorf("%w: the role's trust policy is not a JSON object with unique keys", cloud.ErrInvalid)
	}
	t := trust{fields: fields}
	raw := fields.get("Statement")
	if _, single := parseObject(raw); single {
		t.single, t.statements = true, []json.RawMessage{raw}
		return t, nil
	}
	if raw == nil || json.Unmarshal(raw, &t.statements) != nil {
		return trust{}, fmt.Errorf("%w: the role's trust policy has no list of statements", cloud.ErrInvalid)
	}
	return t, nil
}

func (t trust) encode() string {
	statement := encodeList(t.statements)
	if t.single && len(t.statements) == 1 {
		statement = t.statements[0]
	}
	var b bytes.Buffer
	_ = json.Compact(&b, t.fields.with("Statement", statement).encode()) // made of valid parts
	return b.String()
}

// statement is one that lets the tokens of an OIDC provider assume the role.
type statement struct {
	fields    object
	provider  string // the first provider's ARN
	issuer    string // its part after the slash: the prefix of the condition keys
	condition object
	operator  string   // the name of StringEquals as written here
	subKey    string   // the key of the subject condition as written here
	subjects  []string // its values

	// editable: one more subject in StringEquals means just that. It would not beside another condition on the
	// subject (all must hold, so it would narrow the other), or with other principals in the same statement.
	editable bool
	// cluster: nothing shows that the provider is something else than a Kubernetes cluster.
	cluster bool
}

// parseStatement reports false for any other kind of statement.
func parseStatement(raw json.RawMessage) (statement, bool) {
	fields, ok := parseObject(raw)
	effect, _ := parseString(fields.get("Effect"))
	actions, _ := parseStrings(fields.get("Action"))
	isWebIdentity := func(action string) bool { return strings.EqualFold(action, webIdentityAction) }
	if !ok || effect != "Allow" || !slices.ContainsFunc(actions, isWebIdentity) {
		return statement{}, false
	}
	principal, _ := parseObject(fields.get("Principal"))
	federated, _ := parseStrings(principal.get("Federated"))
	s := statement{fields: fields, operator: stringEquals, editable: len(principal) == 1 && len(federated) == 1, cluster: true}
	for _, arn := range federated {
		if issuer, ok := parseProvider(arn); ok && s.provider == "" {
			s.provider, s.issuer = arn, issuer
		}
	}
	if s.provider == "" {
		return statement{}, false
	}
	s.subKey = s.issuer + ":sub"
	s.readCondition()
	return s, true
}

var providerARN = regexp.MustCompile(`^arn:aws[a-z-]*:iam::[0-9]+:oidc-provider/(.+)$`)

// parseProvider takes the issuer out of an OIDC provider's ARN.
func parseProvider(arn string) (issuer string, ok bool) {
	m := providerARN.FindStringSubmatch(arn)
	if m == nil {
		return "", false
	}
	return m[1], true
}

// readCondition fills in the rest of s. Names of operators and keys have no case in IAM.
func (s *statement) readCondition() {
	raw := s.fields.get("Condition")
	if raw == nil || string(raw) == "null" {
		return
	}
	condition, ok := parseObject(raw)
	if !ok {
		s.editable = false
		return
	}
	s.condition = condition
	equals, subs, subKey := 0, 0, s.subKey
	for _, operator := range condition {
		isEquals := strings.EqualFold(operator.key, stringEquals)
		if isEquals {
			s.operator = operator.key
			equals++
		}
		keys, ok := parseObject(operator.value)
		s.editable = s.editable && ok
		for _, m := range keys {
			if !strings.EqualFold(m.key, subKey) {
				continue
			}
			subs++
			values, ok := parseStrings(m.value)
			s.cluster = s.cluster && fitsCluster(operator.key, values)
			s.editable = s.editable && ok && isEquals
			if isEquals {
				s.subKey, s.subjects = m.key, values
			}
		}
	}
	s.editable = s.editable && equals <= 1 && subs <= 1
}

// fitsCluster tells whether a condition on the subject leaves room for ServiceAccounts.
func fitsCluster(operator string, values []string) bool {
	operator = strings.ToLower(operator)
	likes, equals := strings.Contains(operator, "stringlike"), strings.Contains(operator, "stringequals")
	values = slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == "" })
	if !likes && !equals || len(values) == 0 {
		return true
	}
	return slices.ContainsFunc(values, func(v string) bool {
		if wildcard := strings.IndexAny(v, "*?"); likes && wildcard >= 0 {
			v = v[:wildcard]
			return strings.HasPrefix(v, subjectPrefix) || strings.HasPrefix(subjectPrefix, v)
		}
		return strings.HasPrefix(v, subjectPrefix)
	})
}

// withSubject is the statement with one more subject.
func (s statement) withSubject(subject string) json.RawMessage {
	keep := slices.DeleteFunc(slices.Clone(s.subjects), func(v string) bool { return v == "" || v == nobody })
	equals, _ := parseObject(s.condition.get(s.operator))
	equals = equals.with(s.subKey, encodeStrings(append(keep, subject)))
	return s.fields.with("Condition", s.condition.with(s.operator, equals.encode()).encode()).encode()
}

// ownStatement is what we add where no statement can be edited.
func ownStatement(provider, subject string) json.RawMessage {
	issuer, _ := parseProvider(provider)
	equals := object{
		{issuer + ":aud", encodeStrings([]string{audience})},
		{issuer + ":sub", encodeStrings([]string{subject})},
	}
	return object{
		{"Effect", encodeString("Allow")},
		{"Principal", object{{"Federated", encodeString(provider)}}.encode()},
		{"Action", encodeString(webIdentityAction)},
		{"Condition", object{{stringEquals, equals.encode()}}.encode()},
	}.encode()
}

// withoutSubject reports false where the statement does not allow the subject by name. It is less choosy than
// parseStatement: taking a subject out only ever narrows.
func withoutSubject(raw json.RawMessage, subject string) (json.RawMessage, bool) {
	fields, _ := parseObject(raw)
	effect, _ := parseString(fields.get("Effect"))
	principal, _ := parseObject(fields.get("Principal"))
	federated, _ := parseStrings(principal.get("Federated"))
	if effect != "Allow" {
		return nil, false
	}
	subKeys := map[string]bool{}
	for _, arn := range federated {
		if issuer, ok := parseProvider(arn); ok {
			subKeys[strings.ToLower(issuer+":sub")] = true
		}
	}
	found := false
	condition, _ := parseObject(fields.get("Condition"))
	for _, operator := range condition {
		keys, ok := parseObject(operator.value)
		if !ok || !strings.EqualFold(operator.key, stringEquals) {
			continue
		}
		for _, m := range keys {
			values, _ := parseStrings(m.value)
			if !subKeys[strings.ToLower(m.key)] || !slices.Contains(values, subject) {
				continue
			}
			found = true
			keys = keys.with(m.key, encodeStrings(dropSubject(values, subject)))
		}
		condition = condition.with(operator.key, keys.encode())
	}
	if !found {
		return nil, false
	}
	return fields.with("Condition", condition.encode()).encode(), true
}

// dropSubject never returns an empty list.
func dropSubject(values []string, subject string) []string {
	keep := slices.DeleteFunc(slices.Clone(values), func(v string) bool { return v == subject || v == "" })
	if len(keep) == 0 {
		return []string{nobody}
	}
	return keep
}
