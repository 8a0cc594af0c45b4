package main

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"
	"golang.org/x/oauth2/clientcredentials"

	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// cluster is two serve processes on one database.
type cluster struct {
	env    map[string]string
	issuer string
	nodes  []*process
	urls   []string
}

func startCluster(t *testing.T, db string) *cluster {
	t.Helper()
	c := &cluster{env: map[string]string{
		"GATEHOUSE_DATABASE_URL": db, "GATEHOUSE_SECRET_KEY": keyText, "GATEHOUSE_DATABASE_POOL": "4",
	}}
	addresses := []string{storagetest.FreeAddress(t), storagetest.FreeAddress(t)}
	c.issuer = "http://" + addresses[0]
	c.env["GATEHOUSE_ISSUER"] = c.issuer
	mustRun(t, c.env, "", "migrate", "up")
	for _, address := range addresses {
		env := maps.Clone(c.env)
		env["GATEHOUSE_LISTEN"] = address
		c.nodes, c.urls = append(c.nodes, startServe(t, env)), append(c.urls, "http://"+address)
	}
	return c
}

// formField matches a hidden field of the forms.
var formField = regexp.MustCompile(`name="(request|form_token)" value="([^"]*)"`)

// consentInNewBrowser signs in and consents in a new browser, and returns the callback. The browser trusts the
// certificates in the files.
func consentInNewBrowser(t *testing.T, authorize, username, password string, trusted ...string) *url.URL {
	t.Helper()
	jar, err := cookiejar.New(nil)
	storagetest.Must(t, err)
	client := newTrustingClient(t, trusted...)
	client.Jar = jar
	return signInAndConsent(t, client, authorize, username, password)
}

// signInAndConsent opens an authorization request in a browser with cookies, signs in, consents as needed, and returns
// the callback.
func signInAndConsent(t testing.TB, client *http.Client, authorize, username, password string) *url.URL {
	t.Helper()
	u, err := url.Parse(authorize)
	storagetest.Must(t, err)
	var callback *url.URL
	follow := func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host != u.Host {
			callback = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}
	browser := &http.Client{Transport: client.Transport, Jar: client.Jar, CheckRedirect: follow}
	do := func(method, to string, form url.Values) string {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, to, strings.NewReader(form.Encode()))
		storagetest.Must(t, err)
		if form != nil {
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		}
		res, err := browser.Do(req)
		storagetest.Must(t, err)
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		storagetest.Must(t, err)
		return string(b)
	}
	root := u.Scheme + "://" + u.Host
	page := do(http.MethodGet, authorize, nil)
	page = do(http.MethodPost, root+"/login", formFields(page, "username", username, "password", password))
	if callback == nil {
		do(http.MethodPost, root+"/consent", formFields(page, "decision", "approve"))
	}
	if callback == nil || callback.Query().Get("code") == "" {
		t.Fatalf("the callback is %v, want one with a code:\n%s", callback, page)
	}
	return callback
}

// formFields returns the hidden fields of the form on a page, and others as names and values.
func formFields(page string, others ...string) url.Values {
	v := url.Values{}
	for _, m := range formField.FindAllStringSubmatch(page, -1) {
		v.Set(m[1], m[2])
	}
	for i := 0; i < len(others); i += 2 {
		v.Set(others[i], others[i+1])
	}
	return v
}

// post posts a token to a process and returns the status and the body.
func (c *cluster) post(t *testing.T, node int, path, clientID, secret, token string) string {
	t.Helper()
	form := strings.NewReader(url.Values{"token": {token}}.Encode())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.urls[node]+path, form)
	storagetest.Must(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth(clientID, secret)
	res, err := http.DefaultClient.Do(req)
	storagetest.Must(t, err)
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	storagetest.Must(t, err)
	return fmt.Sprint(res.StatusCode, " ", string(b))
}

// TestTwoProcessesServeOrdinaryClients uses golang.org/x/oauth2 and the remote JWKS of coreos/go-oidc for every
// operation, each at the other process. Afterwards no secret is in the audit log, the database or the logs.
func TestTwoProcessesServeOrdinaryClients(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		c := startCluster(t, db)
		keys := oidc.NewRemoteKeySet(t.Context(), c.urls[0]+"/.well-known/jwks.json")
		secrets := map[string]string{"the root key": c.env["GATEHOUSE_SECRET_KEY"]}
		c.useService(t, keys, secrets)
		c.useApp(t, keys, secrets)
		for _, p := range c.nodes {
			if code := p.stop(t); code != exitOK {
				t.Errorf("exit code of serve = %d, want 0:\n%s", code, p.stderr)
			}
		}
		c.checkSecrets(t, db, secrets)
	})
}

