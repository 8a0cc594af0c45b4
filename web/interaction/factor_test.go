package interaction_test

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// TestPendingSignInReachesNothing signs in with a password and tries to continue without the second factor (PE14,
// A45): no consent page, no code and no account page, in this tab, in another one and in another browser. Then it
// finishes the sign-in.
func TestPendingSignInReachesNothing(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		user, c, b := s.User("alice"), s.App(), s.Browser()
		authenticator := s.TOTP(user)
		login := b.Authorize(c)
		request := login.Fields().Get("request")
		factor := b.BeginSignIn(login, "alice")
		if factor.Status != http.StatusOK || !strings.Contains(factor.Text(), "Signing in as alice") ||
			!strings.Contains(factor.Text(), "Enter the code that your authenticator app shows") {
			t.Fatalf("after the password: %d %s, want the page of the second factor", factor.Status, factor.Text())
		}
		for _, path := range []string{
			"/account", "/account/profile", "/consent?request=" + request, "/oauth2/authorize/" + request, "/select",
			"/login?request=" + request, "/enrol?request=" + request, "/account/security", "/account/sessions",
		} {
			p := b.Follow(b.Open(path))
			if p.Status == http.StatusOK && !strings.Contains(p.URL, "/login") ||
				strings.Contains(p.Header.Get("Location"), "code=") {
				t.Errorf("%s with a pending sign-in: %d %s %s, want the sign-in page", path, p.Status, p.URL, p.Text())
			}
		}
		if p := b.Authorize(c, "prompt", "none"); !strings.Contains(p.Header.Get("Location"), "error=login_required") {
			t.Errorf("prompt=none with a pending sign-in: %s, want login_required", p.Header.Get("Location"))
		}
		if p := s.Browser().SubmitFactor(factor, authenticator.Code()); p.Status != http.StatusForbidden {
			t.Errorf("the second factor in another browser: %d, want 403", p.Status)
		}
		if p := b.SubmitFactor(factor, authenticator.Code(), "form_token", "x"); p.Status != http.StatusForbidden {
			t.Errorf("the second factor without a form token: %d, want 403", p.Status)
		}
		if p := b.SubmitFactor(factor, "000000x"); p.Status != http.StatusUnauthorized ||
			!strings.Contains(p.Text(), "This code is incorrect") {
			t.Errorf("an incorrect code: %d %s, want 401", p.Status, p.Text())
		}
		consent := b.Follow(b.SubmitFactor(factor, authenticator.Code(), "trusted", "1"))
		if !strings.Contains(consent.Text(), "wants access to your account") {
			t.Errorf("after the second factor: %s, want the consent page", consent.Text())
		}
		if p := b.SubmitFactor(factor, authenticator.Code()); p.Status != http.StatusForbidden ||
			!strings.Contains(p.Text(), "took too long") {
			t.Errorf("a finished sign-in again: %d %s, want 403", p.Status, p.Text())
		}
		storagetest.Eventually(t, "both refused sign-ins are in the audit log", func() bool {
			rows, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: audit.UserSignInFailed})
			return err == nil && 2 == len(slices.DeleteFunc(rows, func(row audit.Row) bool {
				return !strings.Contains(row.Detail, "the sign-in has expired, was finished, or began in another browser")
			}))
		})
		location, err := url.Parse(b.Decide(consent, "approve").Header.Get("Location"))
		storagetest.Must(t, err)
		info := s.Introspect(c, s.Redeem(c, location).OK(t).Text("access_token"))
		if info.Text("acr") != "2" {
			t.Errorf("the acr of the token is %q, want 2: %s", info.Text("acr"), info.Body)
		}
		// The browser is remembered: the next sign-in needs no code.
		b.SignIn(b.Open("/login?another=1"), "alice")
	})
}

// TestIncorrectCodesShowWait enters codes until the page shows a wait, on two processes, and then one code on both at
// the same time, of which one is accepted (PE12).
func TestIncorrectCodesShowWait(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		authenticator := s.TOTP(s.User("alice"))
		another := s.StartAnother()
		var statuses []int
		for i := range 6 {
			b := []*servertest.Server{s, another}[i%2].Browser()
			p := b.SubmitFactor(b.BeginSignIn(b.Open("/login"), "alice"), "000000x")
			statuses = append(statuses, p.Status)
		}
		if want := []int{401, 401, 401, 401, 401, 429}; !slices.Equal(statuses, want) {
			t.Errorf("the statuses of incorrect codes are %v, want %v", statuses, want)
		}
		b := s.Browser()
		factor := b.BeginSignIn(b.Open("/login"), "alice")
		p := b.SubmitFactor(factor, authenticator.Code())
		if p.Status != http.StatusTooManyRequests || p.Header.Get("Retry-After") != "1" ||
			!strings.Contains(p.Text(), "Wait 1 second") {
			t.Errorf("a correct code after 5 incorrect ones: %d %s, want a wait", p.Status, p.Text())
		}
		s.Clock.Advance(time.Minute)
		if p := b.SubmitFactor(factor, authenticator.Code()); p.Status != http.StatusSeeOther {
			t.Errorf("a correct code after the wait: %d %s, want 303", p.Status, p.Text())
		}
		s.Clock.Advance(time.Minute)
		processes, pages := []*servertest.Browser{s.Browser(), another.Browser()}, make([]servertest.Page, 2)
		for i, b := range processes {
			pages[i] = b.BeginSignIn(b.Open("/login"), "alice")
		}
		code := authenticator.Code()
		statuses = make([]int, 2)
		storagetest.Concurrently(2, func(i int) { statuses[i] = processes[i].SubmitFactor(pages[i], code).Status })
		slices.Sort(statuses)
		if want := []int{303, 401}; !slices.Equal(statuses, want) {
			t.Errorf("one code on two processes: %v, want %v", statuses, want)
		}
	})
}
