package account_test

import (
	"encoding/base32"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity/totp"
	"gatehouse/storage/storagetest"
)

const securityPath = "/account/security"

// submitSecurity submits a form of the security page.
func submitSecurity(b *servertest.Browser, p servertest.Page, action string, values ...string) servertest.Page {
	form := url.Values{"form_token": {p.Fields().Get("form_token")}}
	for i := 0; i+1 < len(values); i += 2 {
		form.Set(values[i], values[i+1])
	}
	return b.Submit(securityPath+"/"+action, form)
}

// wantNoneOf fails the test if pages show recovery codes that were shown before (PE13): Back loads the page again.
func wantNoneOf(t *testing.T, codes []string, pages ...servertest.Page) {
	t.Helper()
	for _, p := range pages {
		if strings.Contains(p.Body, codes[0]) {
			t.Errorf("%s shows the recovery codes again", p.URL)
		}
	}
}

// wantLinksToPassword fails the test unless the security page has the password with the date of its last change, and
// the pages with the advice to change it have a link.
func wantLinksToPassword(t *testing.T, b *servertest.Browser) {
	t.Helper()
	for path, want := range map[string]string{
		securityPath: "Last changed: today", "/account/sessions": "change your password",
		"/account/activity": "change your password", "/account/activity?reported": "Change your password now",
		"/account/activity?reported-no-mail": "change your password",
		securityPath + "?reported-factor":    "change your password",
	} {
		p := b.Open(path)
		if !strings.Contains(p.Text(), want) || !slices.Contains(p.Links(), "/account/password") {
			t.Errorf("%s: %s with the links %v, want %q and a link to change the password", path, p.Text(), p.Links(), want)
		}
	}
}

// TestSecurityPageSetsUpTOTPAndNeedsRecentSignIn sets up a TOTP authenticator on the account page (PE11), sees the
// recovery codes once (PE13), and must sign in again, with the code, after 10 minutes (PE17).
func TestSecurityPageSetsUpTOTPAndNeedsRecentSignIn(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		b := s.Browser()
		b.SignIn(b.Open("/login"), "alice")
		wantLinksToPassword(t, b)
		page := submitSecurity(b, b.Open(securityPath), "totp")
		k := totp.New()
		shown := regexp.MustCompile(`[A-Z2-7]{4}( [A-Z2-7]{4}){7}`).FindString(page.Text())
		var err error
		k.Secret, err = base32.StdEncoding.DecodeString(strings.ReplaceAll(shown, " ", ""))
		if err != nil || len(k.Secret) != 20 || !strings.Contains(page.Body, `<path class="qr-dark" d="M`) {
			t.Fatalf("the page to set up an app: %d %s, want a QR code and the secret", page.Status, page.Text())
		}
		if got, want := readQR(t, page), k.URI("Gatehouse", "alice"); got != want {
			t.Errorf("the QR code is %s, want %s", got, want)
		}
		setup := page.Fields().Get("setup")
		if p := submitSecurity(b, page, "totp-confirm", "setup", setup, "code", "12345"); p.Status !=
			http.StatusUnprocessableEntity || !strings.Contains(p.Text(), shown) {
			t.Errorf("an incorrect code: %d %s, want the form again", p.Status, p.Text())
		}
		code := k.Code(k.Step(s.Clock.Now()))
		codes := submitSecurity(b, page, "totp-confirm", "setup", setup, "code", code)
		recovery := regexp.MustCompile(`[0-9a-z]{4}(-[0-9a-z]{4}){3}`).FindAllString(codes.Text(), -1)
		if len(recovery) != 10 || codes.Header.Get("Cache-Control") != "no-store" {
			t.Fatalf("after the confirmation: %d %s, want 10 recovery codes", codes.Status, codes.Text())
		}
		if strings.Contains(codes.Text(), "earlier codes") {
			t.Errorf("the first recovery codes: %s, want nothing about earlier ones", codes.Text())
		}
		reload := submitSecurity(b, page, "totp-confirm", "setup", setup, "code", code)
		wantNoneOf(t, recovery, b.Open(securityPath), reload)
		// The session has both factors now: further changes, and apps that require them, need no sign-in.
		if p := submitSecurity(b, page, "recovery-codes"); p.Status != http.StatusOK ||
			!strings.Contains(p.Text(), "Save your recovery codes") || !strings.Contains(p.Text(), "earlier codes no longer") {
			t.Errorf("a change after the factor was added: %d %s, want new codes in place of others", p.Status, p.Text())
		}
		s.Clock.Advance(10*time.Minute + time.Second)
		if p := submitSecurity(b, page, "totp-remove"); !strings.Contains(p.Header.Get("Location"), "/login") {
			t.Error("the factor is removed 10 minutes after the sign-in")
		}
		for range 2 { // the browser is remembered then, but a sign-in to change factors needs the factor
			factor := b.BeginSignIn(b.Open("/login?again=1&then=security"), "alice")
			page = b.Follow(b.SubmitFactor(factor, k.Code(k.Step(s.Clock.Now())), "trusted", "1"))
			s.Clock.Advance(time.Minute)
		}
		page = b.Follow(submitSecurity(b, page, "totp-remove"))
		if !strings.Contains(page.Text(), "The app was removed") || strings.Contains(page.Text(), "recovery code") {
			t.Errorf("after the removal: %s, want no app and no recovery codes", page.Text())
		}
	})
}
