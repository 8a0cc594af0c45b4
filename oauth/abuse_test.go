package oauth_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

func TestAbuseProtection(t *testing.T) { servertest.Run(t, abuseProtection) }

const behindProxy = "GATEHOUSE_TRUSTED_PROXIES=127.0.0.1"

// wantLimited fails the test unless the response is 429 of that limit with Retry-After.
func wantLimited(t *testing.T, r servertest.Response, limit string) {
	t.Helper()
	retryAfter, rate, policy := r.Header.Get("Retry-After"), r.Header.Get("RateLimit"), r.Header.Get("RateLimit-Policy")
	limited := r.Status == http.StatusTooManyRequests && retryAfter != ""
	if !limited || !strings.HasPrefix(rate, `"`+limit+`";r=0;t=`) || !strings.HasPrefix(policy, `"`+limit+`";q=`) {
		t.Errorf("got %d, Retry-After %q, RateLimit %q, RateLimit-Policy %q, want 429 of %s: %.200s",
			r.Status, retryAfter, rate, policy, limit, r.Body)
	}
}

// sendFrom sends a request through the trusted proxy, which reports the address as that of the caller.
func sendFrom(s *servertest.Server, address string, req *http.Request) servertest.Response {
	req.Header.Set("X-Forwarded-For", address)
	return s.Do(req)
}

// waitForRows waits until the audit log has n rows of an event or more, and returns them.
func waitForRows(t *testing.T, s *servertest.Server, event string, n int) (events []audit.Row) {
	t.Helper()
	storagetest.Eventually(t, fmt.Sprintf("there are %d rows of %s", n, event), func() bool {
		var err error
		events, err = s.Store.Audit.Rows(t.Context(), audit.Filter{Event: event, Limit: 1000})
		storagetest.Must(t, err)
		return len(events) >= n
	})
	return events
}

var abuseProtection = slices.Concat(rateLimits, failureRecords, loadLimits)

