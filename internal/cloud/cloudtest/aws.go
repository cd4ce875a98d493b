// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cloudtest

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"

	"berth.dev/berth/internal/cloud"
)

// TrustLimit is how many characters, spaces aside, a trust policy may have.
const TrustLimit = 2048

// AWS is an IAM server that keeps roles and their trust policies.
type AWS struct {
	// URL is the endpoint.
	URL string

	mu     sync.Mutex
	faults faults
	roles  map[string]role
	lose   int
	reads  int
	writes int
}

type role struct {
	arn   cloud.RoleARN
	trust string
}

// NewAWS starts an IAM server that ends with the test.
func NewAWS(t testing.TB) *AWS {
	a := &AWS{roles: map[string]role{}}
	server := httptest.NewServer(a)
	t.Cleanup(server.Close)
	a.URL = server.URL
	return a
}

// Config is what the SDK would have loaded from its environment: this server, an access key, and its own retryer
// with waits short enough for a test.
func (a *AWS) Config(context.Context) (aws.Config, error) {
	return aws.Config{
		Region:       "eu-west-1",
		BaseEndpoint: aws.String(a.URL),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "AKIATEST", SecretAccessKey: Secret}, nil
		}),
		Retryer: func() aws.Retryer {
			return retry.NewStandard(func(o *retry.StandardOptions) { o.MaxBackoff = time.Millisecond })
		},
	}, nil
}

// SetRole creates or replaces a role. The trust policy is stored as it is, whatever it is.
func (a *AWS) SetRole(t testing.TB, arn, trust string) {
	t.Helper()
	parsed, err := cloud.ParseRoleARN(arn)
	if err != nil {
		t.Fatalf("set role: %v", err)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.roles[parsed.Name] = role{arn: parsed, trust: trust}
}

// DeleteRole forgets a role.
func (a *AWS) DeleteRole(name string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.roles, name)
}

// Trust is the trust policy of a role now; empty where there is no such role.
func (a *AWS) Trust(name string) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.roles[name].trust
}

// FailNext answers the next n requests with an error code of IAM: Throttling, AccessDenied, ServiceFailure and so on.
func (a *AWS) FailNext(n int, code string) { a.locked(func() { a.faults.next(n, code, false) }) }

// FailNextWrite does the same for writes only; reads go on.
func (a *AWS) FailNextWrite(n int, code string) { a.locked(func() { a.faults.next(n, code, true) }) }

// LoseNext carries out the next n writes and undoes each at once, as another writer does that had read before it.
func (a *AWS) LoseNext(n int) { a.locked(func() { a.lose = n }) }

// Reads counts the GetRole requests so far, failed ones too.
func (a *AWS) Reads() (n int) { a.locked(func() { n = a.reads }); return n }

// Writes counts the UpdateAssumeRolePolicy requests so far, failed ones too.
func (a *AWS) Writes() (n int) { a.locked(func() { n = a.writes }); return n }

func (a *AWS) locked(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// ServeHTTP speaks the AWS query protocol of IAM.
func (a *AWS) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := r.ParseForm(); err != nil {
		awsError(w, "MalformedQueryString", err.Error())
		return
	}
	action := r.PostForm.Get("Action")
	write := action == "UpdateAssumeRolePolicy"
	if write {
		a.writes++
	} else {
		a.reads++
	}
	if !strings.HasPrefix(r.Header.Get("Authorization"), "AWS4-HMAC-SHA256 Credential=AKIATEST/") {
		awsError(w, "MissingAuthenticationToken", "Request is missing Authentication Token")
		return
	}
	if code := a.faults.take(write); code != "" {
		awsError(w, code, "injected by the test")
		return
	}
	name := r.PostForm.Get("RoleName")
	found, ok := a.roles[name]
	switch {
	case r.PostForm.Get("Version") != "2010-05-08" || action != "GetRole" && !write:
		awsError(w, "InvalidAction", "Could not find operation "+action+" for version "+r.PostForm.Get("Version"))
	case !ok:
		awsError(w, "NoSuchEntity", "The role with name "+name+" cannot be found.")
	case write:
		a.update(w, found, r.PostForm.Get("PolicyDocument"))
	default:
		awsRole(w, found)
	}
}

