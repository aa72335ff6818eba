package engine

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// longestGap is the longest time between two runs of a cron line, over two years.
// It reads what robfig/cron reads, which Velero uses: stars, numbers, ranges, lists, steps and names.
func longestGap(line string) (time.Duration, error) {
	fields := strings.Fields(line)
	if len(fields) != 5 {
		return 0, errors.New("it does not have five fields")
	}
	var sets [5]uint64
	for i, f := range []struct {
		low, high int
		names     []string
	}{
		{0, 59, nil},
		{0, 23, nil},
		{1, 31, nil},
		{1, 12, []string{"jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}},
		{0, 6, []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}},
	} {
		set, err := cronField(fields[i], f.low, f.high, f.names)
		if err != nil {
			return 0, err
		}
		sets[i] = set
	}
	// Where both days are limited, either is enough.
	either := !strings.HasPrefix(fields[2], "*") && !strings.HasPrefix(fields[4], "*")
	var last, gap time.Duration
	runs := 0
	begin := time.Date(2026, time.January, 1, 0, 0, 0, 0, time.UTC)
	for day := range 2 * 365 {
		date := begin.AddDate(0, 0, day)
		inMonth, inWeek := has(sets[2], date.Day()), has(sets[4], int(date.Weekday()))
		on := inMonth && inWeek
		if either {
			on = inMonth || inWeek
		}
		if !on || !has(sets[3], int(date.Month())) {
			continue
		}
		for hour := range 24 {
			if !has(sets[1], hour) {
				continue
			}
			for minute := range 60 {
				if !has(sets[0], minute) {
					continue
				}
				at := time.Duration(day*24+hour)*time.Hour + time.Duration(minute)*time.Minute
				if runs > 0 {
					gap = max(gap, at-last)
				}
				last = at
				runs++
			}
		}
	}
	if runs < 2 {
		return 0, errors.New("no day of the year has it")
	}
	return gap, nil
}

func has(set uint64, n int) bool { return set&(1<<n) != 0 }

// cronField reads one field into a set of bits.
func cronField(field string, low, high int, names []string) (uint64, error) {
	number := func(s string) (int, error) {
		for i, name := range names {
			if strings.EqualFold(s, name) {
				return i + low, nil
			}
		}
		n, err := strconv.Atoi(s)
		if err != nil || n < low || n > high {
			return 0, fmt.Errorf("%q is not a number from %d to %d", s, low, high)
		}
		return n, nil
	}
	var set uint64
	for _, part := range strings.Split(field, ",") {
		span, step, stepped := strings.Cut(part, "/")
		from, to := low, high
		if span != "*" {
			begin, end, ranged := strings.Cut(span, "-")
			var err error
			if from, err = number(begin); err != nil {
				return 0, err
			}
			to = from
			if ranged {
				if to, err = number(end); err != nil {
					return 0, err
				}
			} else if stepped {
				to = high
			}
		}
		by := 1
		if stepped {
			var err error
			if by, err = strconv.Atoi(step); err != nil || by < 1 {
				return 0, fmt.Errorf("%q is not a step", step)
			}
		}
		if to < from {
			return 0, fmt.Errorf("%q ends before it begins", span)
		}
		for n := from; n <= to; n += by {
			set |= 1 << n
		}
	}
	return set, nil
}

// gapText writes a time in days and hours.
func gapText(d time.Duration) string {
	hours := int(d.Hours())
	if hours%24 == 0 && hours > 24 {
		return fmt.Sprintf("%d days", hours/24)
	}
	return fmt.Sprintf("%d hours", hours)
}
