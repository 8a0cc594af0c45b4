package oauth_test

import (
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/credential"
	"gatehouse/oauth/jwt"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// The benchmarks measure a handler without the network, and a bare handler that does only the unavoidable work: it
// parses the form, compares the SHA-256 hash of the secret, signs or verifies ES256, and runs the SQL statements. `make
// bench` writes both and their ratio to docs/performance.md.

// highLimits are enabled, and no benchmark reaches them, although its clock does not advance.
const highLimits = "authorize=1000000/1s,token_address=1000000/1s,token_client=1000000/1s,token_person=1000000/1s," +
	"introspection=1000000/1s,revocation=1000000/1s"

// bareAudit inserts the audit row of a bare handler.
const bareAudit = `INSERT INTO audit_events
	(id, at, event, actor, client_id, user_id, grant_id, scopes, token, detail, request_id)
	VALUES ($1, $2, 'bare', '', '', '', '', '', '', '', '')`

// eachEngine runs a benchmark on a server on each engine.
func eachEngine(b *testing.B, fn func(b *testing.B, s *servertest.Server)) {
	b.Helper()
	for _, engine := range storagetest.Engines(b) {
		b.Run(engine, func(b *testing.B) {
			clock := storagetest.NewClock()
			s := servertest.Start(b, storagetest.URL(b, engine),
				servertest.Options{Clock: clock, Env: map[string]string{"GATEHOUSE_RATE_LIMITS": highLimits}})
			storagetest.Eventually(b, "the caches are in use", func() bool {
				_, fresh := s.Store.CacheGeneration()
				return fresh
			})
			fn(b, s)
		})
	}
}

// post returns a POST of a form for a handler, with the credentials of a client if it has a secret.
func post(form url.Values, id, secret string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if secret != "" {
		r.SetBasicAuth(id, secret)
	}
	return r
}

// checkServed stops the benchmark unless the handler returned no error and wrote 200.
func checkServed(b *testing.B, err error, w *httptest.ResponseRecorder) {
	b.Helper()
	if err != nil || w.Code != http.StatusOK {
		b.Fatalf("got %v, %d %s, want 200", err, w.Code, w.Body)
	}
}

// writeTokens writes the response of a bare token endpoint.
func writeTokens(b *testing.B, w *httptest.ResponseRecorder, members map[string]any) {
	b.Helper()
	members["token_type"], members["expires_in"] = "Bearer", 900
	storagetest.Must(b, json.NewEncoder(w).Encode(members))
}

// bareSecret is the client authentication of a bare handler.
func bareSecret(b *testing.B, r *http.Request, hash []byte) {
	b.Helper()
	_, secret, _ := r.BasicAuth()
	sum := sha256.Sum256([]byte(secret))
	if err := r.ParseForm(); err != nil || subtle.ConstantTimeCompare(sum[:], hash) != 1 {
		b.Fatal("the secret of the request is invalid")
	}
}

func newBareKey(b *testing.B) *accesstoken.Key {
	b.Helper()
	private, err := jwt.Generate(jwt.ES256)
	storagetest.Must(b, err)
	key, err := accesstoken.NewKey("bare", jwt.ES256, private)
	storagetest.Must(b, err)
	return key
}

func bareClaims(now time.Time) *accesstoken.Claims {
	return &accesstoken.Claims{
		Issuer: "https://id.example", Audience: []string{"https://id.example"},
		Subject: "gcAAAAAAAAAAAAAAAAAAAA", ClientID: "gcAAAAAAAAAAAAAAAAAAAA",
		Scope: "jobs", JTI: uuid.NewString(), IssuedAt: now.Unix(), ExpiresAt: now.Unix() + 900, ClientEpoch: 1,
	}
}

// bareVerify verifies the access token of a request.
func bareVerify(b *testing.B, r *http.Request, key *accesstoken.Key) *accesstoken.Claims {
	b.Helper()
	keys := func(string) *accesstoken.Key { return key }
	claims, err := accesstoken.Parse(r.PostForm.Get("token"), "https://id.example", keys)
	storagetest.Must(b, err)
	storagetest.Must(b, claims.CheckTimes(time.Now()))
	return claims
}

func BenchmarkClientCredentials(b *testing.B) {
	eachEngine(b, func(b *testing.B, s *servertest.Server) {
		c := s.Service("jobs")
		s.ServiceToken(c)
		b.Run("gatehouse", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				checkServed(b, s.OAuth.Token(w, post(clientCredentialsForm, c.ClientID, c.ClientSecret)), w)
			}
		})
		b.Run("bare", func(b *testing.B) {
			key, hash := newBareKey(b), credential.Hash(c.ClientSecret)
			b.ReportAllocs()
			for b.Loop() {
				w, r := httptest.NewRecorder(), post(clientCredentialsForm, c.ClientID, c.ClientSecret)
				bareSecret(b, r, hash)
				token, err := key.Sign(accesstoken.Type, bareClaims(time.Now()))
				storagetest.Must(b, err)
				writeTokens(b, w, map[string]any{"access_token": token})
			}
		})
	})
}

