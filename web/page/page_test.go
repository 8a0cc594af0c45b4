package page_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gatehouse/storage/reqevent"
	"gatehouse/storage/storagetest"
	"gatehouse/web/page"
)

func newRenderer(t *testing.T) *page.Renderer {
	t.Helper()
	p, err := page.New(page.Options{
		Issuer: &url.URL{Scheme: "https", Host: "id.example", Path: "/auth"}, FormKey: []byte("key"),
	})
	storagetest.Must(t, err)
	return p
}

// TestFormTokenBindsEveryPart checks that a token is valid for exactly the parts that it was issued for.
func TestFormTokenBindsEveryPart(t *testing.T) {
	t.Parallel()
	p := newRenderer(t)
	form := url.Values{"form_token": {p.FormToken("login", "browser", "request")}}
	for _, c := range []struct {
		parts []string
		want  bool
	}{
		{[]string{"login", "browser", "request"}, true},
		{[]string{"login", "browser", ""}, false},
		{[]string{"login", "browser"}, false},
		{[]string{"loginbrowser", "request"}, false},
		{[]string{"select", "browser", "request"}, false},
	} {
		if got := p.HasFormToken(form, c.parts...); got != c.want {
			t.Errorf("HasFormToken(token of login, browser, request; %q) = %v, want %v", c.parts, got, c.want)
		}
	}
	if p.HasFormToken(url.Values{}, "login", "browser", "request") {
		t.Error("HasFormToken of a form without a token = true, want false")
	}
}

func TestRedirectStaysBelowIssuerPath(t *testing.T) {
	t.Parallel()
	var redirect *page.Redirect
	if err := page.RedirectTo("/account?saved"); !errors.As(err, &redirect) {
		t.Fatalf("RedirectTo returns %T, want *page.Redirect", err)
	}
	w := httptest.NewRecorder()
	newRenderer(t).WriteRedirect(w, redirect)
	if got := w.Header().Get("Location"); w.Code != http.StatusSeeOther || got != "/auth/account?saved" {
		t.Errorf("status %d, Location %q, want 303 and /auth/account?saved", w.Code, got)
	}
}

// TestRenderFailureWritesNothing checks that a page that cannot be rendered leaves the response to the error page.
func TestRenderFailureWritesNothing(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	if err := newRenderer(t).Render(w, http.StatusOK, "login", struct{}{}); err == nil {
		t.Error("rendering a page without its data succeeded")
	}
	if w.Body.Len() > 0 || len(w.Header()) > 0 {
		t.Errorf("a page that cannot be rendered wrote the headers %v and the body %q, want none", w.Header(), w.Body)
	}
}

func TestErrorPageEscapesDetail(t *testing.T) {
	t.Parallel()
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	e := &page.Error{Status: http.StatusBadRequest, Key: "error.request", Detail: "<script>alert(1)</script>"}
	newRenderer(t).WriteError(w, r, e)
	body := w.Body.String()
	if w.Code != http.StatusBadRequest || strings.Contains(body, "<script>alert") || !strings.Contains(body, "alert(1)") {
		t.Errorf("status %d, want 400 and the escaped detail: %s", w.Code, body)
	}
	if policy := w.Header().Get("Content-Security-Policy"); !strings.Contains(policy, "form-action 'self'") {
		t.Errorf("Content-Security-Policy %q, want form-action 'self'", policy)
	}
}

func TestLanguageFormLeadsOnlyToOwnPages(t *testing.T) {
	t.Parallel()
	p := newRenderer(t)
	for to, want := range map[string]string{
		"/account/profile?x=1":      "/account/profile?x=1",
		"/":                         "/",
		"":                          "/",
		"account":                   "/",
		"//evil.example/":           "/",
		"/\\evil.example":           "/",
		"\\\\evil.example":          "/",
		"https://evil.example/":     "/",
		"https:evil.example":        "/",
		"/%2f/evil.example":         "/",
		"/a\r\nSet-Cookie: x=y":     "/",
		"/\tevil":                   "/",
		"javascript:alert(1)":       "/",
		"/account#https://evil.exa": "/account",
		"///evil.example":           "/",
	} {
		w := httptest.NewRecorder()
		var redirect *page.Redirect
		if err := p.SetLanguage(w, "de", to); !errors.As(err, &redirect) || redirect.Path != want {
			t.Errorf("SetLanguage to %q: %v, want a redirect to %s", to, err, want)
		}
		const cookie = "__Host-gatehouse_language=de; Path=/; Max-Age=31536000"
		if got := w.Header().Get("Set-Cookie"); !strings.HasPrefix(got, cookie) {
			t.Errorf("Set-Cookie = %q, want %s", got, cookie)
		}
	}
	w := httptest.NewRecorder()
	var failed *page.Error
	if err := p.SetLanguage(w, "xx", "/"); !errors.As(err, &failed) || w.Header().Get("Set-Cookie") != "" {
		t.Errorf("SetLanguage of an unknown language: %v with %v, want an error without a cookie", err, w.Header())
	}
}

// TestUserChoosesLanguage checks which preference decides.
func TestUserChoosesLanguage(t *testing.T) {
	t.Parallel()
	p := newRenderer(t)
	for _, test := range []struct{ cookie, user, client, browser, want string }{
		{"", "", "", "", "en"},
		{"", "", "", "de", "de"},
		{"", "", "en", "de", "en"},
		{"", "de", "en", "en", "de"},
		{"en", "de", "de", "de", "en"},
		{"xx", "", "", "de", "de"},
		{"", "fr", "", "de", "de"},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		event := &reqevent.Event{UserLocale: test.user}
		r = r.WithContext(reqevent.NewContext(r.Context(), event))
		r.Header.Set("Accept-Language", test.browser)
		if test.cookie != "" {
			r.AddCookie(&http.Cookie{Name: "__Host-gatehouse_language", Value: test.cookie})
		}
		p.Language(r) // before the request of the client is read
		page.SetUILocales(r, test.client)
		if got := p.Language(r).Tag; got != test.want {
			t.Errorf("the language with %+v is %s", test, got)
		}
		want := test.cookie
		if want != "en" {
			want = test.browser // neither the user's profile, which may be another user's, nor the client decides
		}
		if got := p.BrowserLanguage(r); got != want {
			t.Errorf("the language of the browser with %+v is %q, want %q", test, got, want)
		}
	}
}

// TestAccentIsReadable checks the contrast of a brand color with what it is on, in light and dark.
func TestAccentIsReadable(t *testing.T) {
	t.Parallel()
	for _, accent := range []string{
		"#ffff00", "#000000", "#ffffff", "#ff0000", "#0000ff", "#808080", "#14634a", "#00ff7f",
	} {
		if low := page.LowestContrast(t, accent); low < 4.5 {
			t.Errorf("the lowest contrast of text with the accent color %s is %.2f, want 4.5", accent, low)
		}
	}
}
