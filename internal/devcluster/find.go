// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package devcluster

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

const (
	// variable names another binary than the one of this checkout.
	variable   = "BERTH_DEVCLUSTER"
	rootModule = "module berth.dev/berth"
)

// BesideProgram is where the binary is in an installation: in the directory of the running program.
func BesideProgram() (binary string, err error) {
	program, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("find the devcluster binary: %w", err)
	}
	return filepath.Join(filepath.Dir(program), "devcluster"), nil
}

// InCheckout finds the binary, and the root of the checkout that the working directory belongs to.
func InCheckout() (binary, root string, err error) {
	root, err = repoRoot()
	if err != nil {
		return "", "", err
	}
	binary = os.Getenv(variable)
	if binary == "" {
		binary = filepath.Join(root, "bin", "devcluster")
	}
	if _, err := os.Stat(binary); err != nil {
		return "", "", fmt.Errorf("the devcluster binary is missing: run \"make bin/devcluster\" (%w)", err)
	}
	return binary, root, nil
}

// repoRoot walks up to the directory of the root module, past those of nested modules.
func repoRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		content, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if first, _, _ := strings.Cut(string(content), "\n"); err == nil && strings.TrimSpace(first) == rootModule {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no directory above the working directory has a go.mod with %q", rootModule)
		}
		dir = parent
	}
}
