// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	"berth.dev/berth/internal/controller/profile"
	"berth.dev/berth/internal/kube/apply"
	"berth.dev/berth/internal/kube/scheme"
)

func classCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "class", Short: "Look at classes of profiles"}
	cmd.AddCommand(classDiffCommand())
	return cmd
}

// classDiffCommand shows what a change of a class would do, before anybody applies it.
func classDiffCommand() *cobra.Command {
	settings := newSettings(os.Getenv)
	flags := flag.NewFlagSet("diff", flag.ContinueOnError)
	settings.bind(flags)
	config.RegisterFlags(flags)
	cmd := &cobra.Command{
		Use:   "diff FILE [--config FILE]",
		Short: "Show what a new or changed ProfileClass would change in the cluster, per profile",
		Long: "Show, for each profile that has the ProfileClass in FILE or would have it, what would be created, changed and\n" +
			"deleted if the class were applied. Every change is tried on the API server as a dry run; nothing is changed.\n" +
			"Give it the flags that the controller has.",
		Example: "  berth class diff secure.yaml --config controller.yaml\n  cat secure.yaml | berth class diff -",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := settings.finish(given(cmd, flags)); err != nil {
				return err
			}
			in, source, err := open(args[0], cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer func() { _ = in.Close() }() // only read from
			classes, err := readClasses(in, source)
			if err != nil {
				return err
			}
			if len(classes) != 1 {
				return fmt.Errorf("%s: there are %d ProfileClasses in it: give one at a time", source, len(classes))
			}
			return diffClass(cmd.Context(), settings, &classes[0], cmd.OutOrStdout())
		},
	}
	cmd.Flags().AddGoFlagSet(flags)
	return cmd
}

// given are the names of those flags that were set on the command line.
func given(cmd *cobra.Command, flags *flag.FlagSet) []string {
	var names []string
	flags.VisitAll(func(f *flag.Flag) {
		if cmd.Flags().Changed(f.Name) {
			names = append(names, f.Name)
		}
	})
	return names
}

// readClasses reads the ProfileClasses of in, whose name is source.
func readClasses(in io.Reader, source string) ([]berthv1alpha1.ProfileClass, error) {
	var classes []berthv1alpha1.ProfileClass
	reader := utilyaml.NewYAMLReader(bufio.NewReader(in))
	for n := 1; ; n++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			return classes, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s, document %d: %w", source, n, err)
		}
		var kind *metav1.TypeMeta
		if err := yaml.Unmarshal(document, &kind); err != nil {
			return nil, fmt.Errorf("%s, document %d: not a Kubernetes object: %w", source, n, err)
		}
		if kind == nil {
			continue
		}
		if kind.Kind != "ProfileClass" || kind.APIVersion != berthv1alpha1.GroupVersion.String() {
			return nil, fmt.Errorf("%s, document %d: kind %q of apiVersion %q: want a ProfileClass of %s",
				source, n, kind.Kind, kind.APIVersion, berthv1alpha1.GroupVersion)
		}
		class := berthv1alpha1.ProfileClass{}
		if err := yaml.UnmarshalStrict(document, &class); err != nil {
			return nil, fmt.Errorf("%s, document %d: not a ProfileClass as it should be: %w", source, n, err)
		}
		classes = append(classes, class)
	}
}

func diffClass(ctx context.Context, settings *settings, class *berthv1alpha1.ProfileClass, out io.Writer) error {
	config, err := settings.withLabels()
	if err != nil {
		return err
	}
	cluster, err := clusterConfig()
	if err != nil {
		return err
	}
	kinds, err := scheme.New()
	if err != nil {
		return err
	}
	c, err := client.New(cluster, client.Options{Scheme: kinds})
	if err != nil {
		return fmt.Errorf("connect to the cluster: %w", err)
	}
	// What the API server does not take is told here, and its defaults are filled in.
	tried := class.DeepCopy()
	live := &berthv1alpha1.ProfileClass{}
	switch err := c.Get(ctx, client.ObjectKeyFromObject(class), live); {
	case apierrors.IsNotFound(err):
		err = c.Create(ctx, tried, client.DryRunAll)
		if err != nil {
			return fmt.Errorf("the API server does not take the class: %w", err)
		}
	case err != nil:
		return fmt.Errorf("read profile class %q: %w", class.Name, err)
	default:
		tried.ResourceVersion = live.ResourceVersion
		if err := c.Update(ctx, tried, client.DryRunAll); err != nil {
			return fmt.Errorf("the API server does not take the class: %w", err)
		}
	}
	found, err := profile.PreviewClass(ctx, profile.Options{
		Client: c, Config: config, Now: time.Now,
		Labels: func() (map[string]string, bool) { return config.NamespaceLabels, true },
	}, tried)
	if err != nil {
		return err
	}
	return printPreviews(class.Name, found, out)
}

// printPreviews prints a line for each change, and how many there are.
func printPreviews(class string, found []profile.Preview, out io.Writer) error {
	count := map[apply.Action]int{}
	changing, refused := 0, 0
	columns := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, preview := range found {
		if len(preview.Changes)+len(preview.Refused) > 0 {
			changing++
		}
		for _, change := range preview.Changes {
			count[change.Action]++
			fmt.Fprintf(columns, "%s\t%s\t%s %s\t%s\n", preview.Profile, change.Action, change.Kind, change.Name, strings.Join(change.Fields, ", "))
		}
		for _, err := range preview.Refused {
			refused++
			fmt.Fprintf(columns, "%s\trefused\t%s\t\n", preview.Profile, err)
		}
	}
	if err := columns.Flush(); err != nil {
		return fmt.Errorf("print the changes: %w", err)
	}
	_, err := fmt.Fprintf(out, "class %s: %d of %d profiles would change: %d objects created, %d changed, %d deleted, %d refused\n",
		class, changing, len(found), count[apply.Create], count[apply.Patch]+count[apply.Recreate], count[apply.Delete], refused)
	return err
}
