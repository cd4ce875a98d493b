// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package awsiam

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/google/go-cmp/cmp"

	"berth.dev/berth/internal/cloud"
	"berth.dev/berth/internal/cloud/cloudtest"
)

const readerARN = "arn:aws:iam::123456789012:role/ml/reader"

// start is a server with one role, and Roles that talk to it.
func start(t *testing.T, trust string) (*cloudtest.AWS, *Roles) {
	t.Helper()
	server := cloudtest.NewAWS(t)
	server.SetRole(t, readerARN, trust)
	return server, New(Options{Config: server.Config})
}

func TestRoles_applyAndRevokeThroughTheSDK(t *testing.T) {
	// Characters that a careless decoding would change.
	id := `"Id":"100% a+b c/d ü"`
	doc := func(sub string) string {
		return `{` + id + `,"Statement":[` + ec2Statement + `,` + subs(clusterA, sub) + `]}`
	}
	server, roles := start(t, doc(`["`+theirs+`"]`))
	steps := []struct {
		name       string
		do         func(context.Context, string, string) error
		want       string
		wantWrites int
	}{
		{"apply", roles.Apply, doc(`["` + theirs + `","` + ours + `"]`), 1},
		{"apply again", roles.Apply, doc(`["` + theirs + `","` + ours + `"]`), 1},
		{"revoke", roles.Revoke, doc(`["` + theirs + `"]`), 2},
		{"revoke again", roles.Revoke, doc(`["` + theirs + `"]`), 2},
	}
	for _, step := range steps {
		if err := step.do(t.Context(), "team-a", readerARN); err != nil {
			t.Fatalf("%s: %v", step.name, err)
		}
		if diff := cmp.Diff(step.want, server.Trust("reader")); diff != "" {
			t.Errorf("%s: -want, +got:\n%s", step.name, diff)
		}
		if got := server.Writes(); got != step.wantWrites {
			t.Errorf("%s: %d writes so far, want %d", step.name, got, step.wantWrites)
		}
	}
}

func TestRoles_lastRevokeLeavesTheRoleClosed(t *testing.T) {
	server, roles := start(t, policy(subs(clusterA, `["`+ours+`"]`)))
	if err := roles.Revoke(t.Context(), "team-a", readerARN); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(policy(subs(clusterA, `["`+nobody+`"]`)), server.Trust("reader")); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
	if err := roles.Apply(t.Context(), "team-b", readerARN); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(policy(subs(clusterA, `["`+theirs+`"]`)), server.Trust("reader")); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
}

