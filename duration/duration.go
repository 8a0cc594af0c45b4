// Package duration decides how durations are written in settings, client metadata and command output: like
// time.Duration, with weeks and days when reading and without trailing zero units when writing.
package duration

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Parse parses a duration like time.ParseDuration, optionally preceded by weeks and days of 24 hours: 7d, 2w, 1d12h.
func Parse(s string) (time.Duration, error) {
	rest, negative := strings.CutPrefix(s, "-")
	total, found := time.Duration(0), false
	for _, unit := range []struct {
		suffix string
		length time.Duration
	}{{"w", 7 * 24 * time.Hour}, {"d", 24 * time.Hour}} {
		digits, after, ok := strings.Cut(rest, unit.suffix)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(digits, 10, 32)
		if err != nil {
			return 0, fmt.Errorf("%q is not a duration", s)
		}
		if time.Duration(n) > (math.MaxInt64-total)/unit.length {
			return 0, errors.New("the duration is too long")
		}
		total += time.Duration(n) * unit.length
		rest, found = after, true
	}
	if rest != "" || !found {
		d, err := time.ParseDuration(rest)
		if err != nil || strings.HasPrefix(rest, "-") || strings.HasPrefix(rest, "+") && found {
			return 0, fmt.Errorf("%q is not a duration", s)
		}
		if total += d; total < 0 {
			return 0, errors.New("the duration is too long")
		}
	}
	if negative {
		total = -total
	}
	return total, nil
}

// Format returns the duration without zero units at the end: 15m for 15m0s, 1h for 1h0m0s.
func Format(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
