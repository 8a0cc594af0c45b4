package main

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// forwardAuth is an API behind nginx, which checks requests with the program for forward auth of docs/apis.md.
type forwardAuth struct {
	issuer *testIssuer
	api    client.Information // the introspector
	url    string             // of nginx
	client *http.Client
	out    *output // of the program
}

const forwardAudience = "https://api.example.com"

func startForwardAuth(t *testing.T) *forwardAuth {
	t.Helper()
	f := &forwardAuth{issuer: startTestIssuer(t)}
	f.api = f.issuer.Service("other")
	resource := apiResource(forwardAudience, "notes.read", "notes.write")
	resource.Introspectors = storage.Strings{f.api.ClientID}
	storagetest.Must(t, f.issuer.Store.CreateResource(t.Context(), resource))
	storagetest.Must(t, f.issuer.Store.CreateResource(t.Context(), apiResource("https://other.example.com", "other")))
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.NewEncoder(w).Encode(forwarded{r.Header, string(body)})
		}
		if err != nil {
			t.Errorf("the API: %v", err)
		}
	}))
	t.Cleanup(api.Close)
	address, program := storagetest.FreeAddress(t), storagetest.FreeAddress(t)
	files, dir := documentFiles(t, "../../docs/apis.md"), filepath.Join(t.TempDir(), "forward-auth")
	startNginx(t, files["forward-auth/nginx.conf"], "api.example.com", address,
		"127.0.0.1:3000", api.Listener.Addr().String(), "127.0.0.1:9000", program)
	storagetest.Must(t, os.Mkdir(dir, 0o700))
	f.out = startProgramFiles(t, files, dir, [][]string{{"go", "build", "main.go"}, {"./main"}}, program,
		append(os.Environ(), "CGO_ENABLED=0", "ISSUER="+f.issuer.Issuer, "AUDIENCE="+forwardAudience, "CACHE_TIME=1s",
			"API_CLIENT_ID="+f.api.ClientID, "API_CLIENT_SECRET="+f.api.ClientSecret)).out
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}
	t.Cleanup(transport.CloseIdleConnections)
	f.url, f.client = "https://"+address, &http.Client{Transport: transport}
	return f
}

// forwarded is a request that reached the API, which responds with it.
type forwarded struct {
	Header http.Header
	Body   string
}

// send sends a request with headers as names and values, and returns what reached the API when the status is 200.
func (f *forwardAuth) send(
	t *testing.T, method, path, body string, headers ...string,
) (status int, challenges []string, reached forwarded) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, f.url+path, strings.NewReader(body))
	storagetest.Must(t, err)
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	res, err := f.client.Do(req)
	storagetest.Must(t, err)
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode == http.StatusOK {
		storagetest.Must(t, json.NewDecoder(res.Body).Decode(&reached))
	}
	return res.StatusCode, res.Header.Values("WWW-Authenticate"), reached
}

// check sends a request with an Authorization header and compares the response with the expected one.
func (f *forwardAuth) check(t *testing.T, r apiRequest) {
	t.Helper()
	status, challenges, _ := f.send(t, http.MethodGet, "/notes?scope=notes.write", "", "Authorization", r.authorization)
	if got := strings.Join(challenges, ", "); status != r.status || got != r.challenge {
		t.Errorf("GET /notes with %s: %d, WWW-Authenticate %q, want %d with %q\n%s", r.what, status, got, r.status,
			r.challenge, f.out.tail())
	}
}

func TestAPIsBehindForwardAuthGetOnlyValidTokens(t *testing.T) {
	t.Parallel()
	f := startForwardAuth(t)
	i := f.issuer
	reader, writer := i.Service("notes.read"), i.Service("notes.write")
	token := i.ServiceToken(reader)
	i.User("alice")
	idToken := i.Tokens(i.RelyingParty(), "alice", "scope", "openid").Text("id_token")
	const invalid = "Bearer " + invalidToken
	for _, r := range []apiRequest{
		{"an access token", "Bearer " + token, 200, ""},
		{"the scheme in lower case", "bearer " + token, 200, ""},
		{"no token", "", 401, "Bearer"},
		{"another scheme", "Basic YTpi", 401, "Bearer"},
		{"no JWT", "Bearer abc", 401, invalid},
		{"a token with another signature", "Bearer " + i.sign(t, "at+jwt", map[string]any{"sub": "alice"}), 401, invalid},
		{"an ID token", "Bearer " + idToken, 401, invalid},
		{"a token of the introspector for another API", "Bearer " + i.ServiceToken(f.api), 401, invalid},
		{"another scope", "Bearer " + i.ServiceToken(writer), 403, "Bearer " + insufficientScope + `, scope="notes.read"`},
	} {
		f.check(t, r)
	}
	status, _, _ := f.send(t, http.MethodGet, "/check/notes.read", "", "Authorization", "Bearer "+token)
	if status != http.StatusNotFound {
		t.Errorf("GET of the location of the check: %d, want 404", status)
	}
	f.checkForwarded(t, token, reader.ClientID)
	f.checkCache(t, reader)
}

// checkForwarded checks what reaches the API of a request with forged headers.
func (f *forwardAuth) checkForwarded(t *testing.T, token, subject string) {
	t.Helper()
	status, _, reached := f.send(t, http.MethodPost, "/notes", "a new note", "Authorization", "Bearer "+token,
		"X-Auth-Subject", "forged", "X-Auth-Scope", "notes.read admin", "X_Auth_Subject", "forged")
	h := reached.Header
	if status != http.StatusOK || reached.Body != "a new note" {
		t.Errorf("POST /notes: %d, the API received %q, want 200 with the body", status, reached.Body)
	}
	if got := h.Values("X-Auth-Subject"); len(got) != 1 || got[0] != subject {
		t.Errorf("X-Auth-Subject = %q, want only %s", got, subject)
	}
	if got := h.Values("X-Auth-Scope"); len(got) != 1 || got[0] != "notes.read" {
		t.Errorf("X-Auth-Scope = %q, want only notes.read", got)
	}
	if h.Get("X_Auth_Subject") != "" || h.Get("Authorization") != "" {
		t.Errorf("the API received the headers %v, want no X_Auth_Subject and no Authorization", h)
	}
}

// checkCache checks that responses are cached, that a revoked token is refused when the cache time is over, and that
// errors are not cached.
func (f *forwardAuth) checkCache(t *testing.T, reader client.Information) {
	t.Helper()
	i := f.issuer
	token, fresh := i.ServiceToken(reader), i.ServiceToken(i.Service("notes.read"))
	const requests = 20
	before := i.introspections.Load()
	for range requests {
		f.check(t, apiRequest{"an access token", "Bearer " + token, 200, ""})
	}
	if n := i.introspections.Load() - before; n == 0 || n >= requests {
		t.Errorf("%d requests with one token caused %d introspections, want fewer", requests, n)
	}
	storagetest.Must(t, i.Store.RevokeClientTokens(t.Context(), reader.ClientID))
	storagetest.Eventually(t, "the revoked token is refused", func() bool {
		status, challenges, _ := f.send(t, http.MethodGet, "/notes", "", "Authorization", "Bearer "+token)
		return status == http.StatusUnauthorized && challenges[0] == "Bearer "+invalidToken
	})
	i.down.Store(true)
	f.check(t, apiRequest{"a token while Gatehouse is unavailable", "Bearer " + fresh, 503, ""})
	i.down.Store(false)
	f.check(t, apiRequest{"the same token afterwards", "Bearer " + fresh, 200, ""})
}
