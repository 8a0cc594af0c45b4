package main

import (
	"path/filepath"
	"strings"

	"gatehouse/config"
)

// devDatabase returns where the commands on the page must run to find the database, and the setting that they need.
func devDatabase(cfg config.Config) string {
	path, embedded := cfg.SQLitePath()
	if !embedded {
		return " with the same GATEHOUSE_DATABASE_URL and GATEHOUSE_SECRET_KEY"
	}
	where := ""
	if !filepath.IsAbs(path) {
		where = " in this directory"
	}
	if cfg.DatabaseURL != config.DefaultDatabaseURL {
		where += " after: export GATEHOUSE_DATABASE_URL=" + shellQuote("sqlite:"+path)
	}
	return where
}

// shellQuote quotes s for a POSIX shell.
func shellQuote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// pathCommand returns the shell command that adds the directory of executable to PATH, or "" if lookPath finds a
// gatehouse there. For the temporary program of `go run`, it returns a command that builds one first.
func pathCommand(executable string, lookPath func(string) (string, error)) string {
	if _, err := lookPath("gatehouse"); err == nil {
		return ""
	}
	if strings.Contains(executable, "go-build") {
		return `make build && export PATH="$PWD/bin:$PATH"`
	}
	return "export PATH=" + shellQuote(filepath.Dir(executable)) + `:"$PATH"`
}

// devPage returns what dev prints: the URLs to open and the commands to try. addToPath is the result of pathCommand.
func devPage(cfg config.Config, d devData, sampleURL, addToPath string) string {
	if addToPath != "" {
		addToPath = "  Add gatehouse to PATH " + addToPath + "\n"
	}
	basic := "-u '" + d.ServiceID + ":" + d.ServiceSecret + "'"
	return strings.NewReplacer(
		"{issuer}", cfg.Issuer, "{sample}", sampleURL, "{user}", d.Username, "{password}", d.Password, "{basic}", basic,
		"{where}", devDatabase(cfg), "{path}", addToPath,
	).Replace(`
Gatehouse is running for development. Stop it with Ctrl-C; the next start has the same data.
--log-level info shows every request.

  Sample app     {sample}
                 sign in as   {user}
                 password     {password}
  Your account   {issuer}/account
                 add a passkey or an authenticator app under Security
  Emails         appear here, unless GATEHOUSE_SMTP_URL is set
  Metadata       {issuer}/.well-known/openid-configuration

Get an access token:

  curl -sw '\n' {basic} -d grant_type=client_credentials {issuer}/oauth2/token

Store one in TOKEN, and introspect it:

  TOKEN=$(curl -s {basic} -d grant_type=client_credentials {issuer}/oauth2/token | ` +
		`sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl -sw '\n' {basic} -d token="$TOKEN" {issuer}/oauth2/introspect

Revoke it, and introspect it again:

  curl -sw '%{http_code}\n' {basic} -d token="$TOKEN" {issuer}/oauth2/revoke
  curl -sw '\n' {basic} -d token="$TOKEN" {issuer}/oauth2/introspect

Next steps, in a second terminal{where}:

{path}  Register an app       gatehouse client create --name 'My app' ` +
		`--redirect-uri http://127.0.0.1:3000/callback --scope 'openid email'
                        docs/relying-parties: what to type in common apps and libraries
  Register a service    gatehouse client create --name 'My service' --grant-type client_credentials --scope reports.read
  Register an API       gatehouse resource create http://127.0.0.1:4000 --name 'My API' --scope my.read
                        docs/apis.md: how it verifies tokens in Spring Boot, Node.js, Go and Python
  Administer            gatehouse client list, gatehouse user list, gatehouse audit list, gatehouse --help
  Go to production      docs/operate.md; start with a separate empty database, ` +
		"`gatehouse serve`" + ` and ` + "`gatehouse user create`" + `

`)
}