func (a *AWS) update(w http.ResponseWriter, found role, document string) {
	if fault := checkTrust(document); fault != "" {
		awsError(w, "MalformedPolicyDocument", fault)
		return
	}
	if trustLength(document) > TrustLimit {
		awsError(w, "LimitExceeded", "Cannot exceed quota for ACLSizePerRole: 2048")
		return
	}
	if a.lose > 0 {
		a.lose--
	} else {
		a.roles[found.arn.Name] = role{arn: found.arn, trust: document}
	}
	awsReply(w, http.StatusOK, struct {
		XMLName  xml.Name `xml:"https://iam.amazonaws.com/doc/2010-05-08/ UpdateAssumeRolePolicyResponse"`
		Metadata metadata `xml:"ResponseMetadata"`
	}{Metadata: metadata{RequestID: requestID}})
}

// checkTrust says what IAM would find wrong with a trust policy, for the mistakes an editor could make.
func checkTrust(document string) string {
	var doc struct {
		Statement json.RawMessage
	}
	if err := json.Unmarshal([]byte(document), &doc); err != nil {
		return "This policy contains invalid Json"
	}
	var statements []map[string]json.RawMessage
	if json.Unmarshal(doc.Statement, &statements) != nil {
		var one map[string]json.RawMessage
		if json.Unmarshal(doc.Statement, &one) != nil {
			return "Syntax errors in policy."
		}
		statements = append(statements, one)
	}
	for _, s := range statements {
		for _, key := range []string{"Effect", "Principal", "Action"} {
			if s[key] == nil {
				return "Missing required field " + key
			}
		}
		if s["Resource"] != nil {
			return "Has prohibited field Resource"
		}
	}
	if len(statements) == 0 {
		return "The policy must contain at least one statement."
	}
	return ""
}

func trustLength(document string) (n int) {
	for _, r := range document {
		if !unicode.IsSpace(r) {
			n++
		}
	}
	return n
}

type metadata struct {
	RequestID string `xml:"RequestId"`
}

const requestID = "7a62c49f-347e-4fc4-9331-6e8eEXAMPLE"

func awsRole(w http.ResponseWriter, found role) {
	type result struct {
		Path, RoleName           string
		RoleID                   string `xml:"RoleId"`
		ARN                      string `xml:"Arn"`
		CreateDate               string
		AssumeRolePolicyDocument string
	}
	awsReply(w, http.StatusOK, struct {
		XMLName  xml.Name `xml:"https://iam.amazonaws.com/doc/2010-05-08/ GetRoleResponse"`
		Role     result   `xml:"GetRoleResult>Role"`
		Metadata metadata `xml:"ResponseMetadata"`
	}{
		Role: result{
			Path: found.arn.Path, RoleName: found.arn.Name, RoleID: "AROATEST", ARN: found.arn.String(),
			CreateDate: "2026-01-02T03:04:05Z",
			// RFC 3986, as IAM writes it: a space is %20, a plus sign is itself never a space.
			AssumeRolePolicyDocument: strings.ReplaceAll(url.QueryEscape(found.trust), "+", "%20"),
		},
		Metadata: metadata{RequestID: requestID},
	})
}

// awsStatus holds the HTTP status of the error codes that are not 400.
var awsStatus = map[string]int{
	"NoSuchEntity": 404, "LimitExceeded": 409, "ConcurrentModification": 409, "AccessDenied": 403,
	"MissingAuthenticationToken": 403, "ExpiredToken": 403, "ServiceFailure": 500, "ServiceUnavailable": 503,
}

func awsError(w http.ResponseWriter, code, message string) {
	status, ok := awsStatus[code]
	if !ok {
		status = http.StatusBadRequest
	}
	fault := "Sender"
	if status >= http.StatusInternalServerError {
		fault = "Receiver"
	}
	type detail struct{ Type, Code, Message string }
	awsReply(w, status, struct {
		XMLName   xml.Name `xml:"https://iam.amazonaws.com/doc/2010-05-08/ ErrorResponse"`
		Error     detail
		RequestID string `xml:"RequestId"`
	}{Error: detail{fault, code, message}, RequestID: requestID})
}

func awsReply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "text/xml")
	w.WriteHeader(status)
	_ = xml.NewEncoder(w).Encode(body) // the client sees a broken reply
}
