// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package coverage

import (
	_ "embed" // policy.yaml
	"errors"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"

	"berth.dev/berth/internal/snapshot"
)

// APIVersion and Kind are those of a Policy in a file.
const (
	APIVersion = "config.berth.dev/v1alpha1"
	Kind       = "RolePolicy"
)

// Policy says what tenants are to have on which kinds.
type Policy struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// View are the verbs of those who look: get, list and watch where it is not given, and no others.
	View []string `json:"view,omitzero"`
	// Edit are the verbs of those who work: View's, and create, update, patch and delete where it is not given. Those who
	// administer have the same.
	Edit []string `json:"edit,omitzero"`
	// Groups are what is looked at. Of several that a kind is in, the last decides.
	Groups []Group `json:"groups"`
	// Accepted is what roles give besides, and is meant.
	Accepted []Accepted `json:"accepted,omitempty"`
	// Unserved are resources that programs ask the API server about, and that it does not serve.
	Unserved []Unserved `json:"unserved,omitempty"`
}

// Group is an API group, or some kinds of one.
type Group struct {
	Name string `json:"name"`
	// Resources are the kinds, by their plurals; all where it is not given.
	Resources []string `json:"resources,omitempty"`
	// View and Edit are the verbs for these kinds, where others than the policy's are meant.
	View []string `json:"view,omitzero"`
	Edit []string `json:"edit,omitzero"`
	// Reason is for people.
	Reason string `json:"reason,omitempty"`
}

// Accepted are verbs that a role may have although they are more than the policy says.
type Accepted struct {
	// Role is view or edit.
	Role      Level    `json:"role"`
	Group     string   `json:"group"`
	Resources []string `json:"resources"`
	Verbs     []string `json:"verbs"`
	Reason    string   `json:"reason,omitempty"`
}

// Unserved are resources of a group.
type Unserved struct {
	Group     string   `json:"group"`
	Resources []string `json:"resources"`
}

// ReadPolicy reads a Policy of YAML. What it does not know is an error, and so is a policy by which tenants would get what
// nobody should have by a label: rights on Kubernetes' own kinds or the mesh's, or wildcards.
func ReadPolicy(data []byte) (Policy, error) {
	var p Policy
	if err := yaml.UnmarshalStrict(data, &p); err != nil {
		return Policy{}, fmt.Errorf("this is no %s: %w", Kind, err)
	}
	if p.APIVersion != APIVersion || p.Kind != Kind {
		return Policy{}, fmt.Errorf("this is a %q of %q: want kind %s of apiVersion %s", p.Kind, p.APIVersion, Kind, APIVersion)
	}
	if err := p.validate(); err != nil {
		return Policy{}, err
	}
	return p, nil
}

func (p Policy) validate() error {
	errs := []error{checkVerbs("view", p.View, reading), checkVerbs("edit", p.Edit, handedOut)}
	if len(p.Groups) == 0 {
		errs = append(errs, errors.New("groups: there is none"))
	}
	for i, g := range p.Groups {
		at := fmt.Sprintf("groups[%d]", i)
		errs = append(errs, checkGroup(at+".name", g.Name), checkVerbs(at+".view", g.View, reading), checkVerbs(at+".edit", g.Edit, handedOut))
		for _, resource := range g.Resources {
			errs = append(errs, checkResource(at+".resources", resource))
		}
	}
	for i, a := range p.Accepted {
		if a.Role != View && a.Role != Edit {
			errs = append(errs, fmt.Errorf("accepted[%d].role is %q: want view or edit", i, a.Role))
		}
		if len(a.Resources) == 0 || len(a.Verbs) == 0 {
			errs = append(errs, fmt.Errorf("accepted[%d]: name the resources and the verbs", i))
		}
	}
	return errors.Join(errs...)
}

