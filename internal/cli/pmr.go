// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"berth.dev/berth/internal/pmr"
)

func pmrCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pmr",
		Short: "Check and compare declared lists of profiles",
		Long: "Check declared lists of profiles and contributors (PMR), show what they would change in a cluster, and write the one\n" +
			"that a cluster has now.",
	}
	cmd.AddCommand(pmrLintCommand(), pmrPlanCommand(), pmrApplyCommand(), pmrImportCommand(), pmrSchemaCommand())
	return cmd
}

func pmrSchemaCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "schema",
		Short:   "Print the JSON Schema of a list, for editors",
		Example: "  berth pmr schema > pmr.schema.json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			text, err := pmr.Schema()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(text)
			return err
		},
	}
}

// ExitError ends the program with a code of its own. Without Err, there is nothing to say.
type ExitError struct {
	Code int
	Err  error
}

func (e *ExitError) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

func (e *ExitError) Unwrap() error { return e.Err }

// listFlags say which list is meant.
type listFlags struct {
	overlays   []string
	validation string
}

func (f *listFlags) bind(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&f.overlays, "overlay", nil, "a file that changes the list; of several, in this order")
	cmd.Flags().StringVar(&f.validation, "validation", string(pmr.Strict), "strict, or compat for what github-profiles-automator takes")
}

// input is the list that paths name, read by find.
func (f *listFlags) input(paths []string, find func(path string) ([]pmr.File, error)) (pmr.Input, error) {
	in := pmr.Input{Validation: pmr.Validation(f.validation)}
	if !slices.Contains([]pmr.Validation{pmr.Strict, pmr.Compat}, in.Validation) {
		return in, fmt.Errorf("--validation is %q: use strict or compat", f.validation)
	}
	for _, path := range paths {
		files, err := find(path)
		if err != nil {
			return in, err
		}
		in.Files = append(in.Files, files...)
	}
	for _, path := range f.overlays {
		files, err := find(path)
		if err != nil {
			return in, err
		}
		in.Overlays = append(in.Overlays, files...)
	}
	return in, nil
}

// isList says whether a file of a directory is part of a list.
func isList(name string) bool { return slices.Contains([]string{".yaml", ".yml"}, filepath.Ext(name)) }

// onDisk are the files of a path: a file, the YAML files right in a directory, or what a pattern matches.
func onDisk(path string) ([]pmr.File, error) {
	names := []string{path}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		entries, err := os.ReadDir(path)
		if err != nil {
			return nil, fmt.Errorf("read the list: %w", err)
		}
		names = nil
		for _, entry := range entries {
			if !entry.IsDir() && isList(entry.Name()) {
				names = append(names, filepath.Join(path, entry.Name()))
			}
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("read the list: there is no .yaml file right in %s: name files, or a pattern such as '%s/*/*.yaml'", path, path)
		}
	case err != nil && strings.ContainsAny(path, "*?["):
		if names, err = filepath.Glob(path); err != nil {
			return nil, fmt.Errorf("read the list: %q: %w", path, err)
		}
		if len(names) == 0 {
			return nil, fmt.Errorf("read the list: no file matches %q", path)
		}
	}
	var files []pmr.File
	for _, name := range names {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("read the list: %w", err)
		}
		files = append(files, pmr.File{Path: filepath.ToSlash(name), Data: data})
	}
	return files, nil
}
