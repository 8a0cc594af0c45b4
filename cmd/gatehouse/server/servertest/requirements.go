package servertest

import (
	"fmt"
	"strings"
	"testing"

	"gatehouse/storage/storagetest"
)

// Requirement is a requirement of a specification or a published vulnerability, as a black-box test.
type Requirement struct {
	ID   string // such as "P31"; the letter is explained in docs/conformance.md
	Spec string // RFC and section
	Text string
	Env  map[string]string // settings besides the defaults
	Test func(t *testing.T, s *Server)
}

// Req returns a Requirement.
func Req(id, spec, text string, test func(t *testing.T, s *Server)) Requirement {
	return Requirement{ID: id, Spec: spec, Text: text, Test: test}
}

// WithSettings returns the requirement on a server with these settings, each "NAME=value".
func (r Requirement) WithSettings(settings ...string) Requirement {
	r.Env = map[string]string{}
	for _, s := range settings {
		name, value, _ := strings.Cut(s, "=")
		r.Env[name] = value
	}
	return r
}

// Run tests every requirement on both engines, each on a separate server.
func Run(t *testing.T, table []Requirement) {
	t.Helper()
	t.Parallel()
	for _, r := range table {
		t.Run(testName(r), func(t *testing.T) {
			t.Parallel()
			storagetest.Each(t, func(t *testing.T, db string) { r.Test(t, Start(t, db, Options{Env: r.Env})) })
		})
	}
}

// testName returns the name of the subtest of a requirement.
func testName(r Requirement) string {
	return strings.NewReplacer(" ", "_", "/", "_").Replace(r.ID + " " + r.Text)
}

// Markdown returns a section of docs/conformance.md with the requirements that a test runs.
func Markdown(title, test string, table []Requirement) string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n## %s\n\n`go test ./oauth -run '%s/^%s_'`\n\n", title, test, table[0].ID)
	fmt.Fprint(&b, "| No. | Source | Requirement |\n|---|---|---|\n")
	for _, r := range table {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.ID, r.Spec, strings.ReplaceAll(r.Text, "|", "\\|"))
	}
	return b.String()
}

// Want fails the test unless the response is the protocol error with the status.
func (r Response) Want(t testing.TB, status int, code string) {
	t.Helper()
	if r.Status != status || r.Text("error") != code {
		t.Errorf("got %d %q (%s), want %d %q", r.Status, r.Text("error"), clip(r.Body), status, code)
	}
	r.checkErrorResponse(t)
}

// OK fails the test unless the response is a success.
func (r Response) OK(t testing.TB) Response {
	t.Helper()
	if r.Status != 200 {
		t.Fatalf("got %d %s, want 200", r.Status, clip(r.Body))
	}
	return r
}

// checkErrorResponse checks the requirements on every protocol error (RFC 6749 §5.2).
func (r Response) checkErrorResponse(t testing.TB) {
	t.Helper()
	if got := r.Header.Get("Cache-Control"); got != "no-store" {
		t.Errorf("Cache-Control is %q, want no-store", got)
	}
	for _, c := range r.Text("error_description") {
		if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			t.Errorf("error_description %q contains %q, which RFC 6749 does not allow", r.Text("error_description"), c)
		}
	}
	if r.Text("error_description") == "" {
		t.Errorf("the response has no error_description: %s", r.Body)
	}
	for _, leak := range []string{"sql", "SQL", "gorm", "fosite", "storage", "pgx", "goroutine", ".go:"} {
		if strings.Contains(r.Body, leak) {
			t.Errorf("the response discloses internals (%q): %s", leak, r.Body)
		}
	}
}

// WantRedirectError fails the test unless the page redirects to the callback with the error, the state and iss.
func (p Page) WantRedirectError(t testing.TB, s *Server, code string) {
	t.Helper()
	to := p.Location()
	q := to.Query()
	redirects := p.Status == 303 && to.Host == "app.example"
	valid := q.Get("error") == code && q.Get("iss") == s.Issuer && q.Get("state") == "the state" && q.Get("code") == ""
	if !redirects || !valid {
		t.Errorf("got %d %q, want a redirect with %s, state and iss (%s)",
			p.Status, p.Header.Get("Location"), code, clip(p.Text()))
	}
}

// WantErrorPage fails the test unless the page is an error for the user, and no redirect.
func (p Page) WantErrorPage(t testing.TB, status int) {
	t.Helper()
	location, contentType := p.Header.Get("Location"), p.Header.Get("Content-Type")
	if p.Status != status || location != "" || !strings.Contains(contentType, "text/html") {
		t.Errorf("got %d, Location %q, want an error page with %d: %s", p.Status, location, status, clip(p.Text()))
	}
}

// clip returns the beginning of a text for a failure message.
func clip(s string) string {
	if len(s) > 300 {
		return s[:300] + "…"
	}
	return s
}