var (
	// editing are the verbs of those who work.
	editing = []string{"get", "list", "watch", "create", "update", "patch", "delete"}
	// handedOut are all the verbs that a policy can give.
	handedOut = append(slices.Clone(editing), "deletecollection")
)

func checkVerbs(field string, verbs, of []string) error {
	for _, verb := range verbs {
		if !slices.Contains(of, verb) {
			return fmt.Errorf("%s has the verb %q: use some of %s", field, verb, strings.Join(of, ", "))
		}
	}
	return nil
}

// kubernetesOthers are groups below k8s.io that are not Kubernetes' own.
var kubernetesOthers = []string{"sparkoperator.k8s.io"}

// checkGroup refuses groups whose kinds decide about the cluster or about access.
func checkGroup(field, name string) error {
	if problems := validation.IsDNS1123Subdomain(name); len(problems) > 0 {
		return fmt.Errorf("%s is %q: want the name of an API group", field, name)
	}
	below := func(domain string) bool { return name == domain || strings.HasSuffix(name, "."+domain) }
	if !strings.Contains(name, ".") || below("k8s.io") && !slices.Contains(kubernetesOthers, name) || below("istio.io") || below("berth.dev") {
		return fmt.Errorf("%s is %q: rights on kinds of Kubernetes, the mesh and Berth are not for policies to give", field, name)
	}
	return nil
}

func checkResource(field, name string) error {
	if name == "secrets" || len(validation.IsDNS1035Label(name)) > 0 {
		return fmt.Errorf("%s has %q: want the plurals of kinds, and no wildcards", field, name)
	}
	return nil
}

// DefaultText is DefaultPolicy as people write it.
//
//go:embed policy.yaml
var DefaultText []byte

// DefaultPolicy is what is meant for what is known of Kubeflow and the operators beside it.
func DefaultPolicy() Policy {
	p, err := ReadPolicy(DefaultText)
	if err != nil {
		panic(fmt.Sprintf("policy.yaml: %v", err)) // a test reads it, too
	}
	return p
}

// of is the last entry that a kind is in.
func (p Policy) of(group, resource string) (Group, bool) {
	for _, g := range slices.Backward(p.Groups) {
		if g.Name == group && (len(g.Resources) == 0 || slices.Contains(g.Resources, resource)) {
			return g, true
		}
	}
	return Group{}, false
}

// covers says whether p is about the kind. What can't be in a policy is not, whoever says that it is served.
func (p Policy) covers(r snapshot.Resource) bool {
	_, found := p.of(r.Group, r.Name)
	return found && checkResource("", r.Name) == nil && checkGroup("", r.Group) == nil
}

// Covers says whether p is about kinds of the group.
func (p Policy) Covers(group string) bool { return p.looksAt(group) }

func (p Policy) looksAt(group string) bool {
	return slices.ContainsFunc(p.Groups, func(g Group) bool { return g.Name == group })
}

// wants are the verbs that a level is to have on a kind, of those that it knows.
func (p Policy) wants(r snapshot.Resource, level Level) []string {
	g, _ := p.of(r.Group, r.Name)
	choices := [][]string{g.Edit, p.Edit, editing}
	if level == View {
		choices = [][]string{g.View, p.View, reading}
	}
	for _, verbs := range choices {
		if verbs != nil {
			return slices.DeleteFunc(slices.Clone(verbs), func(verb string) bool {
				return len(r.Verbs) > 0 && !slices.Contains(r.Verbs, verb)
			})
		}
	}
	return nil
}

func (p Policy) accepts(level Level, group, resource, verb string) bool {
	return slices.ContainsFunc(p.Accepted, func(a Accepted) bool {
		return a.Role == level && a.Group == group && slices.Contains(a.Resources, resource) && slices.Contains(a.Verbs, verb)
	})
}

func (p Policy) unserved(group, resource string) bool {
	return slices.ContainsFunc(p.Unserved, func(u Unserved) bool { return u.Group == group && slices.Contains(u.Resources, resource) })
}
