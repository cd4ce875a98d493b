// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"bufio"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	berthv1alpha1 "berth.dev/berth/api/berth/v1alpha1"
	kubeflowv1 "berth.dev/berth/api/kubeflow/v1"
	kubeflowv1beta1 "berth.dev/berth/api/kubeflow/v1beta1"
	"berth.dev/berth/internal/labelsfile"
	"berth.dev/berth/internal/render"
)

// renderCommand prints what the controller would apply, by the controller's own code.
func renderCommand() *cobra.Command {
	var file, classFile string
	settings := newSettings(os.Getenv)
	flags := flag.NewFlagSet("render", flag.ContinueOnError)
	settings.bind(flags)
	cmd := &cobra.Command{
		Use:   "render -f profile.yaml [--class FILE] [--config FILE]",
		Short: "Print what the controller would apply for a Profile",
		Long: "Print, as YAML, exactly what the controllers would apply for the Profiles in a file and their classes, in a cluster that\n" +
			"has a service mesh, KServe, External Secrets and no namespace of that name yet. Nothing is sent to a cluster.",
		Example: "  berth render -f profile.yaml\n  berth render -f profile.yaml --class secure.yaml\n  cat profile.yaml | berth render -f - --config controller.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := settings.finish(given(cmd, flags)); err != nil {
				return err
			}
			classes, err := classesOf(classFile, cmd.InOrStdin())
			if err != nil {
				return err
			}
			config, err := settings.withLabels()
			if err != nil {
				return err
			}
			in, source, err := open(file, cmd.InOrStdin())
			if err != nil {
				return err
			}
			defer func() { _ = in.Close() }() // only read from
			return renderAll(in, source, renderer{config, classes}, cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "the file with Profiles, - for standard input")
	cmd.Flags().StringVar(&classFile, "class", "", "a file with ProfileClasses; the only one is that of profiles that name none")
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

// open opens the file and says how to call it in errors.
func open(file string, stdin io.Reader) (in io.ReadCloser, source string, err error) {
	if file == "-" {
		return io.NopCloser(stdin), "standard input", nil
	}
	in, err = os.Open(file)
	if err != nil {
		return nil, "", fmt.Errorf("read profiles: %w", err)
	}
	return in, file, nil
}

// renderAll renders every Profile of in, whose name is source. All are rendered before anything is printed, so that a
// mistake in the last one leaves no half result. What of a profile can't be had as asked for is told at the end: the
// controller applies the rest, and so the rest is printed.
func renderAll(in io.Reader, source string, with renderer, out io.Writer) error {
	var documents []byte
	var problems []error
	reader := utilyaml.NewYAMLReader(bufio.NewReader(in))
	for n := 1; ; n++ {
		document, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("%s, document %d: %w", source, n, err)
		}
		rendered, lacks, err := with.one(document)
		if err != nil {
			return fmt.Errorf("%s, document %d: %w", source, n, err)
		}
		documents = append(documents, rendered...)
		for _, problem := range lacks {
			problems = append(problems, fmt.Errorf("%s, document %d: %s", source, n, problem.Message))
		}
	}
	if len(documents) == 0 {
		return fmt.Errorf("%s: there is no Profile in it", source)
	}
	policies, err := with.policies()
	if err != nil {
		return err
	}
	documents = append(documents, policies...)
	if _, err := out.Write(documents); err != nil {
		return fmt.Errorf("print the objects: %w", err)
	}
	return errors.Join(problems...)
}

// renderer is what profiles are rendered with.
type renderer struct {
	config  render.Config
	classes []berthv1alpha1.ProfileClass
}

// classesOf are the classes in a file; none where no file is named.
func classesOf(file string, stdin io.Reader) ([]berthv1alpha1.ProfileClass, error) {
	if file == "" {
		return nil, nil
	}
	in, source, err := open(file, stdin)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }() // only read from
	classes, err := readClasses(in, source)
	if err == nil && len(classes) == 0 {
		err = fmt.Errorf("%s: there is no ProfileClass in it", source)
	}
	return classes, err
}

// class is that of p. The only one that was given is that of profiles that name none.
func (r renderer) class(p *kubeflowv1.Profile) render.Class {
	if len(r.classes) == 1 && p.Labels[berthv1alpha1.ClassLabel] == "" {
		p = p.DeepCopy()
		metav1.SetMetaDataLabel(&p.ObjectMeta, berthv1alpha1.ClassLabel, r.classes[0].Name)
	}
	return render.ClassOf(p, r.classes)
}

// policies are the rules of the classes as the API server enforces them, each once.
func (r renderer) policies() ([]byte, error) {
	var objects []render.Object
	for i := range r.classes {
		objects = append(objects, render.ClassPolicies(&r.classes[i], len(r.classes) == 1 || r.classes[i].Name == render.DefaultClass(r.classes))...)
	}
	return render.YAML(objects)
}

// one returns the objects of one Profile and what of it can't be had as asked for; nothing where the document is empty.
func (r renderer) one(data []byte) (rendered []byte, lacks []render.Problem, err error) {
	var kind *metav1.TypeMeta
	if err := yaml.Unmarshal(data, &kind); err != nil {
		return nil, nil, fmt.Errorf("not a Kubernetes object: %w", err)
	}
	if kind == nil {
		return nil, nil, nil
	}
	versions := []string{kubeflowv1.GroupVersion.String(), kubeflowv1beta1.GroupVersion.String()}
	if kind.Kind != "Profile" || !slices.Contains(versions, kind.APIVersion) {
		return nil, nil, fmt.Errorf("kind %q of apiVersion %q: want a Profile of %s", kind.Kind, kind.APIVersion, versions[0])
	}
	p := &kubeflowv1.Profile{} // its JSON is the same in both versions
	if err := yaml.UnmarshalStrict(data, p); err != nil {
		return nil, nil, fmt.Errorf("not a Profile as it should be: %w", err)
	}
	tenant := render.Profile(p, render.Input{
		Config: r.config,
		Class:  r.class(p),
		Mesh: render.MeshKinds{
			AuthorizationPolicy: true, Gateway: true, PeerAuthentication: true, RequestAuthentication: true,
			ProfileClass: true, InferenceService: true, ExternalSecrets: "v1",
		},
	})
	if !tenant.Claim.Allowed() {
		return nil, nil, errors.New(tenant.Claim.Problem.Message)
	}
	lacks = tenant.Problems()
	for _, plugin := range render.Plugins(p, r.config) {
		if plugin.Problem != nil {
			lacks = append(lacks, *plugin.Problem)
		}
	}
	rendered, err = tenant.YAML()
	return rendered, lacks, err
}
