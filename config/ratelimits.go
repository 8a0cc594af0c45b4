package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The limits, by their names in GATEHOUSE_RATE_LIMITS.
const (
	LimitAuthorize       = "authorize"
	LimitSignIn          = "sign_in"
	LimitSignInNames     = "sign_in_names"
	LimitStoredRequest   = "stored_request"
	LimitAllStored       = "stored_requests"
	LimitTokenAddress    = "token_address"
	LimitTokenClient     = "token_client"
	LimitTokenPerson     = "token_person"
	LimitIntrospection   = "introspection"
	LimitRevocation      = "revocation"
	LimitRegistration    = "registration"
	LimitClientFailure   = "client_failure"
	LimitAddressFailure  = "address_failure"
	LimitObjectFailure   = "request_object_failure"
	LimitRecordedFailure = "recorded_failure"
	LimitAllRecorded     = "recorded_failures"
)

// A limit is a row of the table that loading, `--help` and the documents walk.
type limitRow struct {
	name    string
	rate    Rate
	backOff bool // whoever goes on past it waits twice as long each time
	counts  string
}

var limitRows = []limitRow{
	{LimitAuthorize, Rate{3000, time.Minute}, false, "authorization requests, per network"},
	{LimitSignIn, Rate{300, time.Minute}, false, "passwords sent, per network; failed ones are slowed down per account besides"},
	{LimitSignInNames, Rate{20, time.Hour}, false, "different names that failed to sign in, per network (/24 or /64), in the database; from that one on browsers in which the user has not signed in before wait, twice as long with each further name, up to 15 minutes; each account that signs in from there offsets two"},
	{LimitStoredRequest, Rate{300, time.Minute}, false, "authorization requests that wait for a person, per network"},
	{LimitAllStored, Rate{30_000, time.Minute}, false, "the same in all, one for each 2 KiB of a request, so that nobody with many networks fills the disk"},
	{LimitTokenAddress, Rate{300_000, time.Minute}, false, "token requests with the right credentials, per network"},
	{LimitTokenClient, Rate{300_000, time.Minute}, false, "the same per client; of a public client, which anyone may name, per client and network"},
	{LimitTokenPerson, Rate{6000, time.Minute}, false, "per person and app: authorization codes; and refreshes, of each grant by itself, so that one device gone wild signs no other out"},
	{LimitIntrospection, Rate{600_000, time.Minute}, false, "introspections, per client"},
	{LimitRevocation, Rate{60_000, time.Minute}, false, "revocations, per client (public: and network)"},
	{LimitRegistration, Rate{100, time.Minute}, false, "requests to the registration endpoints, per network, one for each 4 KiB"},
	{LimitClientFailure, Rate{20, time.Minute}, true, "failed client authentication, per client and network; over it the failure is 429, the wait begins with the period and about doubles with each further one, up to 15 minutes, and a valid secret is never refused; an assertion is refused before its signature is verified, which costs more than it costs to send one"},
	{LimitAddressFailure, Rate{60, time.Minute}, true, "the same, per network; the assertions of dynamically registered clients are refused by it too"},
	{LimitObjectFailure, Rate{60, time.Minute}, false, "request objects whose signature is not valid, per client and network; over it none is verified"},
	{LimitRecordedFailure, Rate{60, time.Minute}, false, "failures of one kind that get an audit row, per network; others are in the log and the metrics"},
	{LimitAllRecorded, Rate{3000, time.Minute}, false, "the same in all, so that nobody with many networks fills the disk"},
}

// DefaultRateLimits are the limits in force unless GATEHOUSE_RATE_LIMITS says otherwise.
var DefaultRateLimits = func() map[string]Rate {
	out := map[string]Rate{}
	for _, l := range limitRows {
		out[l.name] = l.rate
	}
	return out
}()

// BacksOff reports whether the wait of a limit doubles for whoever goes on past it. Only failures are counted by such.
func BacksOff(name string) bool {
	return slices.ContainsFunc(limitRows, func(l limitRow) bool { return l.name == name && l.backOff })
}

// RateLimitsMarkdown is the table of the limits in docs/operate.md.
func RateLimitsMarkdown() string {
	var b strings.Builder
	b.WriteString("| Name | Default | Counts |\n|---|---|---|\n")
	for _, l := range limitRows {
		fmt.Fprintf(&b, "| `%s` | %d/%s | %s |\n", l.name, l.rate.Count, plainDuration(l.rate.Period), l.counts)
	}
	return b.String()
}

// Count is one event to be counted: by the limit of that name, for whom the key says.
type Count struct{ Limit, Key string }

// Verdict says whether events are within their limits: of the one that refuses or, when none does, the one with the least
// left.
type Verdict struct {
	Refused   bool
	Limit     string        // empty when nothing was limited
	Rate      Rate          // of that limit
	Remaining int           // events that are left now
	Wait      time.Duration // when none is left, until the next one; else until all are back
}

// Fields are the values of the header fields RateLimit-Policy and RateLimit (draft-ietf-httpapi-ratelimit-headers).
func (v Verdict) Fields() (policy, state string) {
	return fmt.Sprintf(`"%s";q=%d;w=%d`, v.Limit, v.Rate.Count, seconds(v.Rate.Period)), fmt.Sprintf(`"%s";r=%d;t=%d`, v.Limit, v.Remaining, seconds(v.Wait))
}

// Scarce reports whether a caller should be told how little is left.
func (v Verdict) Scarce() bool { return v.Refused || v.Limit != "" && v.Remaining*10 < v.Rate.Count }

func seconds(d time.Duration) int64 { return int64((d + time.Second - 1) / time.Second) }

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
	var mistakes []string
	given := map[string]bool{}
	for _, item := range splitList(v) {
		name, rate, err := parseRateLimit(item)
		if err == nil && given[name] {
			err = fmt.Errorf("%s is given twice", name)
		}
		if err != nil {
			mistakes = append(mistakes, err.Error())
			continue
		}
		given[name], c.RateLimits[name] = true, rate
	}
	if mistakes != nil {
		return errors.New(strings.Join(mistakes, "; "))
	}
	return nil
}

func parseRateLimit(item string) (name string, r Rate, err error) {
	name, value, ok := strings.Cut(item, "=")
	count, period, ok2 := strings.Cut(value, "/")
	if !ok || !ok2 {
		return "", Rate{}, fmt.Errorf("%q is not a limit, write name=count/period, like client_failure=20/1m", item)
	}
	if _, known := DefaultRateLimits[name]; !known {
		names := slices.Sorted(maps.Keys(DefaultRateLimits))
		return "", Rate{}, fmt.Errorf("%q is not the name of a limit, the names are %s%s",
			name, strings.Join(names, ", "), DidYouMean(name, names))
	}
	if r.Count, err = strconv.Atoi(count); err != nil || r.Count < 1 || r.Count > 1_000_000 {
		return "", Rate{}, fmt.Errorf("%q: the count must be a whole number from 1 to 1000000", item)
	}
	if r.Period, err = ParseDuration(period); err != nil || r.Period < time.Second || r.Period > 24*time.Hour {
		return "", Rate{}, fmt.Errorf("%q: the period must be a duration from 1s to 24h, like 1m", item)
	}
	return name, r, nil
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
