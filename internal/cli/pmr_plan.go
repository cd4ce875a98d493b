// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/gather"
	"berth.dev/berth/internal/kube/scheme"
	"berth.dev/berth/internal/pmr"
	"berth.dev/berth/internal/render"
)

// gracePeriod is that of a ProfileSync that says nothing.
const gracePeriod = 30 * 24 * time.Hour

// planFlags say what is compared with what.
type planFlags struct {
	listFlags

	files                           []string
	snapshot, against, sync, output string
}

func pmrPlanCommand() *cobra.Command {
	var f planFlags
	flags := flag.NewFlagSet("plan", flag.ContinueOnError)
	config.RegisterFlags(flags)
	cmd := &cobra.Command{
		Use:   "plan [--file PATH]… [--snapshot DIR | --against BRANCH]",
		Short: "Show what a list would change",
		Long: "Show what a ProfileSync would do to make profiles and contributors equal to a list: in the cluster that kubectl talks to,\n" +
			"in one whose objects were written to the YAML files of a directory, or, without a cluster, in one that is equal to the\n" +
			"same list in another branch. Nothing is changed.\n\n" +
			"The exit code is 0 where there is nothing to do, 2 where something would change, and 1 where it can't be told.",
		Example: "  berth pmr plan --file pmr.yaml --sync platform\n  berth pmr plan --file pmr.yaml --against main\n" +
			"  kubectl get profiles,namespaces,rolebindings,authorizationpolicies -A -o yaml > now/cluster.yaml\n" +
			"  berth pmr plan --file pmr.yaml --snapshot now",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.output != "text" && f.output != "json" {
				return fmt.Errorf("--output is %q: use text or json", f.output)
			}
			plan, err := f.plan(cmd.Context(), cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			if f.output == "json" {
				err = printJSON(cmd.OutOrStdout(), planJSON{plan, plan.Digest(), plan.HeldDigest()})
			} else {
				approve := "berth pmr apply --file " + strings.Join(f.files, " --file ") + " --sync " + f.sync + " --approve"
				if f.against != "" || f.snapshot != "" {
					approve = "" // there is no cluster to change
				}
				err = printPlan(cmd.OutOrStdout(), plan, approve)
			}
			if err == nil && (slices.ContainsFunc(plan.Actions, matters) || len(plan.Problems) > 0) {
				return &ExitError{Code: 2}
			}
			return err
		},
	}
	f.bind(cmd)
	cmd.Flags().StringSliceVarP(&f.files, "file", "f", []string{"pmr.yaml"}, "a file, directory or pattern; all of them are one list")
	cmd.Flags().StringVar(&f.snapshot, "snapshot", "", "a directory with the cluster's objects as YAML, instead of a cluster")
	cmd.Flags().StringVar(&f.against, "against", "", "a branch, tag or commit whose list is taken for the cluster")
	cmd.Flags().StringVar(&f.sync, "sync", "default", "name of the ProfileSync, which tells what is its own")
	cmd.Flags().StringVarP(&f.output, "output", "o", "text", "text or json")
	cmd.Flags().AddGoFlagSet(flags)
	cmd.MarkFlagsMutuallyExclusive("snapshot", "against", "kubeconfig")
	return cmd
}

// planJSON is a plan for programs.
type planJSON struct {
	pmr.Plan

	Digest     string `json:"digest"`
	HeldDigest string `json:"heldDigest,omitempty"`
}

// plan compares. What is to be said of the lists goes to told.
func (f *planFlags) plan(ctx context.Context, told io.Writer) (pmr.Plan, error) {
	in, err := f.input(f.files, onDisk)
	if err != nil {
		return pmr.Plan{}, err
	}
	doc, err := usable(in, told)
	if err != nil {
		return pmr.Plan{}, err
	}
	rules := pmr.Rules{Sync: f.sync, Now: time.Now(), Limits: pmr.DefaultLimits(), ConfigOf: offline(doc)}
	rules.Stale.GracePeriod = gracePeriod
	switch {
	case f.against != "":
		base, err := f.atRevision(rules)
		if err != nil {
			return pmr.Plan{}, err
		}
		return pmr.Diff(pmr.Resolve(doc), base, rules), nil
	case f.snapshot != "":
		have, err := gather.Files(os.DirFS(f.snapshot))
		if err != nil {
			return pmr.Plan{}, err
		}
		return pmr.Diff(pmr.Resolve(doc), have, rules), nil
	}
	have, configOf, err := live(ctx)
	if err != nil {
		return pmr.Plan{}, err
	}
	rules.ConfigOf = configOf
	return pmr.Diff(pmr.Resolve(doc), have, rules), nil
}

// usable is the list of in. Without errors in it, nothing is said: lint is for the rest.
func usable(in pmr.Input, told io.Writer) (pmr.Document, error) {
	doc, findings := checked(in, nil)
	if !pmr.HasErrors(findings) {
		return doc, nil
	}
	findings = slices.DeleteFunc(findings, func(f pmr.Finding) bool { return f.Severity != pmr.Error })
	if err := printFindings(told, findings, "human"); err != nil {
		return doc, err
	}
	return doc, errors.New("the list can't be used as it is")
}

// offline is the configuration where there are no classes to look at: every role that the list speaks of is taken for one
// of the profile's class.
func offline(docs ...pmr.Document) func(string) render.Config {
	config := render.DefaultConfig()
	known := slices.Clone(render.Roles)
	add := func(role string) {
		if role != "" && !slices.Contains(known, role) {
			known = append(known, role)
			config.Roles = append(config.Roles, berthv1alpha1.Role{Name: role, ClusterRole: role})
		}
	}
	for _, doc := range docs {
		for _, p := range doc.Profiles {
			for _, c := range p.Contributors {
				add(c.ClassRole)
			}
			for _, g := range p.Groups {
				add(g.Role)
			}
		}
		if doc.Defaults != nil {
			for _, g := range doc.Defaults.Groups {
				add(g.Role)
			}
		}
	}
	return func(string) render.Config { return config }
}

// live is what the cluster has that kubectl talks to, and its classes.
func live(ctx context.Context) (pmr.Have, func(string) render.Config, error) {
	cluster, err := clusterConfig()
	if err != nil {
		return pmr.Have{}, nil, err
	}
	kinds, err := scheme.New()
	if err != nil {
		return pmr.Have{}, nil, err
	}
	c, err := client.New(cluster, client.Options{Scheme: kinds})
	if err != nil {
		return pmr.Have{}, nil, fmt.Errorf("connect to the cluster: %w", err)
	}
	have, err := gather.Live(ctx, c)
	if err != nil {
		return have, nil, err
	}
	var classes berthv1alpha1.ProfileClassList
	if err := c.List(ctx, &classes); err != nil && !meta.IsNoMatchError(err) {
		return have, nil, fmt.Errorf("list the ProfileClasses: %w", err)
	}
	return have, func(class string) render.Config {
		p := &kubeflowv1.Profile{}
		if class != "" {
			p.Labels = map[string]string{berthv1alpha1.ClassLabel: class}
		}
		return render.DefaultConfig().With(render.ClassOf(p, classes.Items))
	}, nil
}

// matters says whether an action changes something besides the sync's own notes.
func matters(a pmr.Action) bool { return a.Type != pmr.UpdateRecord }
