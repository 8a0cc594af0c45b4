// Package ratelimit decides which rate limits exist, what they allow by default, and whether an event is within its
// limits. It counts by the generic cell rate algorithm in the memory of one process or, shared by all processes, in
// Redis. The choice of events and the response to a refused request are left to the callers.
package ratelimit

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/display"
	"gatehouse/duration"
)

// The names of the limits, as in GATEHOUSE_RATE_LIMITS, metrics and the header field RateLimit.
const (
	Authorize             = "authorize"
	SignIn                = "sign_in"
	SignInNames           = "sign_in_names"
	StoredRequest         = "stored_request"
	AllStoredRequests     = "stored_requests"
	TokenAddress          = "token_address"
	TokenClient           = "token_client"
	TokenUser             = "token_person"
	Introspection         = "introspection"
	Revocation            = "revocation"
	Registration          = "registration"
	ClientFailure         = "client_failure"
	AddressFailure        = "address_failure"
	RequestObjectFailure  = "request_object_failure"
	ClientDocument        = "client_document"
	ClientDocumentFailure = "client_document_failure"
	AccountMail           = "account_mail"
	MailAddress           = "mail_address"
	AllMails              = "emails"
	NewAddressMails       = "emails_new_address"
	KnownBrowserMails     = "emails_known_browser"
	AccountRequest        = "account_request"
	AccountLink           = "account_link"
	AccountChange         = "account_change"
	AccountReport         = "account_report"
	PasswordChange        = "password_change"
	SignUp                = "sign_up"
	SignUpUnproven        = "sign_up_unproven"
	RecordedFailure       = "recorded_failure"
	AllRecordedFailures   = "recorded_failures"
)

// Rate is a number of events allowed in a period.
type Rate struct {
	Count  int
	Period time.Duration
}

// limit is a row of the table that parsing, `--help` and the documents read.
type limit struct {
	name    string
	rate    Rate
	backOff bool   // exponential backoff: the wait about doubles with each refused event
	counts  string // what is counted, for docs/operate.md
}

var limits = []limit{
	{Authorize, Rate{3000, time.Minute}, false, "authorization requests, per network"},
	{SignIn, Rate{300, time.Minute}, false, "passwords sent, per network; failed ones are also slowed down per account"},
	{SignInNames, Rate{20, time.Hour}, false,
		"different names that failed to sign in, per subnet (IPv4 /24 or IPv6 /64), in the database; above it, browsers " +
			"in which the user has not signed in before wait, with exponential backoff per further name, up to 15 minutes; " +
			"each account that signs in from the subnet offsets two names"},
	{StoredRequest, Rate{300, time.Minute}, false,
		"authorization requests that are stored until the user responds, per network"},
	{AllStoredRequests, Rate{30_000, time.Minute}, false,
		"the same for the whole server, one for each 2 KiB of a request, so that an attacker with many networks cannot " +
			"fill the disk"},
	{TokenAddress, Rate{300_000, time.Minute}, false, "authenticated token requests, per network"},
	{TokenClient, Rate{300_000, time.Minute}, false,
		"the same per client; of a public client, whose identity is not proven, per client and network"},
	{TokenUser, Rate{6000, time.Minute}, false,
		"authorization codes per user and client, and refreshes per grant, so that one misbehaving device does not " +
			"affect the others"},
	{Introspection, Rate{600_000, time.Minute}, false, "introspections, per client"},
	{Revocation, Rate{60_000, time.Minute}, false, "revocations, per client (of a public client, per client and network)"},
	{Registration, Rate{100, time.Minute}, false,
		"requests to the registration endpoints, per network, one for each 4 KiB"},
	{ClientFailure, Rate{20, time.Minute}, true,
		"failed client authentication, per client and network; above it a failure is 429, the wait starts at the period " +
			"and about doubles with each further failure, up to 15 minutes; a valid secret is never refused; an assertion " +
			"is refused before its signature is verified, because verifying costs more than sending"},
	{AddressFailure, Rate{60, time.Minute}, true,
		"the same, per network; it also refuses assertions of dynamically registered clients"},
	{RequestObjectFailure, Rate{60, time.Minute}, false,
		"request objects with an invalid signature, per client and network; above it none is verified"},
	{ClientDocument, Rate{60, time.Minute}, false, "client ID metadata documents fetched, per network"},
	{ClientDocumentFailure, Rate{10, time.Minute}, true,
		"client ID metadata documents that could not be fetched or used, per network; above it none is fetched for the " +
			"network, and the wait about doubles with each further failure, up to 15 minutes"},
	{AccountMail, Rate{5, time.Hour}, false,
		"emails with a link or code that are requested, per purpose and user, or address without an account; above it none " +
			"is sent, and the page does not show that; requests in browsers in which the user has signed in before are " +
			"counted separately"},
	{MailAddress, Rate{10, time.Hour}, false,
		"the same per address, for all purposes and users, in any spelling and without what follows a plus sign"},
	{AllMails, Rate{3000, time.Hour}, false,
		"the same to addresses with an account, for the whole server, so that an attacker with many networks cannot make " +
			"it send spam; notices are not counted, and a refusal is logged"},
	{NewAddressMails, Rate{1000, time.Hour}, false,
		"the same to addresses without an account, such as for sign-ups, so that these do not use up those to users"},
	{KnownBrowserMails, Rate{1000, time.Hour}, false,
		"the same that users request in browsers in which they have signed in before, so that requests of others do " +
			"not use them up"},
	{AccountRequest, Rate{30, 10 * time.Minute}, false,
		"requests for emails to users: password resets, codes, changes of address, per network"},
	{AccountLink, Rate{60, 10 * time.Minute}, false, "links and codes from emails that are opened or used, per network"},
	{AccountChange, Rate{30, 10 * time.Minute}, false,
		"changes of the factors of a user and confirmations of the user's activity, and separately changes of the " +
			"profile and language, per user"},
	{AccountReport, Rate{10, time.Hour}, false,
		"events that a user reports on the page Activity, per user, because each report ends sign-ins"},
	{PasswordChange, Rate{10, time.Hour}, false,
		"passwords that a signed-in user changes, per user, so that an attacker with a session cannot change it in a loop; " +
			"resets are not counted"},
	{SignUp, Rate{30, time.Hour}, false, "sign-ups, per network"},
	{SignUpUnproven, Rate{3, time.Hour}, false,
		"sign-ups from browsers that sent no proof of work, such as those without JavaScript, per network"},
	{RecordedFailure, Rate{60, time.Minute}, false,
		"failures of one kind that get an audit row, per network; others are only in the log and the metrics"},
	{AllRecordedFailures, Rate{3000, time.Minute}, false,
		"the same for the whole server, so that an attacker with many networks cannot fill the disk"},
}

