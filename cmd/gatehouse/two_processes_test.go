package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
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
		"GATEHOUSE_DATABASE_URL": db, "GATEHOUSE_SECRET_KEY": base64.StdEncoding.EncodeToString(storagetest.Key[:]), "GATEHOUSE_DATABASE_POOL": "4",
	}}
	addresses := []string{storagetest.FreeAddress(t), storagetest.FreeAddress(t)}
	c.issuer = "http://" + addresses[0]
	c.env["GATEHOUSE_ISSUER"] = c.issuer
	if _, stderr, code := command(t, c.env, "", "migrate", "up"); code != exitOK {
		t.Fatalf("migrate: %s", stderr)
	}
	for _, address := range addresses {
		env := map[string]string{"GATEHOUSE_LISTEN": address}
		for k, v := range c.env {
			env[k] = v
		}
		p := start(t, env, "serve")
		p.stderr.waitFor(t, `"msg":"listening"`, p.ended)
		c.nodes, c.urls = append(c.nodes, p), append(c.urls, "http://"+address)
	}
	return c
}

// client registers a client by the command line, while the processes run.
func (c *cluster) client(t *testing.T, metadata string) (id, secret string) {
	t.Helper()
	stdout, stderr, code := command(t, c.env, metadata, "client", "create", "--metadata", "-")
	if code != exitOK {
		t.Fatal(stderr)
	}
	var info struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	if err := json.Unmarshal([]byte(stdout), &info); err != nil {
		t.Fatal(err)
	}
	return info.ID, info.Secret
}

var hidden = regexp.MustCompile(`name="(request|form_token)" value="([^"]*)"`)

