package migration_test

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/identity/migration"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// startOldServer starts a server with TLS, and returns it and the certificates that verify it.
func startOldServer(t *testing.T, handler http.HandlerFunc) (string, *x509.CertPool) {
	t.Helper()
	s := httptest.NewTLSServer(handler)
	t.Cleanup(s.Close)
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	return s.URL, roots
}

func newServer(t *testing.T, o migration.Options) migration.Server {
	t.Helper()
	if o.Timeout == 0 {
		o.Timeout = time.Minute
	}
	s, err := migration.New(o)
	storagetest.Must(t, err)
	return s
}

const aliceClaims = `"sub":"2a117809-8285-4718-a131-bd61fb57cd1f","preferred_username":"alice",` +
	`"email":"alice@example.com","email_verified":true,"name":"Alice Example","given_name":"Alice",` +
	`"address":{"locality":"Bern"},"groups":["staff"]`

// wantAlice fails the test unless the user of a correct password is the one of aliceClaims.
func wantAlice(t *testing.T, s migration.Server) {
	t.Helper()
	u, err := s.Authenticate(t.Context(), "alice", "päss=word & more")
	if err != nil || u.ID != "2a117809-8285-4718-a131-bd61fb57cd1f" || u.Username != "alice" ||
		u.Email != "alice@example.com" || !u.EmailVerified || u.Name != "Alice Example" ||
		!slices.Equal(u.Groups, []string{"staff"}) ||
		u.Profile != (storage.Profile{GivenName: "Alice", Address: storage.Address{Locality: "Bern"}}) {
		t.Errorf("Authenticate with the correct password = %+v, %v, want alice", u, err)
	}
	if _, err := s.Authenticate(t.Context(), "alice", "a guess"); !errors.Is(err, migration.ErrIncorrect) {
		t.Errorf("Authenticate with an incorrect password = %v, want ErrIncorrect", err)
	}
}

// TestTokenEndpointOfOldServerDecides calls a token endpoint and a userinfo endpoint, as of Keycloak (PE58).
func TestTokenEndpointOfOldServerDecides(t *testing.T) {
	t.Parallel()
	for _, secret := range []string{"", "s3cret:%+"} {
		url, roots := startOldServer(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			id, password, basic := r.BasicAuth()
			switch {
			case r.URL.Path == "/userinfo" && r.Header.Get("Authorization") == "Bearer token-1":
				_, _ = io.WriteString(w, "{"+aliceClaims+"}")
			case r.URL.Path != "/token" || r.PostFormValue("grant_type") != "password" ||
				r.PostFormValue("scope") != "openid profile email":
				http.Error(w, "unexpected request", http.StatusTeapot)
			case secret == "" && (basic || r.PostFormValue("client_id") != "gatehouse"),
				secret != "" && (id != "gatehouse" || password != "s3cret%3A%25%2B"):
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = io.WriteString(w, `{"error":"invalid_client"}`)
			case r.PostFormValue("username") == "alice" && r.PostFormValue("password") == "päss=word & more":
				_, _ = io.WriteString(w, `{"access_token":"token-1","token_type":"Bearer"}`)
			default: // Keycloak's status
				w.WriteHeader(http.StatusUnauthorized)
				_, _ = io.WriteString(w, `{"error":"invalid_grant","error_description":"Invalid user credentials"}`)
			}
		})
		wantAlice(t, newServer(t, migration.Options{
			Kind: migration.KindPassword, URL: url + "/token", UserinfoURL: url + "/userinfo", ClientID: "gatehouse",
			Secret: secret, RootCAs: roots,
		}))
	}
}

// TestWebhookResponseDecides calls a webhook (PE58).
func TestWebhookResponseDecides(t *testing.T) {
	t.Parallel()
	url, roots := startOldServer(t, func(w http.ResponseWriter, r *http.Request) {
		var request struct{ Username, Password string }
		if r.Header.Get("Authorization") != "Bearer t0ken" || json.NewDecoder(r.Body).Decode(&request) != nil {
			http.Error(w, "unexpected request", http.StatusTeapot)
			return
		}
		if request.Username == "alice" && request.Password == "päss=word & more" {
			_, _ = io.WriteString(w, `{"authenticated":true,`+aliceClaims+`}`)
			return
		}
		_, _ = io.WriteString(w, `{"authenticated":false}`)
	})
	wantAlice(t, newServer(t, migration.Options{
		Kind: migration.KindWebhook, URL: url, Secret: "t0ken", RootCAs: roots,
	}))
}

// TestUndecidedResponseIsAnError checks that only a response that decides about the password does: every other one is
// an error, which does not have the password. Redirects are not followed (PE58).
func TestUndecidedResponseIsAnError(t *testing.T) {
	t.Parallel()
	respond := func(status int, body string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = io.WriteString(w, body)
		}
	}
	var followed atomic.Bool
	for name, handler := range map[string]http.HandlerFunc{
		"server error":      respond(http.StatusInternalServerError, `{"error":"invalid_grant"}`),
		"too many requests": respond(http.StatusTooManyRequests, `{"error":"slow_down"}`),
		"our credentials":   respond(http.StatusUnauthorized, `{"error":"invalid_client"}`),
		"second factor":     respond(http.StatusForbidden, `{"error":"mfa_required"}`),
		"page":              respond(http.StatusOK, `<html>a proxy`),
		"no decision":       respond(http.StatusOK, `{"sub":"1","access_token":"x"}`),
		"null":              respond(http.StatusOK, `{"authenticated":null,"access_token":"x","token_type":"mac"}`),
		"no sub":            respond(http.StatusOK, `{"authenticated":true,"access_token":"x","token_type":"Bearer"}`),
		"sub of a number": respond(http.StatusOK,
			`{"authenticated":true,"sub":1,"access_token":"x","token_type":"Bearer"}`),
		"large": respond(http.StatusOK, `{"authenticated":true,"sub":"`+strings.Repeat("x", 1<<20)+`"}`),
		"redirect": func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/other" {
				followed.Store(true)
			}
			http.Redirect(w, r, "/other", http.StatusTemporaryRedirect)
		},
		"slow": func(_ http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
		},
	} {
		url, roots := startOldServer(t, handler)
		for _, kind := range []string{migration.KindPassword, migration.KindWebhook} {
			o := migration.Options{Kind: kind, URL: url, UserinfoURL: url, ClientID: "c", Secret: "s", RootCAs: roots}
			if name == "slow" {
				o.Timeout = 50 * time.Millisecond
			}
			_, err := newServer(t, o).Authenticate(t.Context(), "alice", "passw0rd-of-alice")
			if err == nil || errors.Is(err, migration.ErrIncorrect) || strings.Contains(err.Error(), "passw0rd") {
				t.Errorf("%s, %s: error %v, want another one without the password", kind, name, err)
			}
		}
	}
	if followed.Load() {
		t.Error("a redirect was followed, want the password sent to the configured URL only")
	}
}

// TestOldServerIsVerified checks that a password is not sent to a server whose certificate is not trusted.
func TestOldServerIsVerified(t *testing.T) {
	t.Parallel()
	var called atomic.Bool
	url, _ := startOldServer(t, func(http.ResponseWriter, *http.Request) { called.Store(true) })
	s := newServer(t, migration.Options{Kind: migration.KindWebhook, URL: url, Secret: "s"})
	if _, err := s.Authenticate(context.Background(), "alice", "password"); err == nil || called.Load() {
		t.Errorf("Authenticate at a server with another certificate = %v, called %v, want an error before it", err,
			called.Load())
	}
}