func BenchmarkIntrospection(b *testing.B) {
	eachEngine(b, func(b *testing.B, s *servertest.Server) {
		c := s.Service("jobs")
		form := url.Values{"token": {s.ServiceToken(c)}}
		b.Run("gatehouse", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				checkServed(b, s.OAuth.Introspect(w, post(form, c.ClientID, c.ClientSecret)), w)
			}
		})
		b.Run("bare", func(b *testing.B) {
			db := bareDB(b, s)
			key, hash := newBareKey(b), credential.Hash(c.ClientSecret)
			token, err := key.Sign(accesstoken.Type, bareClaims(time.Now()))
			storagetest.Must(b, err)
			form := url.Values{"token": {token}}
			query := `SELECT 1 FROM clients WHERE id = $1 AND epoch = $2 AND disabled_at IS NULL
				AND NOT EXISTS (SELECT 1 FROM revoked_tokens WHERE jti = $3)`
			b.ReportAllocs()
			for b.Loop() {
				w, r := httptest.NewRecorder(), post(form, c.ClientID, c.ClientSecret)
				bareSecret(b, r, hash)
				claims := bareVerify(b, r, key)
				var one int
				storagetest.Must(b, db.QueryRowContext(b.Context(), query, c.ClientID, 1, claims.JTI).Scan(&one))
				storagetest.Must(b, json.NewEncoder(w).Encode(map[string]any{
					"active": true, "client_id": claims.ClientID, "scope": claims.Scope, "exp": claims.ExpiresAt,
				}))
			}
		})
	})
}

func BenchmarkRefresh(b *testing.B) {
	eachEngine(b, func(b *testing.B, s *servertest.Server) {
		s.User("alice")
		c := s.App()
		token := s.Tokens(c, "alice").Text("refresh_token")
		b.Run("gatehouse", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
				checkServed(b, s.OAuth.Token(w, post(form, c.ClientID, c.ClientSecret)), w)
				var body struct {
					RefreshToken string `json:"refresh_token"`
				}
				storagetest.Must(b, json.Unmarshal(w.Body.Bytes(), &body))
				token = body.RefreshToken
			}
		})
		b.Run("bare", func(b *testing.B) { bareRefresh(b, s, c.ClientID, c.ClientSecret, token) })
	})
}

// bareRefresh rotates the refresh token of a grant, inserts an audit row, and signs an access token.
func bareRefresh(b *testing.B, s *servertest.Server, id, secret, token string) {
	b.Helper()
	db, key, hash := bareDB(b, s), newBareKey(b), credential.Hash(secret)
	form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	grant, previous := credential.GrantID(credential.Format{Env: "live"}.GrantName(token)), credential.Hash(token)
	update := `UPDATE grants SET previous_hash = current_hash, current_hash = $1, rotated_at = $2
				WHERE id = $3 AND current_hash = $4`
	b.ReportAllocs()
	for b.Loop() {
		w, r := httptest.NewRecorder(), post(form, id, secret)
		bareSecret(b, r, hash)
		next := credential.Format{Env: "live"}.NewRefreshToken(credential.NewGrantName(time.Now()))
		nextHash := credential.Hash(next)
		tx, err := db.BeginTx(b.Context(), nil)
		storagetest.Must(b, err)
		_, err = tx.ExecContext(b.Context(), update, nextHash, time.Now().UnixMilli(), grant, previous)
		storagetest.Must(b, err)
		_, err = tx.ExecContext(b.Context(), bareAudit, uuid.NewString(), time.Now().UnixMilli())
		storagetest.Must(b, err)
		storagetest.Must(b, tx.Commit())
		previous = nextHash
		signed, err := key.Sign(accesstoken.Type, bareClaims(time.Now()))
		storagetest.Must(b, err)
		writeTokens(b, w, map[string]any{"access_token": signed, "refresh_token": next})
	}
}

func BenchmarkRevocation(b *testing.B) {
	eachEngine(b, func(b *testing.B, s *servertest.Server) {
		c := s.Service("jobs")
		b.Run("gatehouse", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				form := url.Values{"token": {s.ServiceToken(c)}}
				b.StartTimer()
				w := httptest.NewRecorder()
				checkServed(b, s.OAuth.Revoke(w, post(form, c.ClientID, c.ClientSecret)), w)
			}
		})
		b.Run("bare", func(b *testing.B) {
			db := bareDB(b, s)
			key, hash := newBareKey(b), credential.Hash(c.ClientSecret)
			signed, err := key.Sign(accesstoken.Type, bareClaims(time.Now()))
			storagetest.Must(b, err)
			form := url.Values{"token": {signed}}
			insert := "INSERT INTO revoked_tokens (jti, revoked_at, expires_at) VALUES ($1, $2, $3)"
			b.ReportAllocs()
			for b.Loop() {
				r := post(form, c.ClientID, c.ClientSecret)
				bareSecret(b, r, hash)
				bareVerify(b, r, key)
				tx, err := db.BeginTx(b.Context(), nil)
				storagetest.Must(b, err)
				now := time.Now().UnixMilli()
				_, err = tx.ExecContext(b.Context(), insert, uuid.NewString(), now, now+900_000)
				storagetest.Must(b, err)
				_, err = tx.ExecContext(b.Context(), bareAudit, uuid.NewString(), time.Now().UnixMilli())
				storagetest.Must(b, err)
				storagetest.Must(b, tx.Commit())
			}
		})
	})
}

// bareDB returns a connection to the server's database that uses only the driver, with the same durability.
func bareDB(b *testing.B, s *servertest.Server) *sql.DB {
	b.Helper()
	driver, dsn := "pgx", s.DB
	if s.Store.Engine() == storage.SQLite {
		driver = "sqlite"
		dsn = "file:" + strings.TrimPrefix(s.DB, "sqlite:") +
			"?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
	}
	db, err := sql.Open(driver, dsn)
	storagetest.Must(b, err)
	db.SetMaxOpenConns(1)
	b.Cleanup(func() { storagetest.Must(b, db.Close()) })
	return db
}
