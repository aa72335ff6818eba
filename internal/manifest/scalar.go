package manifest

import (
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"
)

// str appends a string: plain where every reader takes it for a string, as a literal block where it
// has lines, quoted otherwise.
func (w *writer) str(s string, at place) {
	if !utf8.ValidString(s) {
		s = string([]rune(s)) // each broken byte becomes U+FFFD, as in JSON
	}
	switch {
	case isPlain(s):
		w.lead(at)
		w.buf = append(append(w.buf, s...), '\n')
	case at.kind != atRoot && isLiteral(s):
		w.literal(s, at)
	default:
		w.lead(at)
		w.buf = append(appendQuoted(w.buf, s), '\n')
	}
}

// literal appends a string of several lines as a literal block.
func (w *writer) literal(s string, at place) {
	w.lead(at)
	w.buf = append(w.buf, '|')
	body, ended := strings.CutSuffix(s, "\n")
	if !ended {
		w.buf = append(w.buf, '-')
	}
	w.buf = append(w.buf, '\n')
	for line := range strings.SplitSeq(body, "\n") {
		if line != "" {
			w.spaces(at.block())
			w.buf = append(w.buf, line...)
		}
		w.buf = append(w.buf, '\n')
	}
}

// appendKey appends a map key.
func appendKey(b []byte, s string) []byte {
	if !utf8.ValidString(s) {
		s = string([]rune(s))
	}
	if isPlain(s) {
		return append(b, s...)
	}
	return appendQuoted(b, s)
}

// isPlain reports whether s can be written without quotes: readers of YAML 1.1 and 1.2 alike take
// it for a string, and nothing in it is YAML's own.
func isPlain(s string) bool {
	if s == "" {
		return false
	}
	switch c := s[0]; {
	case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		if isWord(s) {
			return false
		}
	case c >= '0' && c <= '9', c == '.', c == '+':
		if isNumeric(s) {
			return false
		}
	case c == '-':
		if len(s) == 1 || s[1] == ' ' || s[1] == '-' && (len(s) < 3 || s[2] == '-') || isNumeric(s) {
			return false
		}
	case c == '/', c == '_', c == '$', c == '(', c == ')', c == '^', c == ';', c == '\\':
	case c == '<', c == '=', c == '~':
		if s == "<<" || s == "=" || s == "~" { // merge, value and null of YAML 1.1
			return false
		}
	case c < utf8.RuneSelf:
		return false // indicators, spaces, controls
	}
	if strings.HasPrefix(s, "...") {
		return false
	}
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c >= utf8.RuneSelf:
			return isPlainUnicode(s)
		case c < ' ' || c == 0x7f:
			return false
		case c == ':' && (i+1 == len(s) || s[i+1] == ' '):
			return false
		case c == '#' && i > 0 && s[i-1] == ' ':
			return false
		}
	}
	return s[len(s)-1] != ' '
}

// isPlainUnicode is the slow half of isPlain. Characters that do not show, among them those that
// turn the direction of the text, are escaped: what is reviewed must be what is applied.
func isPlainUnicode(s string) bool {
	for i, r := range s {
		switch {
		case !unicode.IsPrint(r) || unicode.In(r, unicode.Cf):
			return false
		case r == ':' && (i+1 == len(s) || s[i+1] == ' '):
			return false
		case r == '#' && i > 0 && s[i-1] == ' ':
			return false
		}
	}
	return s[len(s)-1] != ' '
}

// isWord reports whether a reader of YAML 1.1 or 1.2 takes s for a boolean or null.
func isWord(s string) bool {
	switch s {
	case "y", "Y", "n", "N",
		"yes", "Yes", "YES", "no", "No", "NO",
		"on", "On", "ON", "off", "Off", "OFF",
		"true", "True", "TRUE", "false", "False", "FALSE",
		"null", "Null", "NULL":
		return true
	}
	return false
}

// numeric matches, with underscores removed, what some reader takes for a number or a time: binary,
// octal, hexadecimal, decimal and sexagesimal integers, floats, infinity, and dates.
var numeric = regexp.MustCompile(`^(?i:` +
	`[-+]?(0b[-+]?[01]+|0o?[0-7]+|0x[0-9a-f]+` +
	`|[0-9]+(:[0-5]?[0-9])*(\.[0-9]*)?(e[-+]?[0-9]+)?` +
	`|\.[0-9]+(e[-+]?[0-9]+)?|\.inf)` +
	`|\.nan` +
	`|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([t ].*)?` +
	`)$`)

// isNumeric reports whether s, which begins like a number, is one to some reader.
func isNumeric(s string) bool {
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= '0' && c <= '9', c >= 'a' && c <= 'f', c >= 'A' && c <= 'F',
			c == '+', c == '-', c == '.', c == ':', c == '_', c == ' ',
			strings.IndexByte("xXoOtTzZiInN", c) >= 0:
		default:
			return false
		}
	}
	return numeric.MatchString(strings.ReplaceAll(s, "_", ""))
}

// isLiteral reports whether s reads back the same from a literal block, also after an editor that
// strips blanks from the ends of lines.
func isLiteral(s string) bool {
	body := strings.TrimSuffix(s, "\n")
	if !strings.Contains(s, "\n") || body == "" || body[0] == ' ' || body[0] == '\t' || body[0] == '\n' ||
		body[len(body)-1] == '\n' {
		return false
	}
	for line := range strings.SplitSeq(body, "\n") {
		if n := len(line); n > 0 && (line[n-1] == ' ' || line[n-1] == '\t') {
			return false
		}
	}
	for _, r := range s {
		if r != '\n' && r != '\t' && (!unicode.IsPrint(r) || unicode.In(r, unicode.Cf)) {
			return false
		}
	}
	return true
}

// appendQuoted appends s in quotes: single ones where they save escapes.
func appendQuoted(b []byte, s string) []byte {
	if strings.ContainsAny(s, `"\`) && isSingleQuotable(s) {
		b = append(b, '\'')
		b = append(b, strings.ReplaceAll(s, "'", "''")...)
		return append(b, '\'')
	}
	b = append(b, '"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b = append(b, '\\', byte(r))
		case r == '\n':
			b = append(b, `\n`...)
		case r == '\t':
			b = append(b, `\t`...)
		case r == '\r':
			b = append(b, `\r`...)
		default:
			b = appendRune(b, r)
		}
	}
	return append(b, '"')
}

func isSingleQuotable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) || unicode.In(r, unicode.Cf) {
			return false
		}
	}
	return true
}

// appendRune appends r, escaped if it does not show.
func appendRune(b []byte, r rune) []byte {
	const hex = "0123456789abcdef"
	if unicode.IsPrint(r) && !unicode.In(r, unicode.Cf) {
		return utf8.AppendRune(b, r)
	}
	digits := 4
	b = append(b, '\\')
	if r > 0xffff {
		digits = 8
		b = append(b, 'U')
	} else {
		b = append(b, 'u')
	}
	for shift := 4 * (digits - 1); shift >= 0; shift -= 4 {
		b = append(b, hex[(r>>shift)&0xf])
	}
	return b
}

// printable is s for a comment, without what does not show.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || unicode.In(r, unicode.Cf) || r == utf8.RuneError {
			return -1
		}
		return r
	}, s)
}
