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

	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"berth.dev/berth/internal/access"
	"berth.dev/berth/internal/kfam"
	"berth.dev/berth/internal/memory"
)

// kfamCommand has the flags of Kubeflow's access-management API, read as the flag package reads them.
func kfamCommand() *cobra.Command {
	return &cobra.Command{
		Use:                "kfam",
		Short:              "Serve the access-management API: create profiles, invite contributors, list who has access",
		Long:               "Serve the access-management API. Run with -help for the flags.",
		DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			return runKFAM(cmd.Context(), args)
		},
	}
}

func runKFAM(ctx context.Context, args []string) error {
	k := newKFAMFlags(os.Getenv)
	if err := k.parse(args, os.Stdout, os.Stderr); err != nil {
		return err
	}
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&k.logging)))
	go memory.Keep(ctx, kfamRoom)
	cluster, err := clusterConfig()
	if err != nil {
		return err
	}
	options, err := k.options()
	if err != nil {
		return err
	}
	if err := kfam.Connect(cluster, &options); err != nil {
		return err
	}
	if k.tokenReview {
		options.Authentication.Tokens = append(options.Authentication.Tokens, kfam.NewTokenReview(options.Client, k.tokenAudiences))
	}
	options.Log = ctrl.Log.WithName("kfam")
	if options.Authentication.Trust == kfam.TrustAlways {
		options.Log.Info("WARNING: the identity header of every request is believed. Whoever can reach this server can call "+
			"themselves anybody, a cluster admin included: keep everybody but the gateway and the dashboard from reaching it, "+
			"by NetworkPolicy and AuthorizationPolicy, or run with -trust-header=principal", "header", options.Authentication.Header)
	}
	return kfam.New(options).Serve(ctx, k.listen)
}

// kfamRoom is how much memory the process takes, besides its own code, while fewer than about thirty thousand bindings
// live in it.
const kfamRoom = 112 << 20

// kfamFlags are the flags of the access-management API and what they set.
type kfamFlags struct {
	*flag.FlagSet

	settings          *settings
	logging           zap.Options
	listen            kfam.Listen
	clusterAdmins     string
	trust             string
	trustedPrincipals wordList
	oidc              kfam.OIDCOptions
	tokenReview       bool
	tokenAudiences    wordList
	writesPerSecond   int
	alwaysReview      bool
}

// platformPrincipals are the workloads that may ask for themselves, as Kubeflow's dashboard has been called.
var platformPrincipals = []string{"cluster.local/ns/kubeflow/sa/dashboard", "cluster.local/ns/kubeflow/sa/centraldashboard"}

func newKFAMFlags(getenv func(string) string) *kfamFlags {
	k := &kfamFlags{
		FlagSet:  flag.NewFlagSet("kfam", flag.ContinueOnError),
		settings: newSettings(getenv),
	}
	k.settings.bindAdmission(k.FlagSet)
	k.StringVar(&k.clusterAdmins, "cluster-admin", "", "who may manage every profile: users, and groups as group:NAME, with commas")
	k.StringVar(&k.listen.Address, "bind-address", ":8081", "the address to serve at")
	k.StringVar(&k.listen.CertFile, "tls-cert-file", "", "a `file` with the certificate of TLS; it is read again when it changes")
	k.StringVar(&k.listen.KeyFile, "tls-private-key-file", "", "a `file` with the key of the certificate")
	k.StringVar(&k.trust, "trust-header", string(kfam.TrustPrincipal),
		"whose identity header is believed. principal: that of the trusted principals; always: everybody's, which the network alone makes safe")
	k.Var(&k.trustedPrincipals, "trusted-principal", "the mesh `identity` of a workload whose header is believed; several with commas or by giving the flag again. "+
		"All but the ingress gateway may also read, and sign people up, without naming a user (default: the ingress gateway, "+strings.Join(platformPrincipals, ", ")+")")
	k.StringVar(&k.oidc.Issuer, "oidc-issuer", "", "the `URL` of the identity provider whose tokens are accepted")
	k.StringVar(&k.oidc.Audience, "oidc-audience", "", "whom the provider must have issued a token for: the client ID")
	k.StringVar(&k.oidc.UserClaim, "oidc-username-claim", "email", "the claim that holds the user's name")
	k.StringVar(&k.oidc.GroupsClaim, "oidc-groups-claim", "groups", "the claim that holds the user's groups")
	k.StringVar(&k.oidc.CAFile, "oidc-ca-file", "", "a PEM `file` with the authority of the provider's certificate; that of the system by default")
	k.BoolVar(&k.tokenReview, "token-review", true, "accept the tokens that the cluster accepts, such as those of service accounts")
	k.Var(&k.tokenAudiences, "token-audience", "whom such a `token` must have been issued for; several with commas or by giving the flag again; the API server by default")
	k.IntVar(&k.writesPerSecond, "writes-per-second", defaultWritesPerSecond, "how many changes a second one caller may make, and twice as many at first; 0 for any number")
	k.BoolVar(&k.alwaysReview, "always-review", false, "ask the API server about everybody who is neither owner nor cluster admin, also where RBAC lets them manage contributors: "+
		"for API servers with an authorizer that denies what RBAC allows")
	config.RegisterFlags(k.FlagSet)
	k.logging.BindFlags(k.FlagSet)
	return k
}

