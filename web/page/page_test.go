package page_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gatehouse/storage/storagetest"
	"gatehouse/web/page"
)

func newRenderer(t *testing.T) *page.Renderer {
	t.Helper()
	p, err := page.New(&url.URL{Scheme: "https", Host: "id.example", Path: "/auth"}, []byte("key"))
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