var loadLimits = []servertest.Requirement{
	servertest.Req("D12", "RFC 9110 §15.6.4",
		"beyond its capacity the server refuses immediately, and slow senders occupy no slot",
		func(t *testing.T, s *servertest.Server) {
			entered, release := make(chan struct{}), make(chan struct{})
			slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				entered <- struct{}{}
				<-release
				_, _ = w.Write([]byte(`["https://app.example/callback"]`))
			}))
			defer slow.Close()
			c := s.Service("jobs")
			slowStatus, sendRest := slowBody(t, s) // it has begun to send, and occupies no slot
			done := make(chan servertest.Response)
			go func() {
				done <- s.Do(jsonRequest(s, "/oauth2/register",
					`{"redirect_uris":["https://app.example/callback"],"sector_identifier_uri":"`+slow.URL+`"}`))
			}()
			<-entered
			r := s.Token(c, clientCredentialsForm) // while the first request still has the only slot
			r.Want(t, 503, "temporarily_unavailable")
			if r.Header.Get("Retry-After") == "" {
				t.Errorf("headers of the refused token request = %v, want Retry-After", r.Header)
			}
			p := s.Browser().Open("/login")
			if retryAfter := p.Header.Get("Retry-After"); p.Status != http.StatusServiceUnavailable || retryAfter == "" {
				t.Errorf("/login: got %d, Retry-After %q, want 503 with Retry-After", p.Status, retryAfter)
			}
			if r := s.Get("/healthz"); r.Status != 200 {
				t.Errorf("/healthz: got %d, want 200", r.Status)
			}
			close(release)
			<-done
			s.Token(c, clientCredentialsForm).OK(t)
			sendRest()
			if got := <-slowStatus; got != http.StatusBadRequest {
				t.Errorf("the slow request: got %d, want 400", got)
			}
		}).WithSettings("GATEHOUSE_MAX_REQUESTS=1", "GATEHOUSE_REGISTRATION=open", "GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1"),
	servertest.Req("D13", "RFC 9110 §15.6.4",
		"a slow database is 503, and no request waits for it longer than its timeout",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			refresh := s.Tokens(c, "alice").Text("refresh_token")
			other := s.StartAnotherWith("GATEHOUSE_REQUEST_TIMEOUT=1s")
			storagetest.Eventually(t, "the process with the short timeout has read the client", func() bool {
				return other.Refresh(c, "unknown").Status == http.StatusBadRequest
			})
			release := storagetest.Lock(t, s.Store, s.DB, "grants")
			other.Refresh(c, refresh).Want(t, 503, "temporarily_unavailable") // while the table is still locked
			release()
			s.Refresh(c, refresh).OK(t)
		}),
	servertest.Req("D14", "RFC 6749 §10.10, [design](design.md)",
		"what third parties make this server store is bounded in total",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			authorize := func(address, state string) servertest.Response {
				path := "/oauth2/authorize?" + servertest.AuthorizeForm(c, "state", state).Encode()
				return sendFrom(s, address, s.Request(http.MethodGet, path, nil))
			}
			if r := authorize("192.0.2.1", "x"); r.Status != http.StatusSeeOther {
				t.Fatalf("the first request: got %d, want 303", r.Status)
			}
			// A request of this size counts as four.
			if r := authorize("192.0.2.2", strings.Repeat("x", 7000)); r.Status != http.StatusTooManyRequests {
				t.Errorf("a large request: got %d, want 429", r.Status)
			}
			const message = "Too many people are signing in"
			r := authorize("192.0.2.3", "x")
			if r.Status != http.StatusTooManyRequests || !strings.Contains(r.Body, message) {
				t.Errorf("a request after the limit: got %d %s, want 429 with %q", r.Status, r.Body, message)
			}
			b := s.Browser()
			page := b.Open("/login")
			for i := range 4 {
				form := url.Values{"username": {fmt.Sprint("unregistered", i)}, "password": {"x"}}
				for name, values := range page.Fields() {
					if form.Get(name) == "" {
						form[name] = values
					}
				}
				req := s.Request(http.MethodPost, "/login", form)
				for _, cookie := range b.Cookies() {
					req.AddCookie(cookie)
				}
				req.Header.Set("Sec-Fetch-Site", "same-origin")
				r := sendFrom(s, fmt.Sprintf("198.51.100.%d", i), req)
				if r.Status == http.StatusTooManyRequests || !strings.Contains(r.Body, "password") {
					t.Fatalf("a wrong password: got %d %.300s, want the sign-in page, not 429", r.Status, r.Body)
				}
			}
			n, counted := len(waitForRows(t, s, audit.UserSignInFailed, 2)), s.Counted(audit.UserSignInFailed)
			if n != 2 || counted != 4 {
				t.Errorf("failed sign-ins: %d rows, %d counted, want 2 rows, 4 counted", n, counted)
			}
		}).WithSettings(behindProxy, "GATEHOUSE_RATE_LIMITS=stored_requests=4/1h,recorded_failures=2/1h"),
	servertest.Req("D15", "RFC 9700 §4.14.2",
		"an attacker who refreshes as fast as the client is still detected",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			first := s.Token(c, servertest.CodeForm(s.Browser().Code(c, "alice"), c)).OK(t)
			clientToken := first.Text("refresh_token")
			attackerToken := clientToken
			for range 2 {
				attackerToken = s.Refresh(c, attackerToken).OK(t).Text("refresh_token")
			}
			wantLimited(t, s.Refresh(c, attackerToken), "token_person")
			s.Refresh(c, clientToken).Want(t, http.StatusBadRequest, "invalid_grant")
			if s.Active(c, first.Text("access_token")) {
				t.Error("the stolen grant is active")
			}
			if n := s.Counted("refresh_token.reused"); n != 1 {
				t.Errorf("refresh_token.reused was counted %d times, want once", n)
			}
		}).WithSettings("GATEHOUSE_RATE_LIMITS=token_person=2/1m"),
}

// jsonRequest returns a POST of JSON.
func jsonRequest(s *servertest.Server, path, body string) *http.Request {
	req, err := http.NewRequest(http.MethodPost, s.URL+path, strings.NewReader(body))
	storagetest.Must(s.T, err)
	req.Header.Set("Content-Type", "application/json")
	return req
}

// slowBody sends the headers of a token request and one byte of its body. sendRest ends the body; the channel then
// receives the status, or 0 without a response.
func slowBody(t *testing.T, s *servertest.Server) (status <-chan int, sendRest func()) {
	t.Helper()
	reader, writer := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, s.URL+"/oauth2/token", reader)
	storagetest.Must(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	out := make(chan int, 1)
	go func() {
		res, err := s.HTTP.Do(req)
		if err != nil {
			out <- 0
			return
		}
		_ = res.Body.Close()
		out <- res.StatusCode
	}()
	_, err = writer.Write([]byte("x"))
	storagetest.Must(t, err)
	return out, func() { storagetest.Must(t, writer.Close()) }
}
