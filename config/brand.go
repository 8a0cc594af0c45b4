package config

import (
	"errors"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"gatehouse/display"
)

// Brand is what the operator changes about the look of all pages and emails.
type Brand struct {
	Name                               string
	LogoFile, FaviconFile              string
	Accent                             string // #rrggbb, or empty
	SupportURL, ImprintURL, PrivacyURL string
}

var brandSettings = []setting{
	{env: "GATEHOUSE_BRAND_NAME", def: "Gatehouse",
		doc: "The name of the service on pages and in emails, at most 60 characters.",
		set: setBrandName, get: func(c *Config) string { return c.Brand.Name }},
	{env: "GATEHOUSE_BRAND_LOGO_FILE",
		doc: "PNG, JPEG, GIF, WebP or SVG file of at most 16 KiB: the logo on pages, shown 32 pixels high. Read at startup.",
		set: stringField(func(c *Config) *string { return &c.Brand.LogoFile }),
		get: func(c *Config) string { return c.Brand.LogoFile }},
	{env: "GATEHOUSE_BRAND_FAVICON_FILE",
		doc: "PNG, SVG or ICO file of at most 16 KiB: the icon of browser tabs. Empty: the logo.",
		set: stringField(func(c *Config) *string { return &c.Brand.FaviconFile }),
		get: func(c *Config) string { return c.Brand.FaviconFile }},
	{env: "GATEHOUSE_BRAND_ACCENT",
		doc: "Color of buttons and links, such as `#14634a`. It is made darker or lighter where text would not be readable.",
		set: setBrandAccent, get: func(c *Config) string { return c.Brand.Accent }},
	linkSetting("GATEHOUSE_BRAND_SUPPORT_URL", "Where users get help: an `https://` URL, or `mailto:` and an address.",
		func(c *Config) *string { return &c.Brand.SupportURL }),
	linkSetting("GATEHOUSE_BRAND_IMPRINT_URL", "The imprint, linked on every page: an `https://` URL.",
		func(c *Config) *string { return &c.Brand.ImprintURL }),
	linkSetting("GATEHOUSE_BRAND_PRIVACY_URL", "The privacy policy, linked on every page: an `https://` URL.",
		func(c *Config) *string { return &c.Brand.PrivacyURL }),
	{env: "GATEHOUSE_TEMPLATES_DIR",
		doc: "Directory whose files replace those of the pages with the same names, and which may have messages in more " +
			"languages. See [branding.md](branding.md). Read at startup.",
		set: stringField(func(c *Config) *string { return &c.TemplatesDir }),
		get: func(c *Config) string { return c.TemplatesDir }},
}

const maxBrandName = 60

func setBrandName(c *Config, v string) error {
	if v == "" || utf8.RuneCountInString(v) > maxBrandName || display.NameOr(v, "") == "" {
		return errors.New("the name must have 1 to 60 printable characters")
	}
	c.Brand.Name = v
	return nil
}

var colorPattern = regexp.MustCompile(`^#[0-9a-fA-F]{6}$`)

func setBrandAccent(c *Config, v string) error {
	if v != "" && !colorPattern.MatchString(v) {
		return errors.New("write the color as # and six hexadecimal digits, such as #14634a")
	}
	c.Brand.Accent = strings.ToLower(v)
	return nil
}

// linkSetting returns the row of a URL that pages link to.
func linkSetting(env, doc string, field func(*Config) *string) setting {
	return setting{env: env, doc: doc,
		set: func(c *Config, v string) error {
			u, err := url.Parse(v)
			isWeb := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != ""
			isMail := err == nil && u.Scheme == "mailto" && strings.Contains(u.Opaque, "@")
			if v != "" && !isWeb && !isMail {
				return errors.New("write an https:// URL, or mailto: and an email address")
			}
			*field(c) = v
			return nil
		},
		get: func(c *Config) string { return *field(c) }}
}
