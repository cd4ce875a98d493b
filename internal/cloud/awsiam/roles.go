// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

// Package awsiam lets the ServiceAccount of a profile assume an AWS IAM role, by an entry in the role's trust policy.
package awsiam

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/smithy-go"

	"berth.dev/berth/internal/cloud"
	"berth.dev/berth/internal/cloud/keyed"
)

const (
	defaultTimeout = 20 * time.Second

	// maxWrites bounds how often one call repeats a change that another writer undid.
	maxWrites = 4
)

// Options are all optional.
type Options struct {
	// Config loads the SDK's configuration at first use; nil means the SDK's default chain (environment, shared
	// files, web identity, instance metadata). A failure is not remembered.
	Config func(context.Context) (aws.Config, error)
	// Endpoint replaces the address of IAM.
	Endpoint string
	// Timeout bounds one Apply or Revoke with everything in it; zero means 20 seconds.
	Timeout time.Duration
}

// Roles edits the trust policies of roles. It is safe for concurrent use, and one value should serve the whole
// process: IAM has no preconditions, so read, edit and write are kept together by a lock per role.
type Roles struct {
	opts  Options
	locks keyed.Mutex

	mu     sync.Mutex
	client *iam.Client
}

// New returns Roles without any I/O.
func New(opts Options) *Roles {
	if opts.Config == nil {
		opts.Config = func(ctx context.Context) (aws.Config, error) { return config.LoadDefaultConfig(ctx) }
	}
	if opts.Timeout == 0 {
		opts.Timeout = defaultTimeout
	}
	return &Roles{opts: opts}
}

// Apply lets the default-editor of namespace assume the role. It writes only what is missing.
//
// An error is cloud.ErrInvalid where the user has to change something, and cloud.ErrUntouched where no write was sent.
func (r *Roles) Apply(ctx context.Context, namespace, roleARN string) error {
	err := r.edit(ctx, roleARN, func(want, have cloud.RoleARN, doc string) (string, bool, error) {
		// Names are unique in an account whatever the path, but pods assume the role by its whole ARN.
		if want != have {
			return "", false, fmt.Errorf("%w: the role of that name is %q", cloud.ErrInvalid, have)
		}
		return addSubject(doc, namespace)
	})
	if err != nil {
		return fmt.Errorf("let namespace %q assume role %q: %w", namespace, roleARN, err)
	}
	return nil
}

// Revoke takes back what Apply did. A role that is gone has nothing to take back.
func (r *Roles) Revoke(ctx context.Context, namespace, roleARN string) error {
	err := r.edit(ctx, roleARN, func(_, _ cloud.RoleARN, doc string) (string, bool, error) {
		return removeSubject(doc, namespace)
	})
	if _, gone := errors.AsType[*types.NoSuchEntityException](err); gone || err == nil {
		return nil
	}
	return fmt.Errorf("stop namespace %q from assuming role %q: %w", namespace, roleARN, err)
}

// edit reads, decides and writes until a read shows that nothing is left to change.
func (r *Roles) edit(ctx context.Context, roleARN string, decide func(want, have cloud.RoleARN, doc string) (string, bool, error)) error {
	want, err := cloud.ParseRoleARN(roleARN)
	if err != nil {
		return cloud.Untouched(err)
	}
	ctx, cancel := context.WithTimeout(ctx, r.opts.Timeout)
	defer cancel()
	unlock, err := r.locks.Lock(ctx, want.Partition+"/"+want.Account+"/"+want.Name)
	if err != nil {
		return cloud.Untouched(fmt.Errorf("wait for other changes of the role: %w", err))
	}
	defer unlock()
	client, err := r.connect(ctx)
	if err != nil {
		return cloud.Untouched(err)
	}
	for writes := 0; ; writes++ {
		have, doc, err := read(ctx, client, want)
		var changed bool
		if err == nil {
			doc, changed, err = decide(want, have, doc)
		}
		switch {
		case err != nil && writes == 0:
			return cloud.Untouched(err)
		case err != nil || !changed:
			return err
		case writes == maxWrites:
			return fmt.Errorf("another writer of the trust policy undid the change %d times", writes)
		}
		if err := write(ctx, client, want, doc); err != nil {
			return err
		}
		// The first look is at once: nearly always it is the only one.
		if writes > 0 {
			pause(ctx, writes)
		}
	}
}

