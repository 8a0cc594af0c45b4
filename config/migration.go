package config

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"gatehouse/loopback"
)

// Migration are the settings of the old server whose users move to Gatehouse at their first sign-in.
type Migration struct {
	Kind        string // "off", "password", "webhook" or "ldap"
	URL         string
	UserinfoURL string // with "password"
	ClientID    string // with "password"; with "ldap" a DN
	Secret      string
	Until       *time.Time
	Timeout     time.Duration
	Source      string   // the name of the old server in external_ids
	Groups      []string // that every user gets
	// MatchedGroups are the groups that a user gets who has a group with the name at the old server.
	MatchedGroups []string

	LDAPBase, LDAPFilter, LDAPID string
}

var migrationSettings = []setting{
	{env: "GATEHOUSE_MIGRATION", def: "off",
		doc: "Whether the old server checks the passwords of users who have no account yet, and how: `off`, `password` " +
			"(the resource owner password credentials grant), `webhook` or `ldap`. See " +
			"[migrate.md](migrate.md#at-the-first-sign-in).",
		set: enumField(func(c *Config) *string { return &c.Migration.Kind }, "off", "password", "webhook", "ldap"),
		get: func(c *Config) string { return c.Migration.Kind }},
	{env: "GATEHOUSE_MIGRATION_URL",
		doc: "The token endpoint of the old server, or the webhook: an `https://` URL. With `GATEHOUSE_MIGRATION=ldap` the " +
			"directory: `ldaps://host`, or `ldap://host`, where TLS begins with StartTLS.",
		set: endpointField(func(c *Config) *string { return &c.Migration.URL }, "https", "http", "ldaps", "ldap"),
		get: func(c *Config) string { return redactedURL(c.Migration.URL) }},
	{env: "GATEHOUSE_MIGRATION_USERINFO_URL",
		doc: "The userinfo endpoint of the old server, with `GATEHOUSE_MIGRATION=password`.",
		set: endpointField(func(c *Config) *string { return &c.Migration.UserinfoURL }, "https", "http"),
		get: func(c *Config) string { return c.Migration.UserinfoURL }},
	{env: "GATEHOUSE_MIGRATION_CLIENT_ID",
		doc: "The `client_id` of Gatehouse at the old server, with `GATEHOUSE_MIGRATION=password`; with `ldap` the DN of " +
			"an entry that may read the users.",
		set: stringField(func(c *Config) *string { return &c.Migration.ClientID }),
		get: func(c *Config) string { return c.Migration.ClientID }},
	{env: "GATEHOUSE_MIGRATION_SECRET", secret: true, file: true,
		doc: "With `password` the client secret of Gatehouse at the old server, empty for a public client; with " +
			"`webhook` the bearer token that it requires; with `ldap` the password of the DN.",
		set: stringField(func(c *Config) *string { return &c.Migration.Secret }),
		get: func(c *Config) string {
			if c.Migration.Secret == "" {
				return ""
			}
			return "(redacted)"
		}},
	{env: "GATEHOUSE_MIGRATION_UNTIL",
		doc: "The day from whose beginning (UTC) on the old server is no longer called, such as `2027-06-30`. Required " +
			"with `GATEHOUSE_MIGRATION`.",
		set: setMigrationUntil, get: getMigrationUntil},
	durationSetting("GATEHOUSE_MIGRATION_TIMEOUT", "5s", 500*time.Millisecond, 20*time.Second, "",
		"How long a sign-in waits for the old server.", func(c *Config) *time.Duration { return &c.Migration.Timeout }),
	{env: "GATEHOUSE_MIGRATION_SOURCE", def: "migration",
		doc: "The name under which the ids of the old server are stored. With the `--source` of an import, users of that " +
			"import are recognized and not created again.",
		set: setMigrationSource, get: func(c *Config) string { return c.Migration.Source }},
	{env: "GATEHOUSE_MIGRATION_GROUPS",
		doc: "Groups of Gatehouse that every user from the old server gets, separated by commas.",
		set: listField(func(c *Config) *[]string { return &c.Migration.Groups }),
		get: func(c *Config) string { return strings.Join(c.Migration.Groups, ",") }},
	{env: "GATEHOUSE_MIGRATION_MATCHED_GROUPS",
		doc: "Groups of Gatehouse, separated by commas: a user from the old server gets those of them that the user has " +
			"there. Other groups of the old server are ignored.",
		set: listField(func(c *Config) *[]string { return &c.Migration.MatchedGroups }),
		get: func(c *Config) string { return strings.Join(c.Migration.MatchedGroups, ",") }},
}

