// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"strconv"
	"text/tabwriter"
	"time"
)

// figure is one number that was measured.
type figure struct {
	Stage string  `json:"stage"`
	What  string  `json:"what"`
	Value float64 `json:"value"`
	Unit  string  `json:"unit"`
	// Note is what people should know about it.
	Note string `json:"note,omitempty"`
	// Ratio is the number divided by the floor of the same run, where there is one.
	Ratio float64 `json:"ratio,omitempty"`
	// Goal is in words; empty where there is none.
	Goal   string `json:"goal,omitempty"`
	Missed bool   `json:"missed,omitempty"`
}

// atMost sets the goal that the value does not exceed a limit.
func (f figure) atMost(limit float64) figure {
	f.Goal = "at most " + number(limit) + " " + f.Unit
	f.Missed = f.Value > limit
	return f
}

// ratio compares with the floor, and sets the goal for that, if any.
func (f figure) ratio(floor, goal float64) figure {
	f.Ratio = f.Value / floor
	if goal > 0 {
		f.Goal = "ratio at least " + number(goal)
		f.Missed = f.Ratio < goal
	}
	return f
}

// report is what was measured, in the order in which it was.
type report struct {
	figures []figure
}

func (r *report) add(stage string, figures ...figure) {
	for _, f := range figures {
		f.Stage = stage
		r.figures = append(r.figures, f)
	}
}

// missed counts the goals that were missed.
func (r *report) missed() int {
	n := 0
	for _, f := range r.figures {
		if f.Missed {
			n++
		}
	}
	return n
}

func (r *report) print(w io.Writer) {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	stage := ""
	for _, f := range r.figures {
		if f.Stage != stage {
			if stage != "" {
				fmt.Fprintln(table)
			}
			stage = f.Stage
			fmt.Fprintf(table, "%s\tvalue\tratio\tgoal\t\t\n", stage)
		}
		ratio, verdict := "", ""
		if f.Ratio > 0 {
			ratio = number(f.Ratio)
		}
		switch {
		case f.Missed:
			verdict = "MISSED"
		case f.Goal != "":
			verdict = "met"
		}
		fmt.Fprintf(table, "  %s\t%s %s\t%s\t%s\t%s\t%s\n", f.What, number(f.Value), f.Unit, ratio, f.Goal, verdict, f.Note)
	}
	_ = table.Flush() // as the other printing
}

// number has three digits that count.
func number(v float64) string {
	switch {
	case v == float64(int64(v)):
		return strconv.FormatInt(int64(v), 10)
	case v >= 100 || v <= -100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case v >= 10 || v <= -10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strconv.FormatFloat(v, 'f', 2, 64)
}

func seconds(what string, d time.Duration) figure {
	return figure{What: what, Value: d.Seconds(), Unit: "s"}
}

func perSecond(what string, n int, d time.Duration) figure {
	return figure{What: what, Value: float64(n) / d.Seconds(), Unit: "profiles/s"}
}
