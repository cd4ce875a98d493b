// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package gcpwi lets the ServiceAccount of a profile act as a Google service account, by GKE workload identity.
package gcpwi

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"time"

	"golang.org/x/oauth2"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/googleapi"
	iamv1 "google.golang.org/api/iam/v1"
	"google.golang.org/api/option"

	"berth.dev/berth/internal/cloud"
	"berth.dev/berth/internal/cloud/keyed"
)

const (
	defaultTimeout = 20 * time.Second

	// policyVersion is the one that shows conditions; below it they would be lost on the way back.
	policyVersion = 3

	// maxTries bounds how often one call starts again because another writer came between its read and its write.
	maxTries = 5
)

// Options are all optional.
type Options struct {
	// Credentials finds the credentials at first use; nil means application default credentials. A failure is not
	// remembered.
	Credentials func(context.Context) (*google.Credentials, error)
	// Endpoint replaces the address of Google IAM.
	Endpoint string
	// Project is the one whose workload identity pool holds the cluster's ServiceAccounts; empty means that of the
	// credentials, and where they name none, that of the Google service account.
	Project string
	// Timeout bounds one Apply or Revoke with everything in it; zero means 20 seconds.
	Timeout time.Duration
}

// ServiceAccounts edits the IAM policies on Google service accounts. It is safe for concurrent use.
type ServiceAccounts struct {
	opts  Options
	locks keyed.Mutex // etags keep writers apart; the lock spares those of this process the conflicts

	mu      sync.Mutex
	session *session
}

// session is a connection, perhaps still in the making: err and what follows are set when ready is closed.
type session struct {
	ready   chan struct{}
	err     error
	project string
	service *iamv1.ProjectsServiceAccountsService
}

// New returns ServiceAccounts without any I/O.
func New(opts Options) *ServiceAccounts {
	if opts.Credentials == nil {
		opts.Credentials = func(ctx context.Context) (*google.Credentials, error) {
			return google.FindDefaultCredentials(ctx, iamv1.CloudPlatformScope)
		}
	}
	if opts.Timeout == 0 {
		opts.Timeout = defaultTimeout
	}
	return &ServiceAccounts{opts: opts}
}

// Apply lets the default-editor of namespace act as the Google service account. It writes only what is missing.
//
// An error is cloud.ErrInvalid where the user has to change something, and cloud.ErrUntouched where no write was sent
// but those that a conflict refused.
func (s *ServiceAccounts) Apply(ctx context.Context, namespace, gsaEmail string) error {
	if err := s.edit(ctx, namespace, gsaEmail, addMember); err != nil {
		return fmt.Errorf("let namespace %q act as %q: %w", namespace, gsaEmail, err)
	}
	return nil
}

// Revoke takes back what Apply did. A Google service account that is gone has nothing to take back.
func (s *ServiceAccounts) Revoke(ctx context.Context, namespace, gsaEmail string) error {
	err := s.edit(ctx, namespace, gsaEmail, removeMember)
	if err == nil || status(err) == http.StatusNotFound {
		return nil
	}
	return fmt.Errorf("stop namespace %q from acting as %q: %w", namespace, gsaEmail, err)
}

type change func(bindings []*iamv1.Binding, member string) (out []*iamv1.Binding, changed bool)

func (s *ServiceAccounts) edit(ctx context.Context, namespace, gsaEmail string, decide change) error {
	account, err := cloud.ParseServiceAccount(gsaEmail)
	if err != nil {
		return cloud.Untouched(err)
	}
	if _, err := cloud.WorkloadMember(account.Project, namespace); err != nil {
		return cloud.Untouched(err)
	}
	ctx, cancel := context.WithTimeout(ctx, s.opts.Timeout)
	defer cancel()
	unlock, err := s.locks.Lock(ctx, gsaEmail)
	if err != nil {
		return cloud.Untouched(fmt.Errorf("wait for other changes of the service account: %w", err))
	}
	defer unlock()
	conn, err := s.connect(ctx)
	if err != nil {
		return cloud.Untouched(err)
	}
	member, err := cloud.WorkloadMember(s.pool(conn, account), namespace)
	if err != nil {
		return cloud.Untouched(err)
	}
	resource := "projects/" + account.Project + "/serviceAccounts/" + gsaEmail
	for try := 1; ; try++ {
		policy, err := read(ctx, conn, resource)
		if err != nil {
			return cloud.Untouched(err)
		}
		bindings, changed := decide(policy.Bindings, member)
		if !changed {
			return nil
		}
		err = write(ctx, conn, resource, policy, bindings)
		switch {
		case err == nil || !conflict(err):
			return err
		case try == maxTries:
			return cloud.Untouched(err)
		}
		pause(ctx, try)
	}
}

