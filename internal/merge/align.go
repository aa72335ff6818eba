package merge

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
)

// likeness from which an edited item counts as the same one.
const alike = 0.5

// maxPairs bounds the comparisons of two lists without keys.
const maxPairs = 40_000

// unnamed begins the ids of items without keys, which are places in lists.
const unnamed = "\x00"

// align gives the items of three lists without keys ids that say which of them are the same item:
// equal ones, then edited ones by how much of them is left.
func align(base, yours, next []*entry) {
	for i, e := range base {
		e.id = unnamed + "b" + strconv.Itoa(i)
	}
	pair(base, yours, "y")
	pair(base, next, "n")
	// What both sides added alike is one item.
	taken := map[string]bool{}
	for _, n := range next {
		if n.id[1] != 'n' {
			continue
		}
		for _, y := range yours {
			if y.id[1] == 'y' && !taken[y.id] && equal(y.value, n.value) {
				n.id = y.id
				taken[y.id] = true
				break
			}
		}
	}
}

// pair gives each item of list the id of the item of base that it was, or a new one that begins with
// mark.
func pair(base, list []*entry, mark string) {
	free := map[string][]*entry{}
	for _, b := range base {
		text := canonical(b.value)
		free[text] = append(free[text], b)
	}
	used := map[*entry]bool{}
	var rest []*entry
	for i, e := range list {
		e.id = unnamed + mark + strconv.Itoa(i)
		text := canonical(e.value)
		if same := free[text]; len(same) > 0 {
			e.id = same[0].id
			used[same[0]] = true
			free[text] = same[1:]
			continue
		}
		rest = append(rest, e)
	}
	var left []*entry
	for _, b := range base {
		if !used[b] {
			left = append(left, b)
		}
	}
	if len(left) == 0 || len(rest) == 0 || len(left)*len(rest) > maxPairs {
		return
	}
	if scalars(left) && scalars(rest) {
		// One text for another: an edit where there are as many after as before.
		if len(left) == len(rest) {
			for i, e := range rest {
				e.id = left[i].id
			}
		}
		return
	}
	type match struct {
		b, e  int
		score float64
	}
	var matches []match
	leaves := make([]map[string]int, len(left))
	for i, b := range left {
		leaves[i] = leavesOf(b.value)
	}
	for k, e := range rest {
		own := leavesOf(e.value)
		for i := range left {
			if score := likeness(leaves[i], own); score >= alike {
				matches = append(matches, match{i, k, score})
			}
		}
	}
	slices.SortStableFunc(matches, func(a, b match) int {
		switch {
		case a.score > b.score:
			return -1
		case a.score < b.score:
			return 1
		}
		return distance(a.b, a.e) - distance(b.b, b.e)
	})
	usedB, usedE := map[int]bool{}, map[int]bool{}
	for _, m := range matches {
		if !usedB[m.b] && !usedE[m.e] {
			usedB[m.b], usedE[m.e] = true, true
			rest[m.e].id = left[m.b].id
		}
	}
}

func distance(a, b int) int {
	if a > b {
		return a - b
	}
	return b - a
}

func scalars(list []*entry) bool {
	return !slices.ContainsFunc(list, func(e *entry) bool {
		switch e.value.(type) {
		case map[string]any, []any:
			return true
		}
		return false
	})
}

// canonical is a text that is the same for equal values only.
func canonical(value any) string {
	text, err := json.Marshal(value)
	if err != nil { // .nan and .inf
		return fmt.Sprintf("%T %v", value, value)
	}
	return string(text)
}

func equal(a, b any) bool { return canonical(a) == canonical(b) }

// leavesOf counts the values below value with their paths, in which the places in lists do not count.
func leavesOf(value any) map[string]int {
	leaves := map[string]int{}
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch v := value.(type) {
		case map[string]any:
			for key, item := range v {
				walk(path+"."+key, item)
			}
			if len(v) > 0 {
				return
			}
		case []any:
			for _, item := range v {
				walk(path+"[]", item)
			}
			if len(v) > 0 {
				return
			}
		}
		leaves[path+"="+canonical(value)]++
	}
	walk("", value)
	return leaves
}

// likeness is the share of the leaves that both have: 0 to 1.
func likeness(a, b map[string]int) float64 {
	shared, total := 0, 0
	for leaf, n := range a {
		shared += min(n, b[leaf])
		total += n
	}
	for _, n := range b {
		total += n
	}
	if total == 0 {
		return 1
	}
	return 2 * float64(shared) / float64(total)
}