func TestRoles_errors(t *testing.T) {
	usable := policy(subs(clusterA, `[]`))
	filler := `["system:serviceaccount:` + strings.Repeat("x", cloudtest.TrustLimit-330) + `"]`
	cases := map[string]struct {
		arn, trust                 string
		sabotage                   func(*cloudtest.AWS)
		wantInvalid, wantUntouched bool
		wantText                   string
		wantWrites                 int
	}{
		"no ARN":              {arn: "reader", trust: usable, wantInvalid: true, wantUntouched: true, wantText: "arn:aws:iam::<account>:role/<name>"},
		"an empty ARN":        {arn: "", trust: usable, wantInvalid: true, wantUntouched: true},
		"no usable statement": {arn: readerARN, trust: policy(ec2Statement), wantInvalid: true, wantUntouched: true, wantText: "oidc-provider"},
		"no JSON":             {arn: readerARN, trust: "{", wantInvalid: true, wantUntouched: true},
		"another account":     {arn: "arn:aws:iam::999999999999:role/ml/reader", trust: usable, wantInvalid: true, wantUntouched: true, wantText: "123456789012"},
		"another path":        {arn: "arn:aws:iam::123456789012:role/reader", trust: usable, wantInvalid: true, wantUntouched: true, wantText: readerARN},
		"no such role":        {arn: "arn:aws:iam::123456789012:role/gone", trust: usable, wantUntouched: true, wantText: "NoSuchEntity"},
		"read refused": {
			arn: readerARN, trust: usable, sabotage: func(a *cloudtest.AWS) { a.FailNext(1, "AccessDenied") },
			wantUntouched: true, wantText: "AccessDenied",
		},
		"read failing": {
			arn: readerARN, trust: usable, sabotage: func(a *cloudtest.AWS) { a.FailNext(9, "ServiceFailure") },
			wantUntouched: true, wantText: "ServiceFailure",
		},
		"write refused": {
			arn: readerARN, trust: usable, sabotage: func(a *cloudtest.AWS) { a.FailNextWrite(1, "AccessDenied") },
			wantText: "AccessDenied", wantWrites: 1,
		},
		"write failing": {
			arn: readerARN, trust: usable, sabotage: func(a *cloudtest.AWS) { a.FailNextWrite(9, "ServiceFailure") },
			wantText: "ServiceFailure", wantWrites: 3,
		},
		"policy full": {arn: readerARN, trust: policy(subs(clusterA, filler)), wantInvalid: true, wantText: "2048", wantWrites: 1},
		"change undone for ever": {
			arn: readerARN, trust: usable, sabotage: func(a *cloudtest.AWS) { a.LoseNext(99) },
			wantText: "another writer", wantWrites: maxWrites,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			server, roles := start(t, tc.trust)
			if tc.sabotage != nil {
				tc.sabotage(server)
			}
			err := roles.Apply(t.Context(), "team-a", tc.arn)
			if err == nil {
				t.Fatal("no error")
			}
			if got := errors.Is(err, cloud.ErrInvalid); got != tc.wantInvalid {
				t.Errorf("ErrInvalid: %t: %v", got, err)
			}
			if got := errors.Is(err, cloud.ErrUntouched); got != tc.wantUntouched {
				t.Errorf("ErrUntouched: %t: %v", got, err)
			}
			checkText(t, err, tc.wantText)
			if got := server.Writes(); got != tc.wantWrites {
				t.Errorf("%d writes, want %d", got, tc.wantWrites)
			}
			if got := server.Trust("reader"); got != tc.trust {
				t.Errorf("the trust policy changed: %s", got)
			}
		})
	}
}

// checkText: what a user must read is there; what changes from try to try, and what nobody may read, is not.
func checkText(t *testing.T, err error, want string) {
	t.Helper()
	for _, never := range []string{cloudtest.Secret, "RequestID", "7a62c49f", "\n"} {
		if strings.Contains(err.Error(), never) {
			t.Errorf("error holds %q: %v", never, err)
		}
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("error lacks %q: %v", want, err)
	}
}

func TestRoles_revokeOfARoleThatIsGone(t *testing.T) {
	server, roles := start(t, policy(subs(clusterA, `["`+ours+`"]`)))
	server.FailNextWrite(1, "NoSuchEntity") // deleted between read and write
	if err := roles.Revoke(t.Context(), "team-a", readerARN); err != nil {
		t.Errorf("deleted before the write: %v", err)
	}
	server.DeleteRole("reader")
	if err := roles.Revoke(t.Context(), "team-a", readerARN); err != nil {
		t.Errorf("deleted before the read: %v", err)
	}
}

func TestRoles_revokeErrorsSayWhatHappened(t *testing.T) {
	server, roles := start(t, policy(subs(clusterA, `["`+ours+`"]`)))
	server.FailNext(1, "AccessDenied")
	if err := roles.Revoke(t.Context(), "team-a", readerARN); !errors.Is(err, cloud.ErrUntouched) {
		t.Errorf("read refused: %v, want ErrUntouched", err)
	}
	server.FailNextWrite(1, "AccessDenied")
	if err := roles.Revoke(t.Context(), "team-a", readerARN); err == nil || errors.Is(err, cloud.ErrUntouched) {
		t.Errorf("write refused: %v, want an error without ErrUntouched", err)
	}
}

func TestRoles_throttlingIsWaitedOut(t *testing.T) {
	server, roles := start(t, policy(subs(clusterA, `[]`)))
	server.FailNext(2, "Throttling")
	server.FailNextWrite(1, "Throttling")
	if err := roles.Apply(t.Context(), "team-a", readerARN); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(policy(subs(clusterA, `["`+ours+`"]`)), server.Trust("reader")); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
}

func TestRoles_lostChangeIsMadeAgain(t *testing.T) {
	server, roles := start(t, policy(subs(clusterA, `["`+theirs+`"]`)))
	server.LoseNext(2)
	if err := roles.Apply(t.Context(), "team-a", readerARN); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(policy(subs(clusterA, `["`+theirs+`","`+ours+`"]`)), server.Trust("reader")); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
	if got := server.Writes(); got != 3 {
		t.Errorf("%d writes, want 3", got)
	}
}

