package schema

import (
	"fmt"
	"strings"
)

// suggestion is "; did you mean ...?" for the nearest of the known words, or otherwise.
func suggestion(word string, known []string, otherwise string) string {
	best, distance := "", 3
	if len(word) < 5 {
		distance = 2
	}
	for _, k := range known {
		d := edits(strings.ToLower(word), strings.ToLower(k), distance)
		if d < distance || d == distance && best == "" {
			best, distance = k, d
		}
	}
	if best == "" || best == word {
		return otherwise
	}
	return fmt.Sprintf("; did you mean %s?", best)
}

// edits is the number of letters to change, add, drop or swap with their neighbour to get from a to
// b, or more than limit.
func edits(a, b string, limit int) int {
	if len(a)-len(b) > limit || len(b)-len(a) > limit {
		return limit + 1
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