// defaultWritesPerSecond is more than any script needs, and little enough to leave the API server to others.
const defaultWritesPerSecond = 500

// parse reads args and the file that they name. Asked for help, it prints the flags and returns flag.ErrHelp.
func (k *kfamFlags) parse(args []string, out, errs io.Writer) error {
	k.SetOutput(io.Discard) // the error is told once, by whoever called, and without all the flags
	switch err := k.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		k.SetOutput(out)
		fmt.Fprintln(out, "Flags, with one dash or two:")
		k.PrintDefaults()
		return err
	case err != nil:
		return fmt.Errorf("%w; -help lists the flags", err)
	}
	if rest := k.Args(); len(rest) > 0 {
		// Kubeflow's API never minded, and there are installations that rely on it.
		fmt.Fprintf(errs, "Warning: ignoring %q and all flags after it\n", rest[0])
	}
	if (k.listen.CertFile == "") != (k.listen.KeyFile == "") {
		return errors.New("-tls-cert-file and -tls-private-key-file go together: give both, or neither")
	}
	if trust := kfam.TrustHeader(k.trust); trust != kfam.TrustPrincipal && trust != kfam.TrustAlways {
		return fmt.Errorf("-trust-header is %q: use %s or %s", k.trust, kfam.TrustPrincipal, kfam.TrustAlways)
	}
	var given []string
	k.Visit(func(f *flag.Flag) { given = append(given, f.Name) })
	return k.settings.finish(given)
}

// options are what the flags say.
func (k *kfamFlags) options() (kfam.Options, error) {
	admins, err := access.ParseAdmins(k.clusterAdmins)
	if err != nil {
		return kfam.Options{}, fmt.Errorf("-cluster-admin: %w", err)
	}
	gateway, trusted := k.settings.Principals.IngressGateway, k.trustedPrincipals
	if len(trusted) == 0 {
		trusted = append(wordList{gateway}, platformPrincipals...)
	}
	options := kfam.Options{
		Render: k.settings.Config,
		Authentication: kfam.Authentication{
			Header: k.settings.UserIDHeader, Prefix: k.settings.UserIDPrefix,
			Trust:    kfam.TrustHeader(k.trust),
			Gateways: slices.DeleteFunc(slices.Clone(trusted), func(principal string) bool { return principal != gateway }),
			Platform: slices.DeleteFunc(slices.Clone(trusted), func(principal string) bool { return principal == gateway }),
		},
		Admins:          admins,
		WritesPerSecond: k.writesPerSecond,
		AlwaysReview:    k.alwaysReview,
	}
	if k.oidc.Issuer != "" {
		verifier, err := kfam.NewOIDC(k.oidc)
		if err != nil {
			return kfam.Options{}, err
		}
		options.Authentication.Tokens = append(options.Authentication.Tokens, verifier)
	}
	return options, nil
}

// wordList is a flag with several values.
type wordList []string

// String joins them.
func (l *wordList) String() string {
	if l == nil {
		return ""
	}
	return strings.Join(*l, ",")
}

// Set adds values with commas between them.
func (l *wordList) Set(value string) error {
	for word := range strings.SplitSeq(value, ",") {
		if word = strings.TrimSpace(word); word != "" {
			*l = append(*l, word)
		}
	}
	return nil
}