// Defaults returns a new map of the limits that apply unless GATEHOUSE_RATE_LIMITS sets others.
func Defaults() map[string]Rate {
	rates := make(map[string]Rate, len(limits))
	for _, l := range limits {
		rates[l.name] = l.rate
	}
	return rates
}

// Names returns the names of all limits in alphabetical order.
func Names() []string { return slices.Sorted(maps.Keys(Defaults())) }

// hasBackoff reports whether each refused event of a limit increases the wait. Such limits count failures only.
func hasBackoff(name string) bool {
	return slices.ContainsFunc(limits, func(l limit) bool { return l.name == name && l.backOff })
}

// Markdown returns the table of the limits in docs/operate.md.
func Markdown() string {
	var b strings.Builder
	b.WriteString("| Name | Default | Counts |\n|---|---|---|\n")
	for _, l := range limits {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", l.name, l.rate, l.counts)
	}
	return b.String()
}

// String returns the rate as the setting writes it, like 20/1m.
func (r Rate) String() string { return strconv.Itoa(r.Count) + "/" + duration.Format(r.Period) }

// ParseRates reads the value of GATEHOUSE_RATE_LIMITS: "default", "off" (which returns nil) or "name=count/period,…",
// which overrides the defaults. The error reports every invalid item.
func ParseRates(setting string) (map[string]Rate, error) {
	rates := Defaults()
	switch setting {
	case "", "default":
		return rates, nil
	case "off":
		return nil, nil
	}
	var invalid []string
	seen := map[string]bool{}
	for item := range strings.SplitSeq(setting, ",") {
		if item = strings.TrimSpace(item); item == "" {
			continue
		}
		name, rate, err := parseRate(item)
		if err == nil && seen[name] {
			err = fmt.Errorf("%s is set twice", name)
		}
		if err != nil {
			invalid = append(invalid, err.Error())
			continue
		}
		seen[name], rates[name] = true, rate
	}
	if invalid != nil {
		return rates, errors.New(strings.Join(invalid, "; "))
	}
	return rates, nil
}

func parseRate(item string) (name string, r Rate, err error) {
	name, value, ok := strings.Cut(item, "=")
	count, period, ok2 := strings.Cut(value, "/")
	if !ok || !ok2 {
		return "", Rate{}, fmt.Errorf("%q is not a rate limit; write name=count/period, like client_failure=20/1m", item)
	}
	if names := Names(); !slices.Contains(names, name) {
		return "", Rate{}, fmt.Errorf("%q is not the name of a rate limit; the names are %s%s",
			name, strings.Join(names, ", "), display.DidYouMean(name, names))
	}
	if r.Count, err = strconv.Atoi(count); err != nil || r.Count < 1 || r.Count > 1_000_000 {
		return "", Rate{}, fmt.Errorf("%q: the count must be a whole number from 1 to 1000000", item)
	}
	if r.Period, err = duration.Parse(period); err != nil || r.Period < time.Second || r.Period > 24*time.Hour {
		return "", Rate{}, fmt.Errorf("%q: the period must be a duration from 1s to 24h, like 1m", item)
	}
	return name, r, nil
}

// FormatRates returns the setting that ParseRates reads as these rates.
func FormatRates(rates map[string]Rate) string {
	if rates == nil {
		return "off"
	}
	var changed []string
	defaults := Defaults()
	for _, name := range slices.Sorted(maps.Keys(rates)) {
		if r := rates[name]; r != defaults[name] {
			changed = append(changed, name+"="+r.String())
		}
	}
	if changed == nil {
		return "default"
	}
	return strings.Join(changed, ",")
}