// pool is the project of the workload identity pool.
func (s *ServiceAccounts) pool(conn *session, account cloud.GoogleServiceAccount) string {
	switch {
	case s.opts.Project != "":
		return s.opts.Project
	case conn.project != "":
		return conn.project
	}
	return account.Project
}

// connect finds the credentials once. The search takes no context (off Google Cloud it waits for a metadata server
// that is not there), so it goes on by itself, and callers wait for it as long as they may.
func (s *ServiceAccounts) connect(ctx context.Context) (*session, error) {
	s.mu.Lock()
	conn := s.session
	if conn == nil {
		conn = &session{ready: make(chan struct{})}
		s.session = conn
		// The token source keeps its context for good.
		go s.open(context.WithoutCancel(ctx), conn)
	}
	s.mu.Unlock()
	select {
	case <-conn.ready:
		return conn, conn.err
	case <-ctx.Done():
		return nil, fmt.Errorf("find Google credentials: %w", ctx.Err())
	}
}

func (s *ServiceAccounts) open(ctx context.Context, conn *session) {
	defer close(conn.ready)
	ctx = context.WithValue(ctx, oauth2.HTTPClient, &http.Client{Timeout: s.opts.Timeout})
	conn.project, conn.service, conn.err = s.dial(ctx)
	if conn.err != nil {
		s.mu.Lock()
		s.session = nil
		s.mu.Unlock()
	}
}

func (s *ServiceAccounts) dial(ctx context.Context) (string, *iamv1.ProjectsServiceAccountsService, error) {
	creds, err := s.opts.Credentials(ctx)
	if err != nil {
		return "", nil, fmt.Errorf("find Google credentials: %w", err)
	}
	opts := []option.ClientOption{option.WithCredentials(creds), option.WithUserAgent("berth")}
	if s.opts.Endpoint != "" {
		opts = append(opts, option.WithEndpoint(s.opts.Endpoint))
	}
	service, err := iamv1.NewService(ctx, opts...)
	if err != nil {
		return "", nil, fmt.Errorf("set up the client of Google IAM: %w", err)
	}
	return creds.ProjectID, service.Projects.ServiceAccounts, nil
}

func read(ctx context.Context, conn *session, resource string) (*iamv1.Policy, error) {
	policy, err := conn.service.GetIamPolicy(resource).OptionsRequestedPolicyVersion(policyVersion).Context(ctx).Do()
	switch {
	case status(err) == http.StatusNotFound:
		return nil, fmt.Errorf("the Google service account does not exist: %w", explain(err))
	case err != nil:
		return nil, fmt.Errorf("read IAM policy: %w", explain(err))
	}
	return policy, nil
}

// write sends the policy as it was read, etag and version with it, but for the bindings.
func write(ctx context.Context, conn *session, resource string, policy *iamv1.Policy, bindings []*iamv1.Binding) error {
	next := *policy
	next.Bindings = bindings
	next.ForceSendFields = []string{"Bindings"} // also the empty list
	_, err := conn.service.SetIamPolicy(resource, &iamv1.SetIamPolicyRequest{Policy: &next}).Context(ctx).Do()
	if err != nil {
		return fmt.Errorf("write IAM policy: %w", explain(err))
	}
	return nil
}

// status is the HTTP status that Google answered with, zero where it did not answer.
func status(err error) int {
	if answer, ok := errors.AsType[*googleapi.Error](err); ok {
		return answer.Code
	}
	return 0
}

func conflict(err error) bool {
	code := status(err)
	return code == http.StatusConflict || code == http.StatusPreconditionFailed
}

// pause waits longer each time, and hardly ever as long as the other writer does.
func pause(ctx context.Context, try int) {
	wait := rand.N(time.Duration(150*try) * time.Millisecond) //nolint:gosec // keeps two writers apart, keeps no secret
	timer := time.NewTimer(50*time.Millisecond + wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done(): // the next request says so
	}
}

// explain says what Google answered, in one line that stays the same from one try to the next.
func explain(err error) error {
	answer, ok := errors.AsType[*googleapi.Error](err)
	if !ok {
		return err
	}
	words := fmt.Sprintf("%d %s", answer.Code, http.StatusText(answer.Code))
	if answer.Message != "" {
		words += ": " + answer.Message
	}
	return cloud.Rephrase(err, words)
}