// useService requests a client credentials token, and adds its secrets.
func (c *cluster) useService(t *testing.T, keys oidc.KeySet, secrets map[string]string) {
	t.Helper()
	id, secret := createClient(t, c.env, serviceMetadata)
	service := clientcredentials.Config{
		ClientID: id, ClientSecret: secret, TokenURL: c.urls[1] + "/oauth2/token", Scopes: []string{"jobs"},
	}
	token, err := service.Token(t.Context())
	storagetest.Must(t, err)
	if _, err := keys.VerifySignature(t.Context(), token.AccessToken); err != nil {
		t.Errorf("signature of the service's access token: %v", err)
	}
	secrets["the secret of the service"], secrets["the token of the service"] = secret, token.AccessToken
}

// useApp signs a user in to an app, refreshes, introspects and revokes its tokens, and adds its secrets.
func (c *cluster) useApp(t *testing.T, keys oidc.KeySet, secrets map[string]string) {
	t.Helper()
	ctx := t.Context()
	const password = "the password of alice"
	createUser(t, c.env, "alice", password)
	id, secret := createClient(t, c.env, appMetadata)
	app := oauth2.Config{
		ClientID: id, ClientSecret: secret, RedirectURL: "https://app.example/cb",
		Scopes: []string{"read", "offline_access"},
		// The library detects the client authentication method.
		Endpoint: oauth2.Endpoint{AuthURL: c.urls[0] + "/oauth2/authorize", TokenURL: c.urls[1] + "/oauth2/token"},
	}
	verifier := oauth2.GenerateVerifier()
	authorize := app.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier))
	response := consentInNewBrowser(t, authorize, "alice", password).Query()
	if response.Get("iss") != c.issuer || response.Get("state") != "state" {
		t.Errorf("authorization response = %v, want iss %s and state %q", response, c.issuer, "state")
	}
	token, err := app.Exchange(ctx, response.Get("code"), oauth2.VerifierOption(verifier))
	storagetest.Must(t, err)
	payload, err := keys.VerifySignature(ctx, token.AccessToken)
	if err != nil || !strings.Contains(string(payload), c.issuer) {
		t.Errorf("claims of the user's access token = %s, %v, want the issuer %s", payload, err, c.issuer)
	}
	app.Endpoint.TokenURL = c.urls[0] + "/oauth2/token"
	refreshed, err := app.TokenSource(ctx, &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
	storagetest.Must(t, err)
	if refreshed.RefreshToken == token.RefreshToken {
		t.Error("the refresh token did not rotate")
	}
	got := c.post(t, 1, "/oauth2/introspect", id, secret, refreshed.AccessToken)
	if !strings.Contains(got, `"active":true`) {
		t.Errorf("introspection of an issued token = %s, want it active", got)
	}
	if got := c.post(t, 0, "/oauth2/revoke", id, secret, refreshed.RefreshToken); !strings.HasPrefix(got, "200") {
		t.Errorf("revocation = %s, want 200", got)
	}
	const inactive = `200 {"active":false}`
	if got := c.post(t, 1, "/oauth2/introspect", id, secret, refreshed.AccessToken); got != inactive {
		t.Errorf("introspection after the revocation at the other process = %s, want %s", got, inactive)
	}
	maps.Copy(secrets, map[string]string{
		"the secret of the app": secret, "the password": password, "the verifier": verifier,
		"the code": response.Get("code"), "an access token": token.AccessToken,
		"the refresh token": token.RefreshToken, "its successor": refreshed.RefreshToken,
	})
}

// checkSecrets checks that the audit log, the database and the logs contain none of the secrets.
func (c *cluster) checkSecrets(t *testing.T, db string, secrets map[string]string) {
	t.Helper()
	events := mustRun(t, c.env, "", "audit", "list", "--json", "--limit", "1000")
	for _, want := range []string{audit.TokenIssued, audit.RefreshRotated} {
		if !strings.Contains(events, want) {
			t.Errorf("the audit log has no row of %s, which was queued when the processes stopped:\n%s", want, events)
		}
	}
	s := storagetest.Open(t, db, storagetest.NewClock())
	for where, text := range map[string]string{
		"the audit log": events, "the database": storagetest.Dump(t, s, db),
		"a log": c.nodes[0].stderr.String() + c.nodes[1].stderr.String(),
	} {
		for name, secret := range secrets {
			if strings.Contains(text, secret) {
				t.Errorf("%s contains %s", where, name)
			}
		}
	}
}
