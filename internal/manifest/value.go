package manifest

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Value turns a node into what encoding/json would give for it: map[string]any, []any, string,
// int64, uint64, float64, bool or nil. Plain words are read by the YAML 1.1 rules of
// sigs.k8s.io/yaml, which kubectl, kubeadm, the components and the GitOps controllers use: an
// unquoted yes is true to them, and 0777 is 511.
func Value(node *yaml.Node) (any, error) {
	switch node.Kind {
	case yaml.DocumentNode:
		if len(node.Content) == 1 {
			return Value(node.Content[0])
		}
	case yaml.MappingNode:
		m := make(map[string]any, len(node.Content)/2)
		for i := 0; i+1 < len(node.Content); i += 2 {
			v, err := Value(node.Content[i+1])
			if err != nil {
				return nil, err
			}
			m[Key(node.Content[i])] = v
		}
		return m, nil
	case yaml.SequenceNode:
		list := make([]any, len(node.Content))
		for i, item := range node.Content {
			v, err := Value(item)
			if err != nil {
				return nil, err
			}
			list[i] = v
		}
		return list, nil
	case yaml.ScalarNode:
		return Scalar(node), nil
	}
	return nil, &Error{node.Line, node.Column, "an alias has no value here"}
}

// Key is the name of a map entry as sigs.k8s.io/yaml turns it into JSON: the words of YAML 1.1
// count, so an unquoted "on" is the key "true".
func Key(node *yaml.Node) string {
	switch v := Scalar(node).(type) {
	case string:
		return v
	case nil:
		return "null"
	case bool:
		return strconv.FormatBool(v)
	case float64:
		return jsonFloat(v)
	default:
		return fmt.Sprint(v)
	}
}

func jsonFloat(f float64) string {
	switch {
	case math.IsInf(f, 1):
		return ".inf"
	case math.IsInf(f, -1):
		return "-.inf"
	case math.IsNaN(f):
		return ".nan"
	}
	return strconv.FormatFloat(f, 'g', -1, 32)
}

var yamlFloat = regexp.MustCompile(`^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$`)

// Scalar is the value of a scalar node by the rules of YAML 1.1.
func Scalar(node *yaml.Node) any {
	s := node.Value
	if node.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		return s
	}
	if node.Style&yaml.TaggedStyle != 0 && node.ShortTag() == "!!str" {
		return s
	}
	switch s {
	case "", "~", "null", "Null", "NULL":
		return nil
	case "y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON":
		return true
	case "n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF":
		return false
	case ".nan", ".NaN", ".NAN":
		return math.NaN()
	case ".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF":
		return math.Inf(1)
	case "-.inf", "-.Inf", "-.INF":
		return math.Inf(-1)
	}
	switch c := s[0]; {
	case c == '.':
		if f, err := strconv.ParseFloat(s, 64); err == nil {
			return f
		}
	case c >= '0' && c <= '9', c == '+', c == '-':
		return number(s)
	}
	return s
}

// number is the number that s is, or s itself: a time is a string in JSON.
func number(s string) any {
	if len(s) > 4 && s[4] == '-' && isNumeric(s) && !strings.HasPrefix(s, "-") {
		return s
	}
	plain := strings.ReplaceAll(s, "_", "")
	if n, err := strconv.ParseInt(plain, 0, 64); err == nil {
		return n
	}
	if n, err := strconv.ParseUint(plain, 0, 64); err == nil {
		return n
	}
	if yamlFloat.MatchString(plain) {
		if f, err := strconv.ParseFloat(plain, 64); err == nil {
			return f
		}
	}
	// Two forms of binary numbers that ParseInt does not know but go-yaml does.
	if digits, ok := strings.CutPrefix(plain, "0b"); ok {
		if n, err := strconv.ParseInt(digits, 2, 64); err == nil {
			return n
		}
	} else if digits, ok := strings.CutPrefix(plain, "-0b"); ok {
		if n, err := strconv.ParseInt("-"+digits, 2, 64); err == nil {
			return n
		}
	}
	return s
}
