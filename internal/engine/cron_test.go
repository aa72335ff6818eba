package engine

import (
	"testing"
	"time"
)

func TestLongestGap(t *testing.T) {
	for line, want := range map[string]time.Duration{
		"17 2 * * *":        24 * time.Hour,
		"0 */6 * * *":       6 * time.Hour,
		"*/15 * * * *":      15 * time.Minute,
		"0 2,14 * * *":      12 * time.Hour,
		"0 3 * * 0":         7 * 24 * time.Hour,
		"0 3 * * Mon-Fri":   72 * time.Hour,
		"0 3 1 * *":         31 * 24 * time.Hour,
		"0 3 1 * sun":       7 * 24 * time.Hour,
		"5/20 4 * * *":      23*time.Hour + 20*time.Minute,
		"0 0 1 jan *":       365 * 24 * time.Hour,
		"30 1-3 * 1-12 */1": 22 * time.Hour,
	} {
		got, err := longestGap(line)
		if err != nil || got != want {
			t.Errorf("%s: %v (%v), want %v", line, got, err, want)
		}
	}
	for _, line := range []string{"0 0 31 2 *", "60 0 * * *", "0 0 * * 8", "0 5-2 * * *", "0 */0 * * *", "0 0 * *", "0 0 * foo *"} {
		if got, err := longestGap(line); err == nil {
			t.Errorf("%s: %v and no error", line, got)
		}
	}
}
