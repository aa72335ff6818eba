package engine

import (
	"strconv"
	"strings"

	"cuelang.org/go/cue"
	"cuelang.org/go/cue/literal"
)

func itoa(i int) string { return strconv.Itoa(i) }

func quote(s string) string { return strconv.Quote(s) }

// unquote reads a CUE string literal of any form.
func unquote(s string) (string, error) { return literal.Unquote(s) }

// pathText is a path in one string, as it would be typed in CUE: namespaces."team-a".owner.
func pathText(path []string) string {
	var b strings.Builder
	for i, key := range path {
		if _, err := strconv.Atoi(key); err == nil && i > 0 {
			b.WriteString("[" + key + "]")
			continue
		}
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(cue.Str(key).String())
	}
	return b.String()
}

// nearest returns the candidate that key was most likely meant to be, or "".
func nearest(key string, candidates []string) string {
	best, bestDistance := "", len(key)/3+2
	for _, c := range candidates {
		if d := distance(strings.ToLower(key), strings.ToLower(c)); d < bestDistance {
			best, bestDistance = c, d
		}
	}
	return best
}

// distance is the Damerau-Levenshtein distance (optimal string alignment) of two short words.
func distance(a, b string) int {
	ra, rb := []rune(a), []rune(b)
	if len(ra) > 64 || len(rb) > 64 {
		return 64
	}
	rows := make([][]int, len(ra)+1)
	for i := range rows {
		rows[i] = make([]int, len(rb)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(ra); i++ {
		for j := 1; j <= len(rb); j++ {
			cost := 1
			if ra[i-1] == rb[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && ra[i-1] == rb[j-2] && ra[i-2] == rb[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(ra)][len(rb)]
}

// terms are the evaluator's words that no user must see, with ours.
var terms = map[string]string{
	"conflicting values":     "two different values",
	"empty disjunction":      "no allowed value",
	"incomplete value":       "a value that is not given",
	"non-concrete value":     "a value that is not given",
	"field not allowed":      "an unknown field",
	"reference":              "name",
	"unresolved disjunction": "more than one possible value",
}

func atoi(s string) int {
	i, _ := strconv.Atoi(s)
	return i
}

// Nearest returns the candidate that word was most likely meant to be, or "".
func Nearest(word string, candidates []string) string { return nearest(word, candidates) }
