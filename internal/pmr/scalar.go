// SPDX-FileCopyrightText: The Berth Authors
// SPDX-License-Identifier: Apache-2.0

package pmr

import (
	"fmt"
	"math/big"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"
)

// scalarKind is what YAML 1.1 takes a scalar for. github-profiles-automator reads YAML 1.1, in which more words are no
// text than in YAML 1.2.
type scalarKind string

const (
	textScalar  scalarKind = "text"
	nullScalar  scalarKind = "null"
	boolScalar  scalarKind = "a boolean"
	intScalar   scalarKind = "a number"
	floatScalar scalarKind = "a number with a fraction"
	timeScalar  scalarKind = "a date"
	otherScalar scalarKind = "of a type of its own"
)

// What a plain scalar is taken for, as https://yaml.org/type/ has it for YAML 1.1.
var (
	nullWord  = regexp.MustCompile(`^(~|null|Null|NULL|)$`)
	boolWord  = regexp.MustCompile(`^(yes|Yes|YES|no|No|NO|true|True|TRUE|false|False|FALSE|on|On|ON|off|Off|OFF)$`)
	intWord   = regexp.MustCompile(`^[-+]?(0b[01_]+|0x[0-9a-fA-F_]+|0[0-7_]*|[1-9][0-9_]*|[1-9][0-9_]*(:[0-5]?[0-9])+)$`)
	floatWord = regexp.MustCompile(`^([-+]?([0-9][0-9_]*\.[0-9_]*([eE][-+][0-9]+)?|\.[0-9][0-9_]*([eE][-+][0-9]+)?|[0-9][0-9_]*(:[0-5]?[0-9])+\.[0-9_]*|\.(inf|Inf|INF))|\.(nan|NaN|NAN))$`)
	timeWord  = regexp.MustCompile(`^[0-9]{4}-([0-9]{2}-[0-9]{2}|[0-9]{1,2}-[0-9]{1,2}([Tt]|[ \t]+)[0-9]{1,2}:[0-9]{2}:[0-9]{2}(\.[0-9]*)?([ \t]*(Z|[-+][0-9]{1,2}(:[0-9]{2})?))?)$`)
)

// kindOf is what node, a scalar, is taken for.
func kindOf(node *yaml.Node) scalarKind {
	if node.Style&yaml.TaggedStyle != 0 {
		return taggedKind(node.ShortTag())
	}
	if node.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return textScalar
	}
	// Most scalars are names and addresses, which none of the words below begins like.
	if first := node.Value; first != "" && !strings.ContainsAny(first[:1], "~nNyYtTfFoO0123456789+-.") {
		return textScalar
	}
	switch value := node.Value; {
	case nullWord.MatchString(value):
		return nullScalar
	case boolWord.MatchString(value):
		return boolScalar
	case intWord.MatchString(value):
		return intScalar
	case floatWord.MatchString(value):
		return floatScalar
	case timeWord.MatchString(value):
		return timeScalar
	}
	return textScalar
}

func taggedKind(tag string) scalarKind {
	switch tag {
	case "!!null":
		return nullScalar
	case "!!bool":
		return boolScalar
	case "!!int":
		return intScalar
	case "!!float":
		return floatScalar
	case "!!timestamp":
		return timeScalar
	case "!!str", "!", "":
		return textScalar
	}
	return otherScalar
}

// maxDigits is more than any quantity has: reading a number takes longer than in proportion to its length.
const maxDigits = 100

// number is the value of a whole number of YAML 1.1 in the usual digits, and others as they are.
func number(text string) string {
	sign, digits := "", strings.ReplaceAll(text, "_", "")
	if strings.HasPrefix(digits, "-") || strings.HasPrefix(digits, "+") {
		sign, digits = strings.TrimPrefix(digits[:1], "+"), digits[1:]
	}
	if len(digits) > maxDigits {
		return text
	}
	value := new(big.Int)
	for part := range strings.SplitSeq(digits, ":") {
		base := 10
		switch {
		case strings.HasPrefix(part, "0b"), strings.HasPrefix(part, "0x"):
			base = 0
		case strings.HasPrefix(part, "0") && !strings.Contains(digits, ":"):
			base = 8
		}
		next, ok := new(big.Int).SetString(part, base)
		if !ok {
			return text
		}
		value.Add(value.Mul(value, big.NewInt(60)), next)
	}
	return sign + value.String()
}

// parseExpiry reads a moment: a date ends with its day.
func parseExpiry(text string) (Expiry, error) {
	if day, err := time.Parse(time.DateOnly, text); err == nil {
		return Expiry(day.AddDate(0, 0, 1)), nil
	}
	moment, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return Expiry{}, fmt.Errorf("%q is neither a date such as 2027-03-31, whose end in UTC is meant, nor a time such as 2027-03-31T18:00:00Z", text)
	}
	return Expiry(moment.UTC()), nil
}
