package ratelimit_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/ratelimit"
)

func TestParseRatesOverridesDefaults(t *testing.T) {
	t.Parallel()
	want := ratelimit.Defaults()
	want["client_failure"] = ratelimit.Rate{Count: 5, Period: 10 * time.Second}
	want["sign_in"] = ratelimit.Rate{Count: 7, Period: 24 * time.Hour}
	got, err := ratelimit.ParseRates("client_failure=5/10s, sign_in=7/1d,")
	if err != nil || len(got) != len(want) {
		t.Fatalf("ParseRates returned %d limits and %v, want %d and no error", len(got), err, len(want))
	}
	for name := range want {
		if got[name] != want[name] {
			t.Errorf("limit %s = %v, want %v", name, got[name], want[name])
		}
	}
}

func TestFormatRatesIsReadByParseRates(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{
		"": "default", "default": "default", "off": "off", "client_failure=20/60s": "default",
		"sign_in=7/90s,client_failure=5/10s": "client_failure=5/10s,sign_in=7/1m30s",
	} {
		rates, err := ratelimit.ParseRates(setting)
		if err != nil {
			t.Errorf("ParseRates(%q): %v", setting, err)
		}
		if got := ratelimit.FormatRates(rates); got != want {
			t.Errorf("FormatRates after ParseRates(%q) = %q, want %q", setting, got, want)
		}
	}
}

func TestParseRatesRefusesInvalidItems(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]string{
		"x":                                      `"x" is not a rate limit`,
		"client_failure":                         "write name=count/period",
		"client_failure=5":                       "write name=count/period",
		"client_failure=0/1s":                    "whole number from 1 to 1000000",
		"client_failure=1000001/1s":              "whole number from 1 to 1000000",
		"client_failure=5/0s":                    "duration from 1s to 24h",
		"client_failure=5/25h":                   "duration from 1s to 24h",
		"unknown=5/1s":                           "the names are account_change, account_link, account_mail",
		"client_failures=5/1m":                   "did you mean client_failure?",
		"sign_in=5/1s,sign_in=6/1s":              "sign_in is set twice",
		"unknown=5/1s,revocation=0/1m,sign_in=5": `"unknown" is not the name`,
	} {
		_, err := ratelimit.ParseRates(setting)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("ParseRates(%q): error %v, want one with %q", setting, err, want)
		}
		if n := strings.Count(setting, ",") + 1; err != nil && n == 3 && strings.Count(err.Error(), ";") < n-1 {
			t.Errorf("ParseRates(%q): error %v, want all %d errors", setting, err, n)
		}
	}
}
