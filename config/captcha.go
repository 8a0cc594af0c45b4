package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"gatehouse/loopback"
)

// Captcha is a service of another operator that checks whether a program fills in the form of a sign-up. Without a
// VerifyURL there is none.
type Captcha struct {
	VerifyURL, Secret          string
	ScriptURL, SiteKey, Widget string   // Widget is the class of the element
	Origins                    []string // of what the widget loads
}

// captchaSettings are the settings of the captcha on the sign-up page.
var captchaSettings = []setting{
	{env: "GATEHOUSE_CAPTCHA_URL",
		doc: "Where the response of a captcha on the sign-up page is verified, by the protocol that Turnstile, hCaptcha " +
			"and reCAPTCHA share: an `https://` URL, such as `https://challenges.cloudflare.com/turnstile/v0/siteverify`. By " +
			"default there is no captcha, and no page loads anything from another server.",
		set: setCaptchaURL(func(c *Captcha) *string { return &c.VerifyURL }, true),
		get: func(c *Config) string { return c.Captcha.VerifyURL }},
	{env: "GATEHOUSE_CAPTCHA_SECRET", secret: true, file: true,
		doc: "The secret with which responses of the captcha are verified. Requires `GATEHOUSE_CAPTCHA_URL`.",
		set: func(c *Config, v string) error { c.Captcha.Secret = v; return nil },
		get: func(c *Config) string {
			if c.Captcha.Secret == "" {
				return ""
			}
			return "(redacted)"
		}},
	{env: "GATEHOUSE_CAPTCHA_SITE_KEY",
		doc: "The site key of the captcha, which the page contains. Requires `GATEHOUSE_CAPTCHA_URL`.",
		set: func(c *Config, v string) error { c.Captcha.SiteKey = v; return nil },
		get: func(c *Config) string { return c.Captcha.SiteKey }},
	{env: "GATEHOUSE_CAPTCHA_SCRIPT_URL",
		doc: "The script of the captcha: an `https://` URL. It runs on the sign-up page. Requires `GATEHOUSE_CAPTCHA_URL`.",
		set: setCaptchaURL(func(c *Captcha) *string { return &c.ScriptURL }, false),
		get: func(c *Config) string { return c.Captcha.ScriptURL }},
	{env: "GATEHOUSE_CAPTCHA_WIDGET", def: "cf-turnstile",
		doc: "The class of the element of the captcha: `cf-turnstile`, `h-captcha` or `g-recaptcha`. The form has the " +
			"response in the field of that name and `-response`.",
		set: setCaptchaWidget, get: func(c *Config) string { return c.Captcha.Widget }},
	{env: "GATEHOUSE_CAPTCHA_ORIGINS",
		doc: "Origins from which the captcha loads scripts, frames and styles, such as `https://*.hcaptcha.com`, separated " +
			"by commas. The Content-Security-Policy of the sign-up page allows them. By default that of its script.",
		set: setCaptchaOrigins, get: func(c *Config) string { return strings.Join(c.Captcha.Origins, ",") }},
}

// setCaptchaURL sets a URL, which may use http only for the local host, if that is allowed.
func setCaptchaURL(field func(c *Captcha) *string, allowLoopback bool) func(c *Config, v string) error {
	return func(c *Config, v string) error {
		u, err := url.Parse(v)
		valid := err == nil && u.Host != "" && u.User == nil && u.Fragment == "" &&
			(u.Scheme == "https" || allowLoopback && u.Scheme == "http" && loopback.IsHost(u.Hostname()))
		if v != "" && !valid {
			return fmt.Errorf("%q must be an https URL without userinfo and fragment, like https://captcha.example/verify", v)
		}
		*field(&c.Captcha) = v
		return nil
	}
}

var widgetPattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,40}$`)

func setCaptchaWidget(c *Config, v string) error {
	if !widgetPattern.MatchString(v) {
		return fmt.Errorf("%q is not a class of small letters, digits and hyphens", v)
	}
	c.Captcha.Widget = v
	return nil
}

var originPattern = regexp.MustCompile(`^https://(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*(:[0-9]{1,5})?$`)

func setCaptchaOrigins(c *Config, v string) error {
	c.Captcha.Origins = splitList(v)
	for _, origin := range c.Captcha.Origins {
		if !originPattern.MatchString(origin) {
			return fmt.Errorf("%q is not an origin; write one like https://*.example.com", origin)
		}
	}
	return nil
}

// Sources returns the origins for a Content-Security-Policy.
func (c Captcha) Sources() string {
	if len(c.Origins) > 0 {
		return strings.Join(c.Origins, " ")
	}
	u, err := url.Parse(c.ScriptURL)
	if err != nil {
		return ""
	}
	return "https://" + u.Host
}

// problem returns what is wrong with the settings together, or "".
func (c Captcha) problem() string {
	set := 0
	for _, v := range []string{c.VerifyURL, c.Secret, c.SiteKey, c.ScriptURL} {
		if v != "" {
			set++
		}
	}
	switch {
	case set != 0 && set != 4:
		return "GATEHOUSE_CAPTCHA_URL, GATEHOUSE_CAPTCHA_SECRET, GATEHOUSE_CAPTCHA_SITE_KEY and " +
			"GATEHOUSE_CAPTCHA_SCRIPT_URL must be set together; set all of them or none"
	case set == 4 && !originPattern.MatchString(Captcha{ScriptURL: c.ScriptURL}.Sources()):
		return "GATEHOUSE_CAPTCHA_SCRIPT_URL has a host that no Content-Security-Policy allows; write it in lower case"
	}
	return ""
}
