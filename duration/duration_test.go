package duration_test

import (
	"testing"
	"time"

	"gatehouse/duration"
)

func TestParseReadsDaysAndWeeks(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for in, want := range map[string]time.Duration{
		"7d": 7 * day, "2w": 14 * day, "1w2d": 9 * day, "1d12h": 36 * time.Hour, "1w1d1h1m": 8*day + time.Hour + time.Minute,
		"15m": 15 * time.Minute, "0": 0, "0d": 0, "-1d": -day, "-1h": -time.Hour, "1.5h": 90 * time.Minute,
	} {
		if got, err := duration.Parse(in); err != nil || got != want {
			t.Errorf("Parse(%q) = %v, %v, want %v", in, got, err, want)
		}
	}
	for _, in := range []string{
		"", "d", "w", "7", "7 d", "1.5d", "1d2w", "1h2d", "--1d", "1d-1h", "1d+1h", "-", "seven days", "1d1d", "106751d24h",
		"65535w", "99999999999d",
	} {
		if got, err := duration.Parse(in); err == nil {
			t.Errorf("Parse(%q) = %v, want an error", in, got)
		}
	}
}

func TestFormatOmitsZeroUnits(t *testing.T) {
	t.Parallel()
	for in, want := range map[time.Duration]string{
		0: "0s", time.Second: "1s", 90 * time.Second: "1m30s", 15 * time.Minute: "15m", time.Hour: "1h",
		90 * time.Minute: "1h30m",
		720 * time.Hour:  "720h", time.Hour + time.Second: "1h0m1s",
	} {
		if got := duration.Format(in); got != want {
			t.Errorf("Format(%d ns) = %q, want %q", in, got, want)
		}
	}
}