func TestRoles_manyNamespacesOnOneRole(t *testing.T) {
	server, roles := start(t, policy(ec2Statement, subs(clusterA, `["`+nobody+`"]`)))
	const n = 12
	inParallel(t, n, func(i int) error {
		return roles.Apply(t.Context(), fmt.Sprintf("ns-%d", i), readerARN)
	})
	for i := range n {
		if subject := fmt.Sprintf("%q", fmt.Sprintf("system:serviceaccount:ns-%d:default-editor", i)); !strings.Contains(server.Trust("reader"), subject) {
			t.Errorf("%s was lost", subject)
		}
	}
	inParallel(t, n, func(i int) error {
		return roles.Revoke(t.Context(), fmt.Sprintf("ns-%d", i), readerARN)
	})
	if diff := cmp.Diff(policy(ec2Statement, subs(clusterA, `["`+nobody+`"]`)), server.Trust("reader")); diff != "" {
		t.Errorf("-want, +got:\n%s", diff)
	}
	if got := server.Writes(); got != 2*n {
		t.Errorf("%d writes, want %d", got, 2*n)
	}
}

func inParallel(t *testing.T, n int, do func(i int) error) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if err := do(i); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// noCredentials takes away what the SDK's default chain could find on the machine of the test.
func noCredentials(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	for _, name := range []string{
		"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE",
		"AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_ROLE_ARN", "AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_REGION",
	} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
}

func TestRoles_defaultChainWithoutCredentials(t *testing.T) {
	noCredentials(t)
	server := cloudtest.NewAWS(t)
	started := time.Now()
	err := New(Options{Endpoint: server.URL}).Apply(t.Context(), "team-a", readerARN)
	if !errors.Is(err, cloud.ErrUntouched) || errors.Is(err, cloud.ErrInvalid) {
		t.Errorf("got %v, want ErrUntouched only", err)
	}
	if took := time.Since(started); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
	if server.Reads() != 0 {
		t.Error("an unsigned request was sent")
	}
}

func TestRoles_defaultChainWithKeysAndNoRegion(t *testing.T) {
	noCredentials(t)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIATEST")
	t.Setenv("AWS_SECRET_ACCESS_KEY", cloudtest.Secret)
	server := cloudtest.NewAWS(t)
	t.Setenv("AWS_ENDPOINT_URL_IAM", server.URL)
	server.SetRole(t, readerARN, policy(subs(clusterA, `[]`)))
	if err := New(Options{}).Apply(t.Context(), "team-a", readerARN); err != nil {
		t.Fatal(err)
	}
	if got := server.Writes(); got != 1 {
		t.Errorf("%d writes, want 1", got)
	}
}

func TestRoles_configurationFailureIsNotRemembered(t *testing.T) {
	server := cloudtest.NewAWS(t)
	server.SetRole(t, readerARN, policy(subs(clusterA, `[]`)))
	loads := 0
	roles := New(Options{Config: func(ctx context.Context) (aws.Config, error) {
		if loads++; loads == 1 {
			return aws.Config{}, errors.New("not yet")
		}
		return server.Config(ctx)
	}})
	if loads != 0 {
		t.Error("loaded before first use")
	}
	if err := roles.Apply(t.Context(), "team-a", readerARN); !errors.Is(err, cloud.ErrUntouched) {
		t.Errorf("first: %v, want ErrUntouched", err)
	}
	for range 2 {
		if err := roles.Apply(t.Context(), "team-a", readerARN); err != nil {
			t.Errorf("later: %v", err)
		}
	}
	if loads != 2 {
		t.Errorf("%d loads, want 2", loads)
	}
}

func TestRoles_timeoutBoundsTheCall(t *testing.T) {
	stuck := func(ctx context.Context) (aws.Config, error) {
		<-ctx.Done()
		return aws.Config{}, ctx.Err()
	}
	err := New(Options{Config: stuck, Timeout: 20 * time.Millisecond}).Apply(t.Context(), "team-a", readerARN)
	if !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, cloud.ErrUntouched) {
		t.Errorf("got %v, want a deadline with nothing touched", err)
	}
}
