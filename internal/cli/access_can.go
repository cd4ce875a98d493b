// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/access/mesh"
	"berth.dev/berth/internal/access/rbac"
	"berth.dev/berth/internal/identity"
	"berth.dev/berth/internal/snapshot"
)

// canFlags are those of a question.
type canFlags struct {
	accessFlags

	namespace, subresource, via, to, caller, host string
	groups, headers                               []string
}

// accessCanCommand is "can", or with reasons "why".
func accessCanCommand(name string, reasons bool) *cobra.Command {
	var f canFlags
	cmd := &cobra.Command{
		Use:   name + " USER VERB RESOURCE [NAME] [-n NAMESPACE] | " + name + " USER METHOD PATH [--via gateway] [--to NAMESPACE/SERVICE]",
		Short: map[bool]string{false: "Say whether somebody can do something", true: "Say it with the whole chain of reasons"}[reasons],
		Long: "Say whether somebody can do something: with a resource of the Kubernetes API, as RBAC decides, or with a web address behind the\n" +
			"mesh, as Istio decides, hop by hop. With --via gateway the user comes from outside and has signed in; without, the request comes\n" +
			"straight to the Service --to, from the service account --caller, or from nobody in plain text.\n\n" +
			"The exit code is 0 for yes, 1 for no and for what can't be told, and 2 where the question could not be asked.",
		Example: "  berth access " + name + " alice@example.com create inferenceservices -n risk\n" +
			"  berth access " + name + " system:serviceaccount:risk:default-editor get secrets db -n risk\n" +
			"  berth access " + name + " alice@example.com GET /notebook/risk/nb1/lab --via gateway\n" +
			"  berth access " + name + " nobody GET /v1/models --to risk/model --caller shop/default --header kubeflow-userid=alice@example.com",
		Args: cobra.RangeArgs(3, 4), //nolint:mnd // user, verb, resource and name
		RunE: func(cmd *cobra.Command, args []string) error {
			engine, s, err := f.engine(cmd.Context())
			if err != nil {
				return err
			}
			q, known, err := f.question(s, args)
			if err != nil {
				return unanswered(err)
			}
			d, err := engine.Can(q)
			if err != nil {
				return unanswered(err)
			}
			if !known {
				d.Steps[0].Notes = append(d.Steps[0].Notes, fmt.Sprintf("nothing is known of a resource %q: it is asked as written", args[2]))
			}
			if f.output == "json" {
				err = printJSON(cmd.OutOrStdout(), d)
			} else {
				printDecision(cmd.OutOrStdout(), q, d, reasons)
			}
			if err == nil && d.Verdict != mesh.Allowed {
				err = &ExitError{Code: 1}
			}
			return err
		},
	}
	f.bind(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&f.namespace, "namespace", "n", "", "the namespace; without one, all of them are asked about at once")
	flags.StringVar(&f.subresource, "subresource", "", "such as log, exec or status")
	flags.StringSliceVar(&f.groups, "groups", nil, "groups that the identity provider puts the user in")
	flags.StringVar(&f.via, "via", "", "gateway: the request comes from outside, and the user has signed in")
	flags.StringVar(&f.to, "to", "", "the Service that the request is for, as NAMESPACE/NAME or NAMESPACE/NAME:PORT")
	flags.StringVar(&f.caller, "caller", "", "the service account that the request comes from, as NAMESPACE/NAME")
	flags.StringVar(&f.host, "host", "", "the host of the request")
	flags.StringArrayVar(&f.headers, "header", nil, "a header of the request, as NAME=VALUE")
	return cmd
}

