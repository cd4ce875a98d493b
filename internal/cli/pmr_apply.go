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
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/kube/enact"
	"berth.dev/berth/internal/kube/gather"
	"berth.dev/berth/internal/pmr"
	"berth.dev/berth/internal/render"
)

// applyWorkers is how many profiles are worked on at once.
const applyWorkers = 16

// applyFlags say what is carried out.
type applyFlags struct {
	listFlags

	settings      *settings
	files         []string
	sync, approve string
	patience      time.Duration
}

// pmrApplyCommand carries a list out once, as a ProfileSync does all the time.
func pmrApplyCommand() *cobra.Command {
	f := applyFlags{settings: newSettings(os.Getenv)}
	flags := flag.NewFlagSet("apply", flag.ContinueOnError)
	f.settings.bind(flags)
	config.RegisterFlags(flags)
	cmd := &cobra.Command{
		Use:   "apply [--file PATH]… [--sync NAME] [--approve DIGEST]",
		Short: "Carry out a list, once",
		Long: "Make the profiles and contributors of the cluster that kubectl talks to equal to a list, once. What the limits hold is\n" +
			"done only if its digest is approved, which berth pmr plan prints. Berth's controller has to run there: it makes the\n" +
			"namespaces. Where a ProfileSync of the same name runs as well, that one decides in the end. Give it the flags that the\n" +
			"controller has.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.approve != "" && !digestForm.MatchString(f.approve) {
				return fmt.Errorf("--approve is %q, which is no digest of a plan: it has the form sha256: and 64 hexadecimal digits", f.approve)
			}
			if err := f.settings.finish(given(cmd, flags)); err != nil {
				return err
			}
			return f.run(cmd.Context(), cmd.OutOrStdout(), cmd.ErrOrStderr())
		},
	}
	f.bind(cmd)
	cmd.Flags().StringSliceVarP(&f.files, "file", "f", []string{"pmr.yaml"}, "a file, directory or pattern; all of them are one list")
	cmd.Flags().StringVar(&f.sync, "sync", "default", "name of the ProfileSync, which tells what is its own")
	cmd.Flags().StringVar(&f.approve, "approve", "", "the digest of the plan that may be carried out whole")
	cmd.Flags().DurationVar(&f.patience, "timeout", 5*time.Minute, "how long to wait for namespaces")
	cmd.Flags().AddGoFlagSet(flags)
	return cmd
}

func (f *applyFlags) run(ctx context.Context, out, errs io.Writer) error {
	in, err := f.input(f.files, onDisk)
	if err != nil {
		return err
	}
	doc, err := usable(in, errs)
	if err != nil {
		return err
	}
	c, err := clusterClient()
	if err != nil {
		return err
	}
	want := pmr.Resolve(doc)
	plan, configOf, err := f.plan(ctx, c, want)
	if err != nil {
		return err
	}
	if f.approve != "" && !plan.Approves(f.approve) {
		return fmt.Errorf("the plan is another one than %s now: look at it with berth pmr plan, and approve that", f.approve)
	}
	allowed := 0
	if f.approve != "" {
		allowed = len(plan.Held())
	}
	for deadline := time.Now().Add(f.patience); ; {
		if held := len(plan.Held()); held > 0 && held <= allowed {
			plan.Release()
		}
		waiting, err := f.carryOut(ctx, c, plan, configOf, errs)
		if err != nil {
			return err
		}
		if plan, configOf, err = f.plan(ctx, c, want); err != nil {
			return err
		}
		if waiting == 0 {
			break
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the namespaces of %s are not there after %s: is Berth's controller running?", several(waiting, "profile"), f.patience)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
	return printPlan(out, plan, "berth pmr apply --file "+strings.Join(f.files, " --file ")+" --sync "+f.sync+" --approve")
}

// plan compares the list with the cluster.
func (f *applyFlags) plan(ctx context.Context, c client.Client, want pmr.Want) (pmr.Plan, func(string) render.Config, error) {
	have, err := gather.Live(ctx, c)
	if err != nil {
		return pmr.Plan{}, nil, err
	}
	var classes berthv1alpha1.ProfileClassList
	if err := c.List(ctx, &classes); err != nil && !meta.IsNoMatchError(err) {
		return pmr.Plan{}, nil, fmt.Errorf("list the ProfileClasses: %w", err)
	}
	configOf := func(class string) render.Config {
		p := &kubeflowv1.Profile{}
		if class != "" {
			p.Labels = map[string]string{berthv1alpha1.ClassLabel: class}
		}
		return f.settings.With(render.ClassOf(p, classes.Items))
	}
	rules := pmr.Rules{Sync: f.sync, Now: time.Now(), Limits: pmr.DefaultLimits(), ConfigOf: configOf}
	rules.Stale.GracePeriod = gracePeriod
	return pmr.Diff(want, have, rules), configOf, nil
}

// carryOut does what of plan is not held, and returns for how many profiles there is no namespace yet.
func (f *applyFlags) carryOut(ctx context.Context, c client.Client, plan pmr.Plan, configOf func(string) render.Config, errs io.Writer) (waiting int, err error) {
	bar := progress(errs, len(plan.Actions))
	outcomes := enact.Plan(ctx, plan, enact.Options{
		Client: c, Direct: c, Sync: f.sync, ConfigOf: configOf, Workers: applyWorkers, Now: time.Now,
		Done: func(o enact.Outcome) { _ = bar.Add(len(o.Done)) }, // it only draws
	})
	_ = bar.Clear()
	var failed []error
	for _, o := range outcomes {
		if o.Waiting {
			waiting++
		}
		if o.Err != nil {
			failed = append(failed, o.Err)
		}
	}
	return waiting, errors.Join(failed...)
}

// progress is a bar on a terminal, and nothing elsewhere.
func progress(out io.Writer, most int) *progressbar.ProgressBar {
	file, isFile := out.(*os.File)
	return progressbar.NewOptions(most, progressbar.OptionSetWriter(out), progressbar.OptionShowCount(), progressbar.OptionSetDescription("actions"),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetVisibility(isFile && term.IsTerminal(int(file.Fd()))))
}
