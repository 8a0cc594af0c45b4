package config_test

import (
	"slices"
	"strings"
	"testing"

	"gatehouse/config"
)

func TestSecretsAreRedacted(t *testing.T) {
	t.Parallel()
	c, _, err := load(map[string]string{
		"GATEHOUSE_SECRET_KEY": key, "GATEHOUSE_SECRET_KEY_PREVIOUS": otherKey,
		"GATEHOUSE_DATABASE_URL": "postgres://u:hunter2@h/d?password=hunter3", "GATEHOUSE_REDIS_URL": "redis://:hunter4@h",
		"GATEHOUSE_SMTP_URL": "smtp://u:hunter5@h", "GATEHOUSE_MAIL_FROM": "a@b.c",
		"GATEHOUSE_MIGRATION_SECRET": "hunter6", "GATEHOUSE_MIGRATION_URL": "https://h/?token=hunter7",
		"GATEHOUSE_CAPTCHA_SECRET": "hunter8", "GATEHOUSE_CAPTCHA_URL": "https://h/verify",
		"GATEHOUSE_CAPTCHA_SITE_KEY": "k", "GATEHOUSE_CAPTCHA_SCRIPT_URL": "https://h/a.js",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := c.WriteRedacted(&b); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{
		key, otherKey, "hunter2", "hunter3", "hunter4", "hunter5", "hunter6", "hunter7", "hunter8",
	} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("WriteRedacted writes %s:\n%s", secret, b.String())
		}
	}
	for _, f := range config.Flags() {
		secrets := []string{
			"secret-key", "secret-key-previous", "redis-url", "smtp-url", "migration-secret", "captcha-secret",
		}
		if want := slices.Contains(secrets, f.Name); f.Hidden != want {
			t.Errorf("flag %s: Hidden = %t, want %t", f.Name, f.Hidden, want)
		}
	}
}

func TestPasswordsInDatabaseURLsAreRedacted(t *testing.T) {
	t.Parallel()
	for _, postgres := range []string{
		"postgres://u:hunter2@h/d", "postgres://u@h/d?password=hunter2", "postgres://u@h/d?pass%77ord=hunter2",
		"postgres://u@h/d?sslmode=verify-full&sslpassword=hunter2", "postgres://u@h/d?sslinline=true&sslkey=hunter2",
		"postgres://u@h/d?scram_client_key=hunter2", "postgres://u@h/d?oauth_client_secret=hunter2",
		"postgres://u@h1:1,h2:2/d?PASSWORD=hunter2&password=hunter2", "postgres://u@h/d?password=hunter2;x",
		"postgres://u@h/d?password=hunter2%zz",
		// Not percent-encoded: the rest of the password is parsed as a query or a path.
		"postgres://u:1?hunter2@h/d", "postgres://u:1/hunter2@h/d",
	} {
		c, _, err := load(map[string]string{"GATEHOUSE_DATABASE_URL": postgres, "GATEHOUSE_SECRET_KEY": key}, nil)
		if err != nil {
			t.Errorf("Load with %s: %v", postgres, err)
			continue
		}
		if got := c.RedactedValues()["GATEHOUSE_DATABASE_URL"]; strings.Contains(got, "hunter") {
			t.Errorf("config print shows the password of %s as %s", postgres, got)
		}
		_, warnings, err := load(map[string]string{"GATEHOUSE_SECRET_KEY": key}, map[string]string{"database-url": postgres})
		if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], "GATEHOUSE_DATABASE_URL_FILE") ||
			strings.Contains(warnings[0], "hunter") {
			t.Errorf("--database-url %s: warnings %v, error %v, want one warning that names GATEHOUSE_DATABASE_URL_FILE",
				postgres, warnings, err)
		}
	}
	env := map[string]string{"GATEHOUSE_DATABASE_URL": "postgres://u:1#hunter2@h/d", "GATEHOUSE_SECRET_KEY": key}
	if _, _, err := load(env, nil); err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("Load with a # in the password: error %v, want one without the password", err)
	}
}

func TestURLsWithoutSecretAreNotRedacted(t *testing.T) {
	t.Parallel()
	for _, plain := range []string{
		"postgres://u@h/d?sslmode=verify-full&sslrootcert=/ca.pem&passfile=/run/pgpass&application_name=x",
		"sqlite:/data/a@b.db",
	} {
		c, warnings, err := load(map[string]string{"GATEHOUSE_SECRET_KEY": key}, map[string]string{"database-url": plain})
		got := c.RedactedValues()["GATEHOUSE_DATABASE_URL"]
		if err != nil || len(warnings) > 0 || got != plain {
			t.Errorf("--database-url %s: printed %s, warnings %v, error %v, want it unchanged", plain, got, warnings, err)
		}
	}
}

func TestSecretFlagsCauseWarnings(t *testing.T) {
	t.Parallel()
	_, warnings, err := load(nil, map[string]string{"secret-key": key})
	if err != nil || len(warnings) != 1 || strings.Contains(warnings[0], key) {
		t.Errorf("--secret-key: warnings %q, error %v, want one warning without the key", warnings, err)
	}
}

func TestMarkdownListsEverySetting(t *testing.T) {
	t.Parallel()
	doc := config.Markdown()
	for _, f := range config.Flags() {
		if !strings.Contains(doc, "`--"+f.Name+"`") {
			t.Errorf("Markdown() does not have the flag --%s", f.Name)
		}
		if f.Usage == "" || strings.Contains(f.Usage, "`") {
			t.Errorf("flag --%s: Usage = %q, want a description without backticks", f.Name, f.Usage)
		}
	}
}
