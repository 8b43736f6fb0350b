package config

import (
	"fmt"
	"strings"
)

// didYouMean returns the hint that names the candidate closest to what was
// written, or nothing when none is close.
func didYouMean(written string, candidates []string) string {
	best := closest(written, candidates)
	if best == "" {
		return ""
	}
	return fmt.Sprintf("did you mean %q?", best)
}

// closest returns the candidate that was most likely meant, if any.
func closest(written string, candidates []string) string {
	if len(written) > 64 {
		return ""
	}
	best, distance := "", max(1, len(written)/3)+1
	for _, c := range candidates {
		a, b := strings.ToLower(written), strings.ToLower(c)
		d := editDistance(a, b)
		if min(len(a), len(b)) >= 4 && (strings.HasPrefix(a, b) || strings.HasPrefix(b, a)) {
			d = min(d, 1) // cut short, or with an ending too many
		}
		if d < distance {
			best, distance = c, d
		}
	}
	return best
}

// editDistance counts the insertions, deletions, replacements and swaps of
// neighbours that turn a into b (optimal string alignment).
func editDistance(a, b string) int {
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