// consentedCode goes through sign-in and consent with a cookie jar, as a browser would, and returns the callback. It
// trusts the certificates in the files.
func consentedCode(t *testing.T, address, username, password string, trusted ...string) *url.URL {
	t.Helper()
	jar, err := cookiejar.New(nil)
	storagetest.Must(t, err)
	roots := x509.NewCertPool()
	for _, file := range trusted {
		b, err := os.ReadFile(file)
		storagetest.Must(t, err)
		roots.AppendCertsFromPEM(b)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	return throughPages(t, &http.Client{Transport: transport, Jar: jar}, address, username, password)
}

// throughPages signs in and consents in a browser that keeps cookies.
func throughPages(t testing.TB, client *http.Client, address, username, password string) *url.URL {
	t.Helper()
	var callback *url.URL
	browser := &http.Client{Transport: client.Transport, Jar: client.Jar, CheckRedirect: func(r *http.Request, _ []*http.Request) error {
		if r.URL.Host == "app.example" {
			callback = r.URL
			return http.ErrUseLastResponse
		}
		return nil
	}}
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
	fields := func(page string, more ...string) url.Values {
		v := url.Values{}
		for _, m := range hidden.FindAllStringSubmatch(page, -1) {
			v.Set(m[1], m[2])
		}
		for i := 0; i < len(more); i += 2 {
			v.Set(more[i], more[i+1])
		}
		return v
	}
	u, err := url.Parse(address)
	storagetest.Must(t, err)
	root := u.Scheme + "://" + u.Host
	page := do(http.MethodGet, address, nil)
	page = do(http.MethodPost, root+"/login", fields(page, "username", username, "password", password))
	if callback == nil {
		do(http.MethodPost, root+"/consent", fields(page, "decision", "approve"))
	}
	if callback == nil || callback.Query().Get("code") == "" {
		t.Fatalf("no code: %v\n%s", callback, page)
	}
	return callback
}

// TestTwoProcessesServeOrdinaryClients runs the complete flow with golang.org/x/oauth2 and the remote JWKS of
// coreos/go-oidc, each step at the other process.
func TestTwoProcessesServeOrdinaryClients(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		c := startCluster(t, db)
		serviceID, serviceSecret := c.client(t, `{"client_name":"Service","grant_types":["client_credentials"],"scope":"jobs"}`)
		appID, appSecret := c.client(t, `{"client_name":"App","grant_types":["authorization_code","refresh_token"],"redirect_uris":["https://app.example/cb"],"scope":"read offline_access"}`)
		const password = "a password of the journey"
		if _, stderr, code := command(t, c.env, password+"\n", "user", "create", "--username", "alice", "--email", "alice@example.com", "--password-stdin"); code != exitOK {
			t.Fatal(stderr)
		}

		ctx := t.Context()
		service := clientcredentials.Config{ClientID: serviceID, ClientSecret: serviceSecret, TokenURL: c.urls[1] + "/oauth2/token", Scopes: []string{"jobs"}}
		serviceToken, err := service.Token(ctx)
		storagetest.Must(t, err)
		keys := oidc.NewRemoteKeySet(ctx, c.urls[0]+"/.well-known/jwks.json")
		if _, err := keys.VerifySignature(ctx, serviceToken.AccessToken); err != nil {
			t.Errorf("the service's token: %v", err)
		}

		app := oauth2.Config{
			ClientID: appID, ClientSecret: appSecret, RedirectURL: "https://app.example/cb", Scopes: []string{"read", "offline_access"},
			Endpoint: oauth2.Endpoint{AuthURL: c.urls[0] + "/oauth2/authorize", TokenURL: c.urls[1] + "/oauth2/token"}, // the library finds the method
		}
		verifier := oauth2.GenerateVerifier()
		callback := consentedCode(t, app.AuthCodeURL("state", oauth2.S256ChallengeOption(verifier)), "alice", password)
		if callback.Query().Get("iss") != c.issuer || callback.Query().Get("state") != "state" {
			t.Errorf("the callback is %s", callback)
		}
		token, err := app.Exchange(ctx, callback.Query().Get("code"), oauth2.VerifierOption(verifier))
		storagetest.Must(t, err)
		payload, err := keys.VerifySignature(ctx, token.AccessToken)
		if err != nil || !strings.Contains(string(payload), c.issuer) {
			t.Errorf("the user's token: %v %s", err, payload)
		}
		app.Endpoint.TokenURL = c.urls[0] + "/oauth2/token"
		fresh, err := app.TokenSource(ctx, &oauth2.Token{RefreshToken: token.RefreshToken}).Token()
		storagetest.Must(t, err)
		if fresh.RefreshToken == token.RefreshToken {
			t.Error("the refresh token did not rotate")
		}
		post := func(node int, path, id, secret, value string) string {
			t.Helper()
			req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.urls[node]+path, strings.NewReader(url.Values{"token": {value}}.Encode()))
			storagetest.Must(t, err)
			req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			req.SetBasicAuth(id, secret)
			res, err := http.DefaultClient.Do(req)
			storagetest.Must(t, err)
			defer func() { _ = res.Body.Close() }()
			b, err := io.ReadAll(res.Body)
			storagetest.Must(t, err)
			return fmt.Sprint(res.StatusCode, " ", string(b))
		}
		if got := post(1, "/oauth2/introspect", appID, appSecret, fresh.AccessToken); !strings.Contains(got, `"active":true`) {
			t.Errorf("introspection: %s", got)
		}
		if got := post(0, "/oauth2/revoke", appID, appSecret, fresh.RefreshToken); !strings.HasPrefix(got, "200") {
			t.Errorf("revocation: %s", got)
		}
		if got := post(1, "/oauth2/introspect", appID, appSecret, fresh.AccessToken); got != `200 {"active":false}` {
			t.Errorf("after revocation at the other process: %s", got)
		}

		for _, p := range c.nodes {
			if code := p.stop(t); code != exitOK {
				t.Errorf("serve ended with %d:\n%s", code, p.stderr)
			}
		}
		// What the run leaves behind has none of its secrets.
		stdout, _, _ := command(t, c.env, "", "audit", "list", "--json", "--limit", "1000")
		if !strings.Contains(stdout, audit.TokenIssued) || !strings.Contains(stdout, audit.RefreshRotated) {
			t.Errorf("the audit log misses issues that were queued when the processes stopped:\n%s", stdout)
		}
		s := storagetest.Open(t, db, storagetest.NewClock())
		left := map[string]string{"the audit log": stdout, "the database": storagetest.Dump(t, s, db), "a log": c.nodes[0].stderr.String() + c.nodes[1].stderr.String()}
		for where, text := range left {
			for name, secret := range map[string]string{
				"the service's secret": serviceSecret, "the app's secret": appSecret, "the password": password, "the verifier": verifier, "the code": callback.Query().Get("code"),
				"an access token": token.AccessToken, "the refresh token": token.RefreshToken, "its successor": fresh.RefreshToken, "the service's token": serviceToken.AccessToken,
				"the root key": c.env["GATEHOUSE_SECRET_KEY"],
			} {
				if strings.Contains(text, secret) {
					t.Errorf("%s has %s", where, name)
				}
			}
		}
	})
}
