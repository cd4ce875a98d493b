// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"berth.dev/berth/internal/pmr"
)

func pmrLintCommand() *cobra.Command {
	var list listFlags
	var domains []string
	var output, failOn string
	cmd := &cobra.Command{
		Use:   "lint [PATH…]",
		Short: "Check a list of profiles",
		Long: "Check a list of profiles, without a cluster. Each PATH is a file, a directory whose .yaml files are meant, or a pattern;\n" +
			"all of them together are one list. Without PATH it is pmr.yaml.\n\n" +
			"The exit code is 1 where there are errors, and with --fail-on warning where there are warnings.",
		Example: "  berth pmr lint\n  berth pmr lint pmr.yaml --overlay overlays/staging.yaml --allow-domain example.com\n  berth pmr lint lists/ -o sarif > lint.sarif",
		RunE: func(cmd *cobra.Command, args []string) error {
			if failOn != "error" && failOn != "warning" {
				return fmt.Errorf("--fail-on is %q: use error or warning", failOn)
			}
			if len(args) == 0 {
				args = []string{"pmr.yaml"}
			}
			in, err := list.input(args, onDisk)
			if err != nil {
				return err
			}
			_, findings := checked(in, domains)
			if err := printFindings(cmd.OutOrStdout(), findings, output); err != nil {
				return err
			}
			if count := counted(findings); count[pmr.Error] > 0 || failOn == "warning" && count[pmr.Warning] > 0 {
				return &ExitError{Code: 1}
			}
			return nil
		},
	}
	list.bind(cmd)
	cmd.Flags().StringSliceVar(&domains, "allow-domain", nil, "a domain that e-mail addresses of owners and contributors may have; all where none is given")
	cmd.Flags().StringVarP(&output, "output", "o", "human", "human, json or sarif")
	cmd.Flags().StringVar(&failOn, "fail-on", "error", "error, or warning to fail on warnings, too")
	return cmd
}

// checked reads and lints a list.
func checked(in pmr.Input, domains []string) (pmr.Document, []pmr.Finding) {
	doc, findings := pmr.Read(in)
	if pmr.HasErrors(findings) {
		return doc, findings // what was not read can't be spoken of
	}
	return doc, append(findings, pmr.Lint(doc, pmr.LintRules{Validation: in.Validation, Now: time.Now(), Domains: domains})...)
}

// counted counts findings by severity.
func counted(findings []pmr.Finding) map[pmr.Severity]int {
	count := map[pmr.Severity]int{}
	for _, f := range findings {
		count[f.Severity]++
	}
	return count
}

func printFindings(out io.Writer, findings []pmr.Finding, output string) error {
	switch output {
	case "human":
		style := styleOf(out)
		for _, f := range findings {
			color := map[pmr.Severity]string{pmr.Error: red, pmr.Warning: yellow, pmr.Note: blue}[f.Severity]
			fmt.Fprintf(out, "%s: %s %s %s\n", f.Position, style.paint(color, string(f.Severity)+":"), printable(f.Message), style.paint(faint, "["+f.Code+"]"))
		}
		count := counted(findings)
		_, err := fmt.Fprintf(out, "%s, %s, %s\n", several(count[pmr.Error], "error"), several(count[pmr.Warning], "warning"), several(count[pmr.Note], "note"))
		return err
	case "json":
		if findings == nil {
			findings = []pmr.Finding{}
		}
		return printJSON(out, map[string]any{"findings": findings})
	case "sarif":
		return printJSON(out, sarifOf(findings))
	}
	return fmt.Errorf("--output is %q: use human, json or sarif", output)
}

func printJSON(out io.Writer, value any) error {
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(value); err != nil {
		return fmt.Errorf("print as JSON: %w", err)
	}
	return nil
}

// several is a count with its noun.
func several(count int, noun string) string {
	if count == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", count, noun)
}

// sarif is the part of SARIF 2.1.0 that findings need.
type sarif struct {
	Schema  string     `json:"$schema"`
	Version string     `json:"version"`
	Runs    []sarifRun `json:"runs"`
}

type sarifRun struct {
	Tool struct {
		Driver struct {
			Name    string      `json:"name"`
			Version string      `json:"version"`
			Rules   []sarifRule `json:"rules"`
		} `json:"driver"`
	} `json:"tool"`
	Results []sarifResult `json:"results"`
}

type sarifRule struct {
	ID string `json:"id"`
}

type sarifText struct {
	Text string `json:"text"`
}

type sarifResult struct {
	RuleID    string          `json:"ruleId"`
	Level     string          `json:"level"`
	Message   sarifText       `json:"message"`
	Locations []sarifLocation `json:"locations"`
}

type sarifLocation struct {
	Physical struct {
		Artifact struct {
			URI string `json:"uri"`
		} `json:"artifactLocation"`
		Region struct {
			Line   int `json:"startLine"`
			Column int `json:"startColumn"`
		} `json:"region"`
	} `json:"physicalLocation"`
}

func sarifOf(findings []pmr.Finding) sarif {
	run := sarifRun{Results: []sarifResult{}}
	run.Tool.Driver.Name, run.Tool.Driver.Version, run.Tool.Driver.Rules = "berth pmr lint", Version(), []sarifRule{}
	known := map[string]bool{}
	for _, f := range findings {
		if !known[f.Code] {
			known[f.Code] = true
			run.Tool.Driver.Rules = append(run.Tool.Driver.Rules, sarifRule{ID: f.Code})
		}
		var at sarifLocation
		at.Physical.Artifact.URI = f.Position.File
		at.Physical.Region.Line, at.Physical.Region.Column = cmp.Or(f.Position.Line, 1), cmp.Or(f.Position.Column, 1)
		run.Results = append(run.Results, sarifResult{
			RuleID: f.Code, Level: string(f.Severity), Message: sarifText{f.Message}, Locations: []sarifLocation{at},
		})
	}
	return sarif{Schema: "https://json.schemastore.org/sarif-2.1.0.json", Version: "2.1.0", Runs: []sarifRun{run}}
}
