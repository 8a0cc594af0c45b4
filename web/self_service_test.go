package web_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
	"gatehouse/web"
)

// TestSelfServiceCountsLimitsFirst tests PE24: each form of a page with an email, and each link, counts against a limit
// of its network before anything else, so that even a request without session and form token is refused, with a page
// that states how long to wait. Opening an empty form costs nothing and is not counted.
func TestSelfServiceCountsLimitsFirst(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{
			"GATEHOUSE_RATE_LIMITS": "account_request=1/1h,account_link=1/1h,sign_up=1/1h", "GATEHOUSE_SIGN_UP": "open",
		}})
		b, german := s.Browser(), s.Browser()
		german.SetCookie("language", "de")
		for _, path := range []string{"/forgot", "/verify", "/sign-up"} { // one of each limit
			if p := b.Submit(path, url.Values{}); p.Status != http.StatusForbidden {
				t.Errorf("the first POST %s: %d, want 403 for its form token", path, p.Status)
			}
		}
		links := map[string]bool{"GET /reset": true, "GET /verify": true, "GET /invite": true}
		for _, pattern := range web.SelfServicePatterns() {
			method, path, _ := strings.Cut(pattern, " ")
			if method == http.MethodGet && !links[pattern] {
				if p := b.Open(path); p.Status >= http.StatusBadRequest {
					t.Errorf("%s: %d %s, want a form or the sign-in page", pattern, p.Status, p.Text())
				}
				continue
			}
			p := german.Submit(path, url.Values{})
			if links[pattern] {
				p = german.Open(path)
			}
			if p.Status != http.StatusTooManyRequests || p.Header.Get("Retry-After") == "" ||
				!strings.Contains(p.Text(), "Zu viele Anfragen aus Ihrem Netz") || !strings.Contains(p.Text(), "60 Minuten") {
				t.Errorf("%s above its limit: %d %v %s, want 429 with the wait", pattern, p.Status, p.Header, p.Text())
			}
		}
	})
}
