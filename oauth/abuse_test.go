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
	if r.Status != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" || !strings.HasPrefix(r.Header.Get("RateLimit"), `"`+limit+`";r=0;t=`) || !strings.HasPrefix(r.Header.Get("RateLimit-Policy"), `"`+limit+`";q=`) {
		t.Errorf("got %d, Retry-After %q, RateLimit %q, want 429 of %s: %.200s", r.Status, r.Header.Get("Retry-After"), r.Header.Get("RateLimit"), limit, r.Body)
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
			half, write := slowBody(t, s) // it has begun to send, and holds nothing
			done := make(chan servertest.Response)
			go func() {
				done <- s.Do(jsonRequest(s, "/oauth2/register", `{"redirect_uris":["https://app.example/callback"],"sector_identifier_uri":"`+slow.URL+`"}`))
			}()
			<-entered
			r := s.Token(c, clientCredentialsForm) // served while the first request still has the only slot
			r.Want(t, 503, "temporarily_unavailable")
			if r.Header.Get("Retry-After") == "" {
				t.Errorf("no Retry-After in %v", r.Header)
			}
			if p := s.Browser().Open("/login"); p.Status != http.StatusServiceUnavailable || p.Header.Get("Retry-After") == "" {
				t.Errorf("a page: %d", p.Status)
			}
			if r := s.Get("/healthz"); r.Status != 200 {
				t.Errorf("/healthz: %d", r.Status)
			}
			close(release)
			<-done
			s.Token(c, clientCredentialsForm).OK(t)
			write()
			if r := <-half; r != http.StatusBadRequest {
				t.Errorf("the slow request: %d", r)
			}
		}).WithSettings("GATEHOUSE_MAX_REQUESTS=1", "GATEHOUSE_REGISTRATION=open", "GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1"),
	servertest.Req("D13", "RFC 9110 §15.6.4",
		"a slow database is 503, and no request waits for it longer than its timeout",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			refresh := s.Tokens(c, "alice").Text("refresh_token")
			hurried := s.StartAnotherWith("GATEHOUSE_REQUEST_TIMEOUT=1s")
			storagetest.Eventually(t, "the process with the short limit has read the client", func() bool {
				return hurried.Refresh(c, "unknown").Status == http.StatusBadRequest
			})
			release := storagetest.Lock(t, s.Store, s.DB, "grants")
			hurried.Refresh(c, refresh).Want(t, 503, "temporarily_unavailable") // while the table is still locked
			release()
			s.Refresh(c, refresh).OK(t)
		}),
	servertest.Req("D14", "RFC 6749 §10.10, [design](design.md)",
		"what third parties make this server store is bounded in total",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			send := func(address, state string) servertest.Response {
				return sendFrom(s, address, s.Request(http.MethodGet, "/oauth2/authorize?"+servertest.AuthorizeForm(c, "state", state).Encode(), nil))
			}
			stored := func(address, state string) int { return send(address, state).Status }
			if got := stored("192.0.2.1", "x"); got != http.StatusSeeOther {
				t.Fatalf("the first request: %d", got)
			}
			if got := stored("192.0.2.2", strings.Repeat("x", 7000)); got != http.StatusTooManyRequests { // counts as four
				t.Errorf("a large one: %d", got)
			}
			if got := send("192.0.2.3", "x"); got.Status != http.StatusTooManyRequests || !strings.Contains(got.Body, "Too many people are signing in") {
				t.Errorf("another when all are used: %d %s", got.Status, got.Body)
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
				if r := sendFrom(s, fmt.Sprintf("198.51.100.%d", i), req); r.Status == http.StatusTooManyRequests || !strings.Contains(r.Body, "password") {
					t.Fatalf("a wrong password: %d %.300s", r.Status, r.Body)
				}
			}
			if n := len(waitForRows(t, s, audit.UserSignInFailed, 2)); n != 2 || s.Counted(audit.UserSignInFailed) != 4 {
				t.Errorf("%d rows, %d counted", n, s.Counted(audit.UserSignInFailed))
			}
		}).WithSettings(behindProxy, "GATEHOUSE_RATE_LIMITS=stored_requests=4/1h,recorded_failures=2/1h"),
	servertest.Req("D15", "RFC 9700 §4.14.2",
		"an attacker who refreshes as fast as the client is still detected",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			first := s.Token(c, servertest.CodeForm(s.Browser().Code(c, "alice"), c)).OK(t)
			owners := first.Text("refresh_token")
			thiefs := owners
			for range 2 {
				thiefs = s.Refresh(c, thiefs).OK(t).Text("refresh_token")
			}
			wantLimited(t, s.Refresh(c, thiefs), "token_person")
			s.Refresh(c, owners).Want(t, http.StatusBadRequest, "invalid_grant")
			if s.Active(c, first.Text("access_token")) {
				t.Error("the stolen grant is active")
			}
			if n := s.Counted("refresh_token.reused"); n != 1 {
				t.Errorf("%d reuses", n)
			}
		}).WithSettings("GATEHOUSE_RATE_LIMITS=token_person=2/1m"),
}

// jsonRequest is a POST of JSON.
func jsonRequest(s *servertest.Server, path, body string) *http.Request {
	req, err := http.NewRequest(http.MethodPost, s.URL+path, strings.NewReader(body))
	storagetest.Must(s.T, err)
	req.Header.Set("Content-Type", "application/json")
	return req
}

// slowBody sends the head of a token request and one byte of its body. write sends the rest; the channel gives the status.
func slowBody(t *testing.T, s *servertest.Server) (status <-chan int, write func()) {
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
