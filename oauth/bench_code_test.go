package oauth_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/credential"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// BenchmarkCode measures the code flow of a user who is signed in and has consented before: authorize, then token.
func BenchmarkCode(b *testing.B) {
	eachEngine(b, func(b *testing.B, s *servertest.Server) {
		s.User("alice")
		c, browser := s.App(), s.Browser()
		browser.Code(c, "alice")
		authorize := "/oauth2/authorize?" + servertest.AuthorizeForm(c).Encode()
		b.Run("gatehouse", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, authorize, nil)
				for _, cookie := range browser.Cookies() {
					r.AddCookie(cookie)
				}
				s.Handler.ServeHTTP(w, r)
				to, err := url.Parse(w.Header().Get("Location"))
				if err != nil || to.Query().Get("code") == "" {
					b.Fatalf("authorize: got %v, %d %s, want a redirect with a code", err, w.Code, w.Body)
				}
				w, r = httptest.NewRecorder(), post(servertest.CodeForm(to, c), c.ClientID, c.ClientSecret)
				checkServed(b, s.OAuth.Token(w, r), w)
			}
		})
		b.Run("bare", func(b *testing.B) { bareCode(b, s, c.ClientID, c.ClientSecret) })
	})
}

// bareCode stores a code, redeems it, inserts the grant and an audit row, and signs an access token.
func bareCode(b *testing.B, s *servertest.Server, id, secret string) {
	b.Helper()
	db, key, hash := bareDB(b, s), newBareKey(b), credential.Hash(secret)
	const (
		issue = `INSERT INTO authorization_codes (hash, consent_id, client_id, user_id, client_epoch, user_epoch, scopes,
			resources, session_id, offline, auth_time, acr, amr, redirect_uri, redirect_sent, nonce, claims, created_at,
			expires_at)
			SELECT $1, 'bare', id, 'bare', epoch, 1, 'read write', '', 'bare', true, $2, '', 'pwd',
			'https://app.example/callback', true, '', '', $2, $3 FROM clients WHERE id = $4`
		redeem = `UPDATE authorization_codes SET consumed_at = $1
			WHERE hash = $2 AND consumed_at IS NULL AND expires_at > $1 AND client_id = $3`
		grant = `INSERT INTO grants (id, consent_id, client_id, user_id, client_epoch, user_epoch, scopes, resources,
			claims, session_id, offline, auth_time, acr, amr, created_at, expires_at, current_hash)
			VALUES ($1, 'bare', $2, 'bare', 1, 1, 'read write', '', '', 'bare', true, $3, '', 'pwd', $3, $4, $5)`
	)
	form := url.Values{
		"grant_type": {"authorization_code"}, "code": {"code"},
		"redirect_uri": {servertest.Callback}, "code_verifier": {servertest.Verifier},
	}
	b.ReportAllocs()
	for b.Loop() {
		now := time.Now()
		code := credential.Hash(credential.Format{Env: "live"}.New(credential.Code))
		_, err := db.ExecContext(b.Context(), issue, code, now.UnixMilli(), now.Add(time.Minute).UnixMilli(), id)
		storagetest.Must(b, err)
		w, r := httptest.NewRecorder(), post(form, id, secret)
		bareSecret(b, r, hash)
		name := credential.NewGrantName(now)
		token := credential.Format{Env: "live"}.NewRefreshToken(name)
		tx, err := db.BeginTx(b.Context(), nil)
		storagetest.Must(b, err)
		_, err = tx.ExecContext(b.Context(), redeem, now.UnixMilli(), code, id)
		storagetest.Must(b, err)
		_, err = tx.ExecContext(b.Context(), grant, credential.GrantID(name), id, now.UnixMilli(),
			now.Add(time.Hour).UnixMilli(), credential.Hash(token))
		storagetest.Must(b, err)
		_, err = tx.ExecContext(b.Context(), bareAudit, uuid.NewString(), now.UnixMilli())
		storagetest.Must(b, err)
		storagetest.Must(b, tx.Commit())
		signed, err := key.Sign(accesstoken.Type, bareClaims(now))
		storagetest.Must(b, err)
		writeTokens(b, w, map[string]any{"access_token": signed, "refresh_token": token})
	}
}

// BenchmarkMetadata measures a public document, with all of the middleware.
func BenchmarkMetadata(b *testing.B) {
	s := servertest.Start(b, storagetest.URL(b, storage.SQLite), servertest.Options{})
	const path = "/.well-known/openid-configuration"
	body := []byte(s.Get(path).Body)
	b.Run("sqlite/gatehouse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w := httptest.NewRecorder()
			s.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
			if w.Code != http.StatusOK {
				b.Fatalf("%s: got %d, want 200", path, w.Code)
			}
		}
	})
	b.Run("sqlite/bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			w := httptest.NewRecorder()
			httptest.NewRequest(http.MethodGet, path, nil)
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write(body)
		}
	})
}
