// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	"berth.dev/berth/internal/labelsfile"
	"berth.dev/berth/internal/render"
)

// renderCommand prints what the controller would apply, by the controller's own code.
func renderCommand() *cobra.Command {
	var file string
	settings := newSettings(os.Getenv)
	flags := flag.NewFlagSet("render", flag.ContinueOnError)
	settings.bind(flags)
	cmd := &cobra.Command{
		Use:   "render -f profile.yaml [--config FILE]",
		Short: "Print what the controller would apply for a Profile",
		Long: "Print, as YAML, exactly what the controller would apply for the Profiles in a file, in a cluster that\n" +
			"has a service mesh and no namespace of that name yet. Nothing is sent to a cluster.",
		Example: "  berth render -f profile.yaml\n  cat profile.yaml | berth render -f - --config controller.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var given []string
			flags.VisitAll(func(f *flag.Flag) {
				if cmd.Flags().Changed(f.Name) {
					given = append(given, f.Name)
				}
			})
			if err := settings.finish(given); err != nil {
				return err
			}
			config, err := settings.withLabels()
			if err != nil {
				return err
			}
			in, err := open(file, cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer func() { _ = in.Close() }() // only read from
			return renderAll(in, config, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the file with Profiles, - for standard input")
	cmd.Flags().AddGoFlagSet(flags)
	_ = cmd.MarkFlagRequired("file") // it exists: defined two lines up
	return cmd
}

// withLabels is the configuration with the labels of the namespace labels file.
func (s *settings) withLabels() (render.Config, error) {
	file, err := s.openLabels(labelsfile.Options{})
	if err != nil {
		return s.Config, err
	}
	config := s.Config
	config.NamespaceLabels, _ = file.Labels()
	return config, file.Err()
}

func open(file string, stdin io.Reader) (io.ReadCloser, error) {
	if file == "-" {
		return io.NopCloser(stdin), nil
	}
	in, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read profiles: %w", err)
	}
	return in, nil
}

// renderAll renders every Profile of in. All are rendered before anything is printed, so that a mistake in the last
// one leaves no half result.
func renderAll(in io.Reader, config render.Config, out io.Writer) error {
	var documents []byte
	decoder := utilyaml.NewYAMLOrJSONDecoder(in, 4096)
	for n := 1; ; n++ {
		raw := runtime.RawExtension{}
		if err := decoder.Decode(&raw); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("document %d: %w", n, err)
		}
		if len(raw.Raw) == 0 || string(raw.Raw) == "null" {
			continue
		}
		rendered, err := renderOne(raw.Raw, config)
		if err != nil {
			return fmt.Errorf("document %d: %w", n, err)
		}
		documents = append(documents, rendered...)
	}
	if len(documents) == 0 {
		return fmt.Errorf("there is no Profile in the input")
	}
	_, err := out.Write(documents)
	return err
}

func renderOne(data []byte, config render.Config) ([]byte, error) {
	p := &kubeflowv1.Profile{}
	if err := yaml.UnmarshalStrict(data, p); err != nil {
		return nil, fmt.Errorf("not a Profile: %w", err)
	}
	if p.Kind != "Profile" || p.GroupVersionKind().Group != kubeflowv1.GroupVersion.Group {
		return nil, fmt.Errorf("%s of %s: want a Profile of %s", p.Kind, p.APIVersion, kubeflowv1.GroupVersion)
	}
	tenant := render.Profile(p, render.Input{
		Config: config,
		Mesh:   render.MeshKinds{AuthorizationPolicy: true, Gateway: true},
	})
	if !tenant.Claim.Allowed() {
		return nil, fmt.Errorf("profile %q: %s", p.Name, tenant.Claim.Problem.Message)
	}
	for _, part := range tenant.Parts {
		if part.Problem != nil {
			return nil, fmt.Errorf("profile %q: %s", p.Name, part.Problem.Message)
		}
	}
	var documents []byte
	for _, object := range tenant.Objects() {
		document, err := document(object)
		if err != nil {
			return nil, fmt.Errorf("profile %q: %w", p.Name, err)
		}
		documents = append(append(documents, "---\n"...), document...)
	}
	return documents, nil
}

// document is object as YAML, without the fields that only a server fills in.
func document(object render.Object) ([]byte, error) {
	tree, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object.Resource)
	if err != nil {
		return nil, fmt.Errorf("convert %s: %w", object.GetName(), err)
	}
	delete(tree, "status")
	if spec, isMap := tree["spec"].(map[string]any); isMap && len(spec) == 0 && len(object.Exact) == 0 {
		delete(tree, "spec")
	}
	if metadata, isMap := tree["metadata"].(map[string]any); isMap {
		delete(metadata, "creationTimestamp")
	}
	return yaml.Marshal(tree)
}
