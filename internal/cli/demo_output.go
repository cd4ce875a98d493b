// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"text/tabwriter"
	"time"

	"k8s.io/client-go/rest"

	"berth.dev/berth/internal/render"
)

// step says what is begun, a dot for every half second that it takes, and how it ended.
func (d *demo) step(text string, do func() (result string, err error)) error {
	fmt.Fprint(d.out, text, " ..")
	began := time.Now()
	ended, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			fmt.Fprint(d.out, ".")
			select {
			case <-ended:
				return
			case <-tick.C:
			}
		}
	}()
	result, err := do()
	close(ended)
	<-told
	if err != nil {
		fmt.Fprintln(d.out)
		return err
	}
	fmt.Fprintf(d.out, " %s after %.1f s\n", result, time.Since(began).Seconds())
	return nil
}

// table prints rows, the first of which is the heading, in columns.
func (d *demo) table(title string, rows [][]string) {
	fmt.Fprintf(d.out, "\n%s\n\n", title)
	columns := tabwriter.NewWriter(d.out, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		fmt.Fprintf(columns, "  %s\n", strings.Join(row, "\t"))
	}
	_ = columns.Flush() // fails where writing to the terminal does
}

// lookAround prints what to paste.
func (d *demo) lookAround() {
	name := d.tenants[0]
	fmt.Fprint(d.out, "\nLook around from another terminal, as long as this runs:\n\n")
	if _, err := exec.LookPath("kubectl"); err == nil {
		kubectl := "kubectl --kubeconfig " + pasteable(d.file("kubeconfig"))
		for _, rest := range []string{
			" get profiles",
			" describe profile " + name,
			" get serviceaccounts,rolebindings,authorizationpolicies,resourcequotas -n " + name,
			" auth can-i create pods -n " + name + " --as " + stranger,
		} {
			fmt.Fprintln(d.out, "  "+kubectl+rest)
		}
		fmt.Fprint(d.out, "\nTake something away, and it comes back; an Event of the profile tells:\n\n")
		fmt.Fprintln(d.out, "  "+kubectl+" delete rolebinding "+render.OwnerBindingName+" -n "+name)
	} else {
		curl := "curl -sK " + pasteable(d.file("curl.conf")) + " " + d.server
		for _, path := range []string{
			"/apis/kubeflow.org/v1/profiles/" + name,
			"/apis/rbac.authorization.k8s.io/v1/namespaces/" + name + "/rolebindings",
		} {
			fmt.Fprintln(d.out, "  "+curl+path)
		}
		fmt.Fprintf(d.out, "\nkubectl is not on the PATH (https://kubernetes.io/docs/tasks/tools/). It, or any other tool that reads a kubeconfig,\n"+
			"shows more, with %s.\n", pasteable(d.file("kubeconfig")))
	}
	d.inviteYourself(name)
	fmt.Fprintf(d.out, "\nThe logs are in %s. Ctrl-C ends everything.\n", pasteable(d.dir))
}

// writeCurlConfig lets curl in as the administrator.
func (d *demo) writeCurlConfig(config *rest.Config) error {
	if err := os.WriteFile(d.file("ca.crt"), config.CAData, 0o600); err != nil {
		return err
	}
	text := fmt.Sprintf("cacert = %q\nheader = %q\n", d.file("ca.crt"), "Authorization: Bearer "+config.BearerToken)
	return os.WriteFile(d.file("curl.conf"), []byte(text), 0o600)
}

// plainPath needs no quotes in a shell.
var plainPath = regexp.MustCompile(`^[\w@%+=:,./-]+$`)

// pasteable is path as a word for a shell, shorter where it is below the home directory.
func pasteable(path string) string {
	if !plainPath.MatchString(path) {
		return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
	}
	if home, err := os.UserHomeDir(); err == nil {
		if below, err := filepath.Rel(home, path); err == nil && filepath.IsLocal(below) {
			return filepath.Join("~", below)
		}
	}
	return path
}
