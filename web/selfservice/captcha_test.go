package selfservice_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

// captchaService is a service that verifies captchas. It stores what it got.
type captchaService struct {
	*httptest.Server

	status int
	body   string
	got    []string
}

func startCaptchaService(t *testing.T) *captchaService {
	t.Helper()
	c := &captchaService{status: http.StatusOK}
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_ = r.ParseForm()
		c.got = append(c.got, r.PostForm.Encode())
		w.Header().Set("Location", "/")
		w.WriteHeader(c.status)
		_, _ = fmt.Fprint(w, c.body)
	}))
	t.Cleanup(c.Close)
	return c
}

// TestCaptchaIsOffByDefaultAndFailsClosed covers PE29: without settings the sign-up page loads nothing from another
// server. With them a response that the service accepts sends the link, and one that it does not accept or cannot
// verify sends nothing.
func TestCaptchaIsOffByDefaultAndFailsClosed(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		if p := f.Browser().Open("/login"); !strings.Contains(p.Body, "/sign-up") {
			t.Errorf("the sign-in page does not link to the sign-up: %s", p.Body)
		}
		off := f.Browser().Open("/sign-up")
		if strings.Contains(off.Body, "captcha") || strings.Contains(off.Header.Get("Content-Security-Policy"), "https:") {
			t.Errorf("the sign-up page without a captcha: %s\n%s", off.Header.Get("Content-Security-Policy"), off.Body)
		}
		service := startCaptchaService(t)
		s := f.StartAnotherWith("GATEHOUSE_CAPTCHA_URL="+service.URL+"/siteverify", "GATEHOUSE_CAPTCHA_SECRET=hidden",
			"GATEHOUSE_CAPTCHA_SITE_KEY=site", "GATEHOUSE_CAPTCHA_SCRIPT_URL=https://captcha.example/api.js",
			"GATEHOUSE_RATE_LIMITS=sign_up_unproven=60/1m")
		b := s.Browser()
		page := b.Open("/sign-up")
		wantWidget(t, b, page)
		try := func(token string, status int, text string, mails int) {
			t.Helper()
			p := submit(b, page, "/sign-up", "email", "new@example.com", "cf-turnstile-response", token)
			f.want("the response "+token+" with "+service.body, p, status, text)
			if n := len(f.QueuedMails()); n != mails {
				t.Errorf("%d emails after the response %s with %s, want %d", n, token, service.body, mails)
			}
		}
		const unavailable = "is not available right now"
		try("", http.StatusBadRequest, "Complete the check", 0)
		service.body = `{"success":false,"error-codes":["invalid-input-response"]}`
		try("x", http.StatusBadRequest, "Complete the check", 0)
		large := strings.Repeat(" ", 20<<10) + `{"success":true}`
		for _, service.body = range []string{"", "<html>", `{}`, `{"success":"yes"}`, large} {
			try("x", http.StatusServiceUnavailable, unavailable, 0)
		}
		service.body = `{"success":true}`
		for _, service.status = range []int{http.StatusInternalServerError, http.StatusTemporaryRedirect} {
			try("x", http.StatusServiceUnavailable, unavailable, 0)
		}
		service.status = http.StatusOK
		try("the token", http.StatusOK, "A message is on its way", 1)
		if last := service.got[len(service.got)-1]; last != "response=the+token&secret=hidden&sitekey=site" {
			t.Errorf("the service got %s", last)
		}
		service.Close()
		try("x", http.StatusServiceUnavailable, unavailable, 0)
		if strings.Contains(s.Log.String(), "hidden") {
			t.Error("the log has the secret")
		}
	})
}

// wantWidget fails the test unless the sign-up page has the widget, and only its policy allows what that loads.
func wantWidget(t *testing.T, b *servertest.Browser, page servertest.Page) {
	t.Helper()
	policy := page.Header.Get("Content-Security-Policy")
	for _, want := range []string{
		"script-src 'self' https://captcha.example;", "frame-src https://captcha.example;", "form-action 'self'",
		"frame-ancestors 'none'", "default-src 'none'", "sandbox allow-scripts allow-forms allow-same-origin",
	} {
		if !strings.Contains(policy, want) {
			t.Errorf("the policy of the sign-up page is %s, want %s", policy, want)
		}
	}
	if p := page.Header.Get("Permissions-Policy"); !strings.Contains(p, "publickey-credentials-get=()") {
		t.Errorf("the permissions policy of the sign-up page is %q, want no passkeys", p)
	}
	if !strings.Contains(page.Body, `<div class="captcha cf-turnstile" data-sitekey="site"></div>`) ||
		!strings.Contains(page.Body, `<script src="https://captcha.example/api.js" async defer>`) {
		t.Errorf("the sign-up page has no widget: %s", page.Body)
	}
	if !strings.Contains(page.Text(), "reload the page, or allow scripts of captcha.example in this browser") {
		t.Errorf("the sign-up page: %s, want what to do when the widget is missing", page.Text())
	}
	for _, path := range []string{"/login", "/forgot"} {
		if policy := b.Open(path).Header.Get("Content-Security-Policy"); strings.Contains(policy, "captcha.example") {
			t.Errorf("the policy of %s is %s", path, policy)
		}
	}
}
