package config

import "testing"

// TestCaptchaSettingsNeedEachOther checks which settings of a captcha are valid together.
func TestCaptchaSettingsNeedEachOther(t *testing.T) {
	t.Parallel()
	all := Captcha{VerifyURL: "https://c.example/verify", Secret: "s", SiteKey: "k", ScriptURL: "https://c.example/a.js"}
	for name, change := range map[string]func(c *Captcha){
		"no secret": func(c *Captcha) { c.Secret = "" }, "no URL": func(c *Captcha) { c.VerifyURL = "" },
		"a host that ends the directive": func(c *Captcha) { c.ScriptURL = "https://c.example;x/a.js" },
	} {
		c := all
		if change(&c); c.problem() == "" {
			t.Errorf("%s is accepted", name)
		}
	}
	if all.problem() != "" || (Captcha{}).problem() != "" || all.Sources() != "https://c.example" {
		t.Errorf("all settings: %q, sources %s; none: %q", all.problem(), all.Sources(), Captcha{}.problem())
	}
	for _, origins := range []string{"https://a.example;", "http://a.example", "*", "https://a.example/x", "'self'"} {
		if setCaptchaOrigins(&Config{}, origins) == nil {
			t.Errorf("the origins %s are accepted", origins)
		}
	}
	for _, raw := range []string{"http://c.example/verify", "https://", "https://user@c.example/"} {
		if setCaptchaURL(func(c *Captcha) *string { return &c.VerifyURL }, true)(&Config{}, raw) == nil {
			t.Errorf("the URL %s is accepted", raw)
		}
	}
}
