// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"io"
	"os"

	"golang.org/x/term"
)

// style colours what is printed, on a terminal only.
type style struct {
	colored bool
	// columns is how wide the terminal is; 0 where there is none.
	columns int
}

const (
	bold   = "1"
	faint  = "2"
	red    = "31"
	green  = "32"
	yellow = "33"
	blue   = "34"
)

// styleOf is the style of what is printed to out. Whoever sets NO_COLOR wants none: https://no-color.org
func styleOf(out io.Writer) style {
	file, ok := out.(*os.File)
	if !ok || !term.IsTerminal(int(file.Fd())) {
		return style{}
	}
	columns, _, err := term.GetSize(int(file.Fd()))
	if err != nil {
		columns = 0
	}
	return style{colored: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb", columns: columns}
}

func (s style) paint(color, text string) string {
	if !s.colored || text == "" {
		return text
	}
	return "\x1b[" + color + "m" + text + "\x1b[0m"
}
