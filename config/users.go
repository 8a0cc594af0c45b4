package config

import (
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// userSettings are the settings of what users do without the operator.
var userSettings = []setting{
	{env: "GATEHOUSE_SIGN_UP", def: "off",
		doc: "Who can create an account: `off` (only the operator), `invite` (also users with an invitation of `gatehouse " +
			"invite`), `domains:a.example,b.example` (also users with an email address of these domains) or `open` " +
			"(everyone). `domains`, `open` and invitations without a fixed address need `GATEHOUSE_SMTP_URL`.",
		set: setSignUp, get: getSignUp},
	{env: "GATEHOUSE_SIGN_IN_CODES", def: "false",
		doc: "Whether users can sign in with a code of six digits in an email, in place of the password. A second factor " +
			"is needed as after a password. Requires `GATEHOUSE_SMTP_URL`.",
		set: boolField(func(c *Config) *bool { return &c.SignInCodes }),
		get: func(c *Config) string { return strconv.FormatBool(c.SignInCodes) }},
	{env: "GATEHOUSE_TERMS_URL",
		doc: "The terms of use: an `https://` URL. If `GATEHOUSE_TERMS_VERSION` is set, users accept them when they create " +
			"an account, and again at the next sign-in or request of a client after the version changed.",
		set: setTermsURL, get: func(c *Config) string { return c.TermsURL }},
	{env: "GATEHOUSE_TERMS_VERSION",
		doc: "The version of the terms of use, such as `2026-11`, which is stored when a user accepts them. Requires " +
			"`GATEHOUSE_TERMS_URL`.",
		set: setTermsVersion, get: func(c *Config) string { return c.TermsVersion }},
	durationSetting("GATEHOUSE_USER_DELETION_GRACE", "168h", 0, 365*24*time.Hour, "",
		"How long after users delete their account they can keep it by signing in.",
		func(c *Config) *time.Duration { return &c.UserDeletionGrace }),
	durationSetting("GATEHOUSE_USERNAME_RETENTION", "2160h", 0, 10*365*24*time.Hour, "",
		"How long after the deletion of a user no other user can have the username.",
		func(c *Config) *time.Duration { return &c.UsernameRetention }),
}

func setSignUp(c *Config, v string) error {
	mode, list, hasList := strings.Cut(v, ":")
	domains := splitList(list)
	switch {
	case mode == "domains" && len(domains) > 0:
		for i, d := range domains {
			domains[i] = strings.ToLower(d)
			if !strings.Contains(d, ".") || strings.ContainsAny(d, "@*/: ") {
				return fmt.Errorf("%q is not a domain; write domains:a.example,b.example", d)
			}
		}
	case hasList || mode != "off" && mode != "invite" && mode != "open":
		return fmt.Errorf("%q is not off, invite, open or domains:a.example,b.example", v)
	}
	c.SignUp, c.SignUpDomains = mode, domains
	return nil
}

func getSignUp(c *Config) string {
	if c.SignUp == "domains" {
		return "domains:" + strings.Join(c.SignUpDomains, ",")
	}
	return c.SignUp
}

func setTermsURL(c *Config, v string) error {
	if u, err := url.Parse(v); v != "" && (err != nil || u.Scheme != "https" || u.Host == "") {
		return fmt.Errorf("%q must be an https URL, like https://example.com/terms", v)
	}
	c.TermsURL = v
	return nil
}

func setTermsVersion(c *Config, v string) error {
	if utf8.RuneCountInString(v) > 40 || strings.ContainsAny(v, "\n\t") {
		return fmt.Errorf("%q is longer than 40 characters or has a line break", v)
	}
	c.TermsVersion = v
	return nil
}