// connect loads the configuration once.
func (r *Roles) connect(ctx context.Context) (*iam.Client, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.client != nil {
		return r.client, nil
	}
	cfg, err := r.opts.Config(ctx)
	if err != nil {
		return nil, fmt.Errorf("load AWS configuration: %w", err)
	}
	r.client = iam.NewFromConfig(cfg, func(o *iam.Options) {
		if r.opts.Endpoint != "" {
			o.BaseEndpoint = aws.String(r.opts.Endpoint)
		}
	})
	return r.client, nil
}

// inPartition asks IAM of the role's partition: it is one service for all regions, so a controller needs no region set.
func inPartition(role cloud.RoleARN) func(*iam.Options) {
	region := "us-east-1"
	switch role.Partition {
	case "aws-cn":
		region = "cn-north-1"
	case "aws-us-gov":
		region = "us-gov-west-1"
	}
	return func(o *iam.Options) { o.Region = region }
}

func read(ctx context.Context, client *iam.Client, role cloud.RoleARN) (have cloud.RoleARN, doc string, err error) {
	out, err := client.GetRole(ctx, &iam.GetRoleInput{RoleName: &role.Name}, inPartition(role))
	if err != nil {
		return have, "", fmt.Errorf("read role: %w", explain(ctx, err))
	}
	// IAM looks in the account of our credentials, where the same name may belong to somebody else.
	have, err = cloud.ParseRoleARN(aws.ToString(out.Role.Arn))
	if err != nil || have.Account != role.Account || have.Partition != role.Partition {
		return have, "", fmt.Errorf("%w: the role is not in the account of the controller's credentials, %s", cloud.ErrInvalid, have.Account)
	}
	// RFC 3986: a plus sign is a plus sign.
	doc, err = url.PathUnescape(aws.ToString(out.Role.AssumeRolePolicyDocument))
	if err != nil {
		return have, "", fmt.Errorf("decode trust policy: %w", err)
	}
	return have, doc, nil
}

func write(ctx context.Context, client *iam.Client, role cloud.RoleARN, doc string) error {
	_, err := client.UpdateAssumeRolePolicy(ctx, &iam.UpdateAssumeRolePolicyInput{RoleName: &role.Name, PolicyDocument: &doc}, inPartition(role))
	if err == nil {
		return nil
	}
	err = fmt.Errorf("write trust policy: %w", explain(ctx, err))
	if _, full := errors.AsType[*types.LimitExceededException](err); full {
		return fmt.Errorf("%w: %w: the role's trust policy is full (2048 characters, unless the AWS account has a higher quota): "+
			"raise the quota \"Role trust policy length\", use one more role, or allow namespaces by a StringLike pattern with annotateOnly: true",
			cloud.ErrInvalid, err)
	}
	return err
}

// pause waits longer each time, and hardly ever as long as the other writer does.
func pause(ctx context.Context, writes int) {
	wait := rand.N(time.Duration(150*writes) * time.Millisecond) //nolint:gosec // keeps two writers apart, keeps no secret
	timer := time.NewTimer(50*time.Millisecond + wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done(): // the next request says so
	}
}

// explain says what went wrong in words that stay the same from one try to the next.
func explain(ctx context.Context, err error) error {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return cloud.Rephrase(err, api.ErrorCode()+": "+api.ErrorMessage())
	}
	if ctx.Err() != nil {
		return cloud.Rephrase(err, "no answer from AWS in time: "+ctx.Err().Error())
	}
	return err
}