var ldapSettings = []setting{
	{env: "GATEHOUSE_MIGRATION_LDAP_BASE",
		doc: "The DN below which the users are, with `GATEHOUSE_MIGRATION=ldap`, such as `ou=users,dc=example,dc=com`.",
		set: stringField(func(c *Config) *string { return &c.Migration.LDAPBase }),
		get: func(c *Config) string { return c.Migration.LDAPBase }},
	{env: "GATEHOUSE_MIGRATION_LDAP_FILTER", def: "(|(uid=%s)(mail=%s))",
		doc: "The filter that finds the entry of a user; `%s` is the name that the user entered. For Active Directory " +
			"`(|(sAMAccountName=%s)(userPrincipalName=%s))`.",
		set: setLDAPFilter, get: func(c *Config) string { return c.Migration.LDAPFilter }},
	{env: "GATEHOUSE_MIGRATION_LDAP_ID", def: "entryUUID",
		doc: "The attribute with the id of an entry, which becomes the `sub`: `entryUUID`, or `objectGUID` for Active " +
			"Directory.",
		set: enumField(func(c *Config) *string { return &c.Migration.LDAPID }, "entryUUID", "objectGUID"),
		get: func(c *Config) string { return c.Migration.LDAPID }},
}

func setLDAPFilter(c *Config, v string) error {
	if !strings.HasPrefix(v, "(") || !strings.HasSuffix(v, ")") || !strings.Contains(v, "%s") {
		return fmt.Errorf("%q is not a filter with a name; write one like (uid=%%s)", v)
	}
	c.Migration.LDAPFilter = v
	return nil
}

func listField(field func(*Config) *[]string) func(*Config, string) error {
	return func(c *Config, v string) error { *field(c) = splitList(v); return nil }
}

// endpointField accepts a URL of another server to which secrets are sent.
func endpointField(field func(*Config) *string, schemes ...string) func(*Config, string) error {
	return func(c *Config, v string) error {
		u, err := url.Parse(v)
		switch {
		case v == "":
		case err != nil || u.Hostname() == "" || !slices.Contains(schemes, u.Scheme):
			return errors.New("must be a URL with one of the schemes " + strings.Join(schemes, ", ") +
				", like " + schemes[0] + "://old.example.com/token")
		case u.Scheme == "http" && !loopback.IsHost(u.Hostname()):
			return errors.New("is http on a host that is not loopback; passwords are sent to it, so write https://")
		case u.User != nil || u.Fragment != "":
			return errors.New("has userinfo or a fragment; remove it")
		}
		*field(c) = v
		return nil
	}
}

func setMigrationUntil(c *Config, v string) error {
	if v == "" {
		return nil
	}
	until, err := time.Parse(time.DateOnly, v)
	if err != nil {
		return fmt.Errorf("%q is not a date; write one like 2027-06-30", v)
	}
	c.Migration.Until = &until
	return nil
}

func getMigrationUntil(c *Config) string {
	if c.Migration.Until == nil {
		return ""
	}
	return c.Migration.Until.Format(time.DateOnly)
}

func setMigrationSource(c *Config, v string) error {
	if v == "" || len(v) > maxSource || strings.ContainsFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Errorf("%q is not a name of 1 to %d visible ASCII characters", v, maxSource)
	}
	c.Migration.Source = v
	return nil
}

const maxSource = 100

// conflicts reports each setting of the old server that is missing.
func (m Migration) conflicts(report func(message ...string)) {
	if m.Kind == "off" || m.Kind == "" {
		return
	}
	if m.Until == nil {
		report("GATEHOUSE_MIGRATION_UNTIL is required with GATEHOUSE_MIGRATION; set it to the day from which on the old ",
			"server is no longer called, like 2027-06-30")
	}
	switch scheme, _, _ := strings.Cut(m.URL, ":"); {
	case m.URL == "":
		report("GATEHOUSE_MIGRATION_URL is required with GATEHOUSE_MIGRATION")
	case strings.HasPrefix(scheme, "ldap") != (m.Kind == "ldap"):
		report("GATEHOUSE_MIGRATION_URL has the scheme ", scheme, ", which GATEHOUSE_MIGRATION=", m.Kind,
			" does not support; write ldaps:// with ldap, and https:// with the other kinds")
	}
	require := func(value, name string) {
		if value == "" {
			report("GATEHOUSE_MIGRATION_", name, " is required with GATEHOUSE_MIGRATION=", m.Kind)
		}
	}
	switch m.Kind {
	case "password":
		require(m.UserinfoURL, "USERINFO_URL")
		require(m.ClientID, "CLIENT_ID")
	case "webhook": // without it the webhook could not refuse other callers
		require(m.Secret, "SECRET")
	case "ldap":
		require(m.ClientID, "CLIENT_ID")
		require(m.Secret, "SECRET")
		require(m.LDAPBase, "LDAP_BASE")
	}
}

func (c Config) warnAboutMigration(warn func(message ...string)) {
	m := c.Migration
	if m.Kind == "off" || m.Until == nil {
		return
	}
	if m.Until.Before(time.Now()) {
		warn("GATEHOUSE_MIGRATION ended on ", getMigrationUntil(&c), ": the old server is not called; remove the ",
			"settings, and the client or account of Gatehouse at the old server")
	}
	if c.SignUp == "open" || c.SignUp == "domains" {
		warn("GATEHOUSE_SIGN_UP lets others take the usernames of users who have not moved from the old server yet; ",
			"these must then sign in with their email address; to prevent that, set it to invite until all have moved")
	}
}
