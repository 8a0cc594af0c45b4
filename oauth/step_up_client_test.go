package oauth_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

// strictAPI is an API that verifies access tokens offline and requires a recent sign-in with a second factor, as
// docs/apis.md describes it.
func strictAPI(t *testing.T, s *servertest.Server) *httptest.Server {
	t.Helper()
	keys := oidc.NewRemoteKeySet(t.Context(), s.URL+"/.well-known/jwks.json")
	verifier := oidc.NewVerifier(s.Issuer, keys, &oidc.Config{
		ClientID: notesAPI, SupportedSigningAlgs: []string{oidc.ES256}, Now: s.Clock.Now,
	})
	api := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, err := verifier.Verify(r.Context(), r.Header.Get("Authorization")[len("Bearer "):])
		var claims struct {
			ACR      string `json:"acr"`
			AuthTime int64  `json:"auth_time"`
		}
		if err == nil {
			err = token.Claims(&claims)
		}
		recent := s.Clock.Now().Sub(time.Unix(claims.AuthTime, 0)) <= 10*time.Minute
		if err == nil && recent && slices.Contains([]string{"2", "phr", "phrh"}, claims.ACR) {
			w.WriteHeader(http.StatusNoContent)
			return
		}
		w.Header().Set("WWW-Authenticate", `Bearer error="insufficient_user_authentication", `+
			`error_description="A second factor is required", acr_values="2", max_age="600"`)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(api.Close)
	return api
}

// challengeParameter finds the parameters of a challenge that a client copies into its authorization request.
var challengeParameter = regexp.MustCompile(`(acr_values|max_age)="([^"]*)"`)

var stepUpClient = []servertest.Requirement{
	servertest.Req("GX48b", "RFC 9470 §3 to §6",
		"an OAuth client that an API refuses with insufficient_user_authentication gets a token that the API accepts by an "+
			"authorization request with acr_values and max_age, also in a remembered browser; a refresh does not help",
		func(t *testing.T, s *servertest.Server) {
			authenticator := s.TOTP(s.User("alice"))
			addAPI(t, s, notesAPI, "Notes API", "read")
			c, b, api := s.RelyingParty(), s.Browser(), strictAPI(t, s)
			app := &oauth2.Config{
				ClientID: c.ClientID, ClientSecret: c.ClientSecret, RedirectURL: servertest.Callback, Scopes: []string{"read"},
				Endpoint: oauth2.Endpoint{
					AuthURL: "/oauth2/authorize", TokenURL: s.URL + "/oauth2/token", AuthStyle: oauth2.AuthStyleInHeader,
				},
			}
			// authorize sends the user to the authorization endpoint, and returns the token.
			authorize := func(parameters ...oauth2.AuthCodeOption) *oauth2.Token {
				t.Helper()
				p := b.Follow(b.Open(app.AuthCodeURL("s",
					append(parameters, oauth2.S256ChallengeOption(servertest.Verifier))...)))
				if strings.Contains(p.URL, "/login?") {
					p = b.BeginSignIn(p, "alice")
				}
				if strings.Contains(p.URL, "/login/factor") {
					p = b.Follow(b.SubmitFactor(p, authenticator.Code(), "trusted", "1"))
				}
				if strings.Contains(p.URL, "/consent") {
					p = b.Follow(b.Decide(p, "approve"))
				}
				token, err := app.Exchange(t.Context(), p.Location().Query().Get("code"),
					oauth2.VerifierOption(servertest.Verifier))
				storagetest.Must(t, err)
				return token
			}
			call := func(token *oauth2.Token) *http.Response {
				t.Helper()
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, api.URL, nil)
				storagetest.Must(t, err)
				token.SetAuthHeader(req)
				res, err := http.DefaultClient.Do(req)
				storagetest.Must(t, err)
				_ = res.Body.Close()
				return res
			}
			authorize()
			b.Open("/account") // signed in with both factors, and the browser is remembered
			s.Clock.Advance(time.Hour)
			token := authorize(oauth2.SetAuthURLParam("prompt", "login"))
			res := call(token)
			if got := claims(t, token.AccessToken)["acr"]; got != "1" || res.StatusCode != http.StatusUnauthorized {
				t.Fatalf("in the remembered browser: acr %v, status %d, want 1 and 401", got, res.StatusCode)
			}
			refreshed := s.Refresh(c, token.RefreshToken).OK(t)
			if res = call(&oauth2.Token{AccessToken: refreshed.Text("access_token")}); res.StatusCode != 401 {
				t.Errorf("after a refresh: %d, want 401", res.StatusCode)
			}
			var parameters []oauth2.AuthCodeOption
			for _, p := range challengeParameter.FindAllStringSubmatch(res.Header.Get("WWW-Authenticate"), -1) {
				parameters = append(parameters, oauth2.SetAuthURLParam(p[1], p[2]))
			}
			if token = authorize(parameters...); len(parameters) != 2 || call(token).StatusCode != http.StatusNoContent {
				t.Errorf("after the step-up with %d parameters the API refuses %v", len(parameters), claims(t, token.AccessToken))
			}
			s.Clock.Advance(11 * time.Minute)
			if res = call(authorize()); res.StatusCode != http.StatusUnauthorized {
				t.Errorf("11 minutes later without max_age: %d, want 401", res.StatusCode)
			}
			if res = call(authorize(parameters...)); res.StatusCode != http.StatusNoContent {
				t.Errorf("11 minutes later with max_age: %d, want 204", res.StatusCode)
			}
		}),
}
