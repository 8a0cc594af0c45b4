package web_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// wantParts checks that a page has parts of HTML in this order, and does not have others.
func wantParts(t *testing.T, p servertest.Page, parts, others []string) {
	t.Helper()
	rest := p.Body
	for _, part := range parts {
		_, after, found := strings.Cut(rest, part)
		if !found {
			t.Errorf("%s has no %s after the parts before it:\n%s", p.URL, part, p.Body)
			return
		}
		rest = after
	}
	for _, other := range others {
		if strings.Contains(p.Body, other) {
			t.Errorf("%s has %s:\n%s", p.URL, other, p.Body)
		}
	}
}

// TestPagesHaveBrandTilesAndTimesOfUser checks what pages have in common: the brand with its links, tiles, scopes that
// are folded, the time of the last activity in the zone of the user, and the request ID, which only error pages show.
func TestPagesHaveBrandTilesAndTimesOfUser(t *testing.T) {
	t.Parallel()
	logo := filepath.Join(t.TempDir(), "logo.svg")
	storagetest.Must(t, os.WriteFile(logo, []byte(`<svg xmlns="http://www.w3.org/2000/svg"></svg>`), 0o600))
	s := servertest.Start(t, storagetest.URL(t, storage.SQLite), servertest.Options{Env: map[string]string{
		"GATEHOUSE_BRAND_NAME": "Example Library", "GATEHOUSE_BRAND_LOGO_FILE": logo,
		"GATEHOUSE_BRAND_SUPPORT_URL": "https://example.com/help",
		"GATEHOUSE_BRAND_IMPRINT_URL": "https://example.com/imprint",
		"GATEHOUSE_BRAND_PRIVACY_URL": "https://example.com/privacy",
	}})
	_, err := s.Users.Create(t.Context(), identity.NewUser{
		Username: "lena", Email: "lena@example.com", Name: "Lena Fischer", Password: servertest.Password,
		Profile: storage.Profile{Zoneinfo: "Asia/Tokyo"},
	})
	storagetest.Must(t, err)
	tokyo, err := time.LoadLocation("Asia/Tokyo")
	storagetest.Must(t, err)
	now := s.Clock.Now().In(tokyo)
	s.Clock.Advance(time.Date(now.Year(), now.Month(), now.Day()+1, 23, 30, 0, 0, tokyo).Sub(now))
	b := s.Browser()
	b.Decide(b.SignIn(b.Authorize(s.App(), "scope", "read"), "lena"), "approve")
	s.Clock.Advance(time.Hour) // it is tomorrow, but only in Tokyo
	b.Open("/account")

	brand := []string{
		`<link rel="icon" href="/static/logo.`, `src="/static/logo.`, `<span class="brand-name">Example Library</span>`,
	}
	links := []string{
		`href="https://example.com/help"`, `href="https://example.com/imprint"`, `href="https://example.com/privacy"`,
	}
	login := s.Browser().Open("/login")
	id := func(p servertest.Page) string { return p.Header.Get("X-Request-Id") }
	wantParts(t, login, slices.Concat(brand, []string{
		`id="password"`, `<button class="reveal" type="button" hidden data-reveal="password" ` +
			`data-hide="Hide password" aria-controls="password">Show password</button>`,
	}, links), []string{id(login)})
	account := b.Open("/account")
	wantParts(t, account, slices.Concat(brand, []string{
		`aria-hidden="true">LF</span>`, `aria-hidden="true">A</span>`,
		`<details class="fold"><summary>What it can do now</summary><ul class="mini"><li>`, `</details>`,
		`<a class="quiet-link" href="/account/apps/`, `Remove access</a>`,
	}, links), []string{id(account)})
	b.SignIn(b.Open("/login?another=1"), s.User("kim").Username)
	tile := []string{`name="session"`, `<span class="tile tile-`}
	wantParts(t, b.Open("/select"), slices.Concat(tile, tile), nil)
	failed := b.Open("/nothing")
	wantParts(t, failed, slices.Concat(brand, []string{`<code>` + id(failed) + `</code>`}, links), nil)
	if id(failed) == "" || id(login) == "" {
		t.Error("a response has no X-Request-Id")
	}

	wantParts(t, account, []string{"last active ", ">today, 00:30</time>", "signed in ", ">yesterday, 23:30</time>"},
		[]string{"data-local"})
}
