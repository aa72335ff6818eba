package merge

import (
	"fmt"
	"slices"
	"strings"
)

// mergeText merges texts by lines, as diff3 does: lines that both sides left alone divide the text
// into parts; a part that one side changed is taken from there, and one that both changed to
// different lines is a conflict.
func mergeText(base, yours, next string, s Strategy) *Result {
	b, y, n := splitLines(base), splitLines(yours), splitLines(next)
	toYours, toNext := matching(b, y), matching(b, n)
	r := &Result{}
	var out strings.Builder
	ib, iy, in := 0, 0, 0
	part := func(eb, ey, en int) {
		pb, py, pn := b[ib:eb], y[iy:ey], n[in:en]
		switch {
		case slices.Equal(pb, pn), slices.Equal(py, pn):
			out.WriteString(strings.Join(py, ""))
		case slices.Equal(pb, py):
			out.WriteString(strings.Join(pn, ""))
		default:
			r.Conflicts = append(r.Conflicts, Conflict{
				Field: span(iy, ey), Line: iy + 1, Column: 1, Base: joined(pb), Yours: joined(py), New: joined(pn),
			})
			if s == New {
				out.WriteString(strings.Join(pn, ""))
			} else {
				out.WriteString(strings.Join(py, ""))
			}
		}
		ib, iy, in = eb, ey, en
	}
	for i := range b {
		if toYours[i] < 0 || toNext[i] < 0 {
			continue
		}
		part(i, toYours[i], toNext[i])
		out.WriteString(b[i])
		ib, iy, in = i+1, toYours[i]+1, toNext[i]+1
	}
	part(len(b), len(y), len(n))
	r.Data = []byte(out.String())
	return r
}

func joined(lines []string) *string {
	text := strings.TrimRight(strings.Join(lines, ""), "\n")
	return &text
}

func span(from, to int) string {
	switch to - from {
	case 0:
		return fmt.Sprintf("after line %d", from)
	case 1:
		return fmt.Sprintf("line %d", from+1)
	}
	return fmt.Sprintf("lines %d to %d", from+1, to)
}

func splitLines(text string) []string {
	if text == "" {
		return nil
	}
	lines := strings.SplitAfter(text, "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// matching gives for each line of a the line of b that it became, or -1: a longest common
// subsequence, by the algorithm of Myers. Texts that differ in more than maxEdits lines match in
// their beginning and end only.
func matching(a, b []string) []int {
	match := make([]int, len(a))
	for i := range match {
		match[i] = -1
	}
	start := 0
	for start < len(a) && start < len(b) && a[start] == b[start] {
		match[start] = start
		start++
	}
	endA, endB := len(a), len(b)
	for endA > start && endB > start && a[endA-1] == b[endB-1] {
		endA--
		endB--
		match[endA] = endB
	}
	for _, p := range myers(a[start:endA], b[start:endB]) {
		match[start+p[0]] = start + p[1]
	}
	return match
}

const maxEdits = 1000

// myers returns the pairs of equal lines.
func myers(a, b []string) [][2]int {
	limit := min(len(a)+len(b), maxEdits)
	v := map[int]int{1: 0}
	var trace []map[int]int
	for d := 0; d <= limit; d++ {
		step := make(map[int]int, d+1)
		for k := -d; k <= d; k += 2 {
			var x int
			if k == -d || k != d && v[k-1] < v[k+1] {
				x = v[k+1]
			} else {
				x = v[k-1] + 1
			}
			y := x - k
			for x < len(a) && y < len(b) && a[x] == b[y] {
				x++
				y++
			}
			v[k] = x
			step[k] = x
			if x >= len(a) && y >= len(b) {
				return walkBack(append(trace, step), len(a), len(b))
			}
		}
		trace = append(trace, step)
	}
	return nil
}

func walkBack(trace []map[int]int, x, y int) [][2]int {
	var pairs [][2]int
	for d := len(trace) - 1; d >= 0; d-- {
		px, py := 0, 0
		if d > 0 {
			k, before := x-y, trace[d-1]
			previous := k - 1
			if k == -d || k != d && before[k-1] < before[k+1] {
				previous = k + 1
			}
			px = before[previous]
			py = px - previous
		}
		for x > px && y > py {
			x--
			y--
			pairs = append(pairs, [2]int{x, y})
		}
		x, y = px, py
	}
	slices.Reverse(pairs)
	return pairs
}

// Unified is the difference of two texts in the unified format, with three lines around each change.
func Unified(name string, before, after []byte) string {
	a, b := splitLines(string(before)), splitLines(string(after))
	match := matching(a, b)
	type line struct {
		mark byte
		text string
		a, b int
	}
	var lines []line
	j := 0
	for i := range a {
		if match[i] < 0 {
			lines = append(lines, line{'-', a[i], i, j})
			continue
		}
		for ; j < match[i]; j++ {
			lines = append(lines, line{'+', b[j], i, j})
		}
		lines = append(lines, line{' ', a[i], i, j})
		j++
	}
	for ; j < len(b); j++ {
		lines = append(lines, line{'+', b[j], len(a), j})
	}
	var out strings.Builder
	fmt.Fprintf(&out, "--- %s\n+++ %s\n", name, name)
	for i := 0; i < len(lines); {
		if lines[i].mark == ' ' {
			i++
			continue
		}
		start, end, quiet := max(i-3, 0), i, 0
		for end < len(lines) && quiet <= 6 {
			if quiet++; lines[end].mark != ' ' {
				quiet = 0
			}
			end++
		}
		end -= max(quiet-3, 0)
		countA, countB := 0, 0
		for _, l := range lines[start:end] {
			if l.mark != '+' {
				countA++
			}
			if l.mark != '-' {
				countB++
			}
		}
		fmt.Fprintf(&out, "@@ -%d,%d +%d,%d @@\n", lines[start].a+1, countA, lines[start].b+1, countB)
		for _, l := range lines[start:end] {
			out.WriteByte(l.mark)
			out.WriteString(strings.TrimSuffix(l.text, "\n"))
			out.WriteByte('\n')
		}
		i = end
	}
	return out.String()
}
