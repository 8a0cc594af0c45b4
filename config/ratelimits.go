package config

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DefaultRateLimits are the limits in force unless GATEHOUSE_RATE_LIMITS says otherwise. Those on failures refuse only
// what has failed already: a right client secret is never refused because of somebody else's wrong ones.
var DefaultRateLimits = map[string]Rate{
	"client_failure":  {Count: 20, Period: time.Minute},  // failed client authentication, per client and network
	"address_failure": {Count: 60, Period: time.Minute},  // failed client authentication, per network
	"registration":    {Count: 100, Period: time.Minute}, // clients that register themselves, per network
	"stored_request":  {Count: 300, Period: time.Minute}, // authorization requests kept for a page, per network
}

// setRateLimits reads "default", "off" or "name=count/period,…".
func setRateLimits(c *Config, v string) error {
	c.RateLimits, c.RateLimitsOff = maps.Clone(DefaultRateLimits), false
	switch v {
	case "", "default":
		return nil
	case "off":
		c.RateLimits, c.RateLimitsOff = nil, true
		return nil
	}
	for _, item := range splitList(v) {
		name, value, ok := strings.Cut(item, "=")
		count, period, ok2 := strings.Cut(value, "/")
		if !ok || !ok2 {
			return fmt.Errorf("%q is not a limit; write name=count/period, like client_failure=20/1m", item)
		}
		if _, known := DefaultRateLimits[name]; !known {
			return fmt.Errorf("%q is not the name of a limit; the names are %s", name,
				strings.Join(slices.Sorted(maps.Keys(DefaultRateLimits)), ", "))
		}
		n, err := strconv.Atoi(count)
		d, derr := time.ParseDuration(period)
		if err != nil || n < 1 || n > 1_000_000 {
			return fmt.Errorf("%q: the count must be a whole number from 1 to 1000000", item)
		}
		if derr != nil || d < time.Second || d > 24*time.Hour {
			return fmt.Errorf("%q: the period must be a duration from 1s to 24h, like 1m", item)
		}
		c.RateLimits[name] = Rate{Count: n, Period: d}
	}
	return nil
}

func getRateLimits(c *Config) string {
	if c.RateLimitsOff {
		return "off"
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(c.RateLimits)) {
		if r := c.RateLimits[name]; r != DefaultRateLimits[name] {
			out = append(out, fmt.Sprintf("%s=%d/%s", name, r.Count, plainDuration(r.Period)))
		}
	}
	if out == nil {
		return "default"
	}
	return strings.Join(out, ",")
}