// question reads the arguments. It returns false if nothing is known of the resource.
func (f *canFlags) question(s *snapshot.Snapshot, args []string) (access.Question, bool, error) {
	user := args[0]
	if user == "nobody" {
		user = ""
	}
	q := access.Question{User: rbac.SignedIn(user, f.groups...)}
	if strings.HasPrefix(args[2], "/") && args[1] == strings.ToUpper(args[1]) {
		web, err := f.web(args)
		q.Web = web
		return q, true, err
	}
	if f.via+f.to+f.caller+f.host != "" || len(f.headers) > 0 {
		return q, false, fmt.Errorf("--via, --to, --caller, --host and --header go with METHOD PATH, such as GET /notebook/risk/nb1, and not with %q", args[1])
	}
	if strings.HasPrefix(args[2], "/") {
		q.Resource = &rbac.Question{Verb: args[1], Path: args[2]}
		return q, true, nil
	}
	named, sub, _ := strings.Cut(args[2], "/")
	r, known, err := s.Resource(named)
	if err != nil {
		return q, false, err
	}
	q.Resource = &rbac.Question{Verb: strings.ToLower(args[1]), Group: r.Group, Resource: r.Name, Subresource: f.subresource, Namespace: f.namespace}
	if sub != "" {
		q.Resource.Subresource = sub
	}
	if len(args) > 3 { //nolint:mnd // the name comes last
		q.Resource.Name = args[3]
	}
	if known && !r.Namespaced {
		q.Resource.Namespace = ""
	}
	return q, known, nil
}

// web is the request that args and flags mean.
func (f *canFlags) web(args []string) (*access.Web, error) {
	if len(args) > 3 { //nolint:mnd // there is no name
		return nil, fmt.Errorf("%q is too much: a path has no name behind it", args[3])
	}
	if f.via != "" && f.via != "gateway" {
		return nil, fmt.Errorf("--via is %q: the way in is gateway", f.via)
	}
	w := &access.Web{Method: args[1], Path: args[2], Host: f.host, ViaGateway: f.via != "", To: f.to, From: f.caller, Headers: map[string][]string{}}
	// A service account asks as itself.
	account, name, isAccount := strings.Cut(strings.TrimPrefix(args[0], "system:serviceaccount:"), ":")
	if w.From == "" && !w.ViaGateway && isAccount && strings.HasPrefix(args[0], "system:serviceaccount:") {
		w.From = account + "/" + name
	}
	for _, header := range f.headers {
		name, value, found := strings.Cut(header, "=")
		if !found || name == "" {
			return nil, fmt.Errorf("the header %q is not written NAME=VALUE", header)
		}
		name = strings.ToLower(name)
		w.Headers[name] = append(w.Headers[name], value)
	}
	return w, identity.CheckName(args[0])
}

// printDecision says yes or no, and what each layer says; with reasons also what was taken for granted.
func printDecision(out io.Writer, q access.Question, d access.Decision, reasons bool) {
	style := styleOf(out)
	answer := map[mesh.Verdict]string{mesh.Allowed: style.paint(green, "yes"), mesh.Denied: style.paint(red, "no"), mesh.Unknown: style.paint(yellow, "can't be told")}
	fmt.Fprintf(out, "%s  %s\n", answer[d.Verdict], printable(q.String()))
	for _, step := range d.Steps {
		verdict := string(step.Verdict)
		if step.Told {
			verdict = "(" + verdict + ")"
		}
		fmt.Fprintf(out, "  %s: %s", style.paint(bold, printable(step.Layer)), verdict)
		if step.By != "" {
			fmt.Fprintf(out, " by %s", printable(step.By))
		}
		fmt.Fprintln(out)
		if reasons || step.Verdict != mesh.Allowed && !step.Told {
			fmt.Fprintf(out, "      %s\n", printable(step.Why))
			for _, note := range step.Notes {
				fmt.Fprintf(out, "      %s %s\n", style.paint(faint, "-"), printable(note))
			}
		}
	}
}

// verdictMark is a verdict in a cell of a table.
func verdictMark(style style, v mesh.Verdict) string {
	switch v {
	case mesh.Allowed:
		return style.paint(green, "yes")
	case mesh.Unknown:
		return style.paint(yellow, "?")
	}
	return style.paint(faint, "-")
}
