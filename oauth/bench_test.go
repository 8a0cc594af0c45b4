package oauth_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"database/sql"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/credential"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// The benchmarks measure a handler without the network, next to a bare one that does only the unavoidable work: parse
// the form, compare a SHA-256 secret, sign or verify ES256, or run the one SQL statement. `make bench` puts both and
// their ratio into docs/performance.md.

// wideLimits are on, and wide enough for a clock that stands still.
const wideLimits = "authorize=1000000/1s,token_address=1000000/1s,token_client=1000000/1s,token_person=1000000/1s,introspection=1000000/1s,revocation=1000000/1s"

func eachEngine(b *testing.B, fn func(b *testing.B, s *servertest.Server)) {
	b.Helper()
	for _, engine := range storagetest.Engines(b) {
		b.Run(engine, func(b *testing.B) {
			clock := storagetest.NewClock()
			s := servertest.Start(b, storagetest.URL(b, engine), servertest.Options{Clock: clock, Env: map[string]string{"GATEHOUSE_RATE_LIMITS": wideLimits}})
			storagetest.Eventually(b, "the caches are in use", func() bool {
				_, fresh := s.Store.CacheGeneration()
				return fresh
			})
			fn(b, s)
		})
	}
}

// post makes a request for a handler.
func post(form url.Values, id, secret string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(form.Encode()))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if secret != "" {
		r.SetBasicAuth(id, secret)
	}
	return r
}

func mustServe(b *testing.B, err error, w *httptest.ResponseRecorder) {
	b.Helper()
	if err != nil || w.Code != http.StatusOK {
		b.Fatalf("%v %d %s", err, w.Code, w.Body)
	}
}

// bareSecret is the client check of a bare handler.
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
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	storagetest.Must(b, err)
	key, err := accesstoken.NewKey("bare", private)
	storagetest.Must(b, err)
	return key
}

func bareClaims(now time.Time) *accesstoken.Claims {
	return &accesstoken.Claims{
		Issuer: "https://id.example", Subject: "gcAAAAAAAAAAAAAAAAAAAA", Audience: []string{"https://id.example"}, ClientID: "gcAAAAAAAAAAAAAAAAAAAA",
		Scope: "jobs", JTI: uuid.NewString(), IssuedAt: now.Unix(), ExpiresAt: now.Unix() + 900, ClientEpoch: 1,
	}
}

func BenchmarkClientCredentials(b *testing.B) {
	eachEngine(b, func(b *testing.B, s *servertest.Server) {
		c := s.Service("jobs")
		s.ServiceToken(c)
		b.Run("gatehouse", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				w := httptest.NewRecorder()
				mustServe(b, s.OAuth.Token(w, post(clientCredentialsForm, c.ClientID, c.ClientSecret)), w)
			}
		})
		b.Run("bare", func(b *testing.B) {
			key, hash := newBareKey(b), credential.Hash(c.ClientSecret)
			b.ReportAllocs()
			for b.Loop() {
				w, r := httptest.NewRecorder(), post(clientCredentialsForm, c.ClientID, c.ClientSecret)
				bareSecret(b, r, hash)
				token, err := key.Sign(bareClaims(time.Now()))
				storagetest.Must(b, err)
				storagetest.Must(b, json.NewEncoder(w).Encode(map[string]any{"access_token": token, "token_type": "Bearer", "expires_in": 900}))
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
				mustServe(b, s.OAuth.Introspect(w, post(form, c.ClientID, c.ClientSecret)), w)
			}
		})
		b.Run("bare", func(b *testing.B) {
			db := bareDB(b, s)
			key, hash := newBareKey(b), credential.Hash(c.ClientSecret)
			token, err := key.Sign(bareClaims(time.Now()))
			storagetest.Must(b, err)
			form := url.Values{"token": {token}}
			query := "SELECT 1 FROM clients WHERE id = $1 AND epoch = $2 AND disabled_at IS NULL AND NOT EXISTS (SELECT 1 FROM revoked_tokens WHERE jti = $3)"
			b.ReportAllocs()
			for b.Loop() {
				w, r := httptest.NewRecorder(), post(form, c.ClientID, c.ClientSecret)
				bareSecret(b, r, hash)
				claims, err := accesstoken.Parse(r.PostForm.Get("token"), "https://id.example", func(string) *accesstoken.Key { return key })
				storagetest.Must(b, err)
				storagetest.Must(b, claims.CheckTimes(time.Now()))
				var one int
				storagetest.Must(b, db.QueryRowContext(b.Context(), query, c.ClientID, 1, claims.JTI).Scan(&one))
				storagetest.Must(b, json.NewEncoder(w).Encode(map[string]any{"active": true, "client_id": claims.ClientID, "scope": claims.Scope, "exp": claims.ExpiresAt}))
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
				mustServe(b, s.OAuth.Token(w, post(form, c.ClientID, c.ClientSecret)), w)
				var body struct {
					RefreshToken string `json:"refresh_token"`
				}
				storagetest.Must(b, json.Unmarshal(w.Body.Bytes(), &body))
				token = body.RefreshToken
			}
		})
		b.Run("bare", func(b *testing.B) {
			db := bareDB(b, s)
			key, hash := newBareKey(b), credential.Hash(c.ClientSecret)
			form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
			id, previous := credential.GrantID(credential.Format{Env: "live"}.GrantName(token)), credential.Hash(token)
			update := "UPDATE grants SET previous_hash = current_hash, current_hash = $1, rotated_at = $2 WHERE id = $3 AND current_hash = $4"
			insert := "INSERT INTO audit_events (id, at, event, actor, client_id, user_id, grant_id, scopes, token, detail, request_id) VALUES ($1, $2, 'bare', '', '', '', '', '', '', '', '')"
			b.ReportAllocs()
			for b.Loop() {
				w, r := httptest.NewRecorder(), post(form, c.ClientID, c.ClientSecret)
				bareSecret(b, r, hash)
				next := credential.Format{Env: "live"}.NewRefreshToken(credential.NewGrantName(time.Now()))
				nextHash := credential.Hash(next)
				tx, err := db.BeginTx(b.Context(), nil)
				storagetest.Must(b, err)
				_, err = tx.ExecContext(b.Context(), update, nextHash, time.Now().UnixMilli(), id, previous)
				storagetest.Must(b, err)
				_, err = tx.ExecContext(b.Context(), insert, uuid.NewString(), time.Now().UnixMilli())
				storagetest.Must(b, err)
				storagetest.Must(b, tx.Commit())
				previous = nextHash
				signed, err := key.Sign(bareClaims(time.Now()))
				storagetest.Must(b, err)
				storagetest.Must(b, json.NewEncoder(w).Encode(map[string]any{"access_token": signed, "refresh_token": next, "token_type": "Bearer", "expires_in": 900}))
			}
		})
	})
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
				mustServe(b, s.OAuth.Revoke(w, post(form, c.ClientID, c.ClientSecret)), w)
			}
		})
		b.Run("bare", func(b *testing.B) {
			db := bareDB(b, s)
			key, hash := newBareKey(b), credential.Hash(c.ClientSecret)
			signed, err := key.Sign(bareClaims(time.Now()))
			storagetest.Must(b, err)
			form := url.Values{"token": {signed}}
			insert := "INSERT INTO revoked_tokens (jti, revoked_at, expires_at) VALUES ($1, $2, $3)"
			record := "INSERT INTO audit_events (id, at, event, actor, client_id, user_id, grant_id, scopes, token, detail, request_id) VALUES ($1, $2, 'bare', '', '', '', '', '', '', '', '')"
			b.ReportAllocs()
			for b.Loop() {
				r := post(form, c.ClientID, c.ClientSecret)
				bareSecret(b, r, hash)
				claims, err := accesstoken.Parse(r.PostForm.Get("token"), "https://id.example", func(string) *accesstoken.Key { return key })
				storagetest.Must(b, err)
				storagetest.Must(b, claims.CheckTimes(time.Now()))
				tx, err := db.BeginTx(b.Context(), nil)
				storagetest.Must(b, err)
				_, err = tx.ExecContext(b.Context(), insert, uuid.NewString(), time.Now().UnixMilli(), time.Now().UnixMilli()+900_000)
				storagetest.Must(b, err)
				_, err = tx.ExecContext(b.Context(), record, uuid.NewString(), time.Now().UnixMilli())
				storagetest.Must(b, err)
				storagetest.Must(b, tx.Commit())
			}
		})
	})
}

// bareDB is a connection to the server's database by the driver alone, with the same durability.
func bareDB(b *testing.B, s *servertest.Server) *sql.DB {
	b.Helper()
	driver, dsn := "pgx", s.DB
	if s.Store.Engine() == storage.SQLite {
		driver = "sqlite"
		dsn = "file:" + strings.TrimPrefix(s.DB, "sqlite:") + "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)"
	}
	db, err := sql.Open(driver, dsn)
	storagetest.Must(b, err)
	db.SetMaxOpenConns(1)
	b.Cleanup(func() { storagetest.Must(b, db.Close()) })
	return db
}

// BenchmarkCleanUp measures the 99th percentile of refreshes, by four concurrent clients, before and while a million
// expired rows are deleted. It runs once: -benchtime 1x.
func BenchmarkCleanUp(b *testing.B) {
	eachEngine(b, func(b *testing.B, s *servertest.Server) {
		s.User("alice")
		c := s.App()
		refresh := make([]string, 4)
		for i := range refresh {
			refresh[i] = s.Tokens(c, "alice").Text("refresh_token")
		}
		measure := func(until func() bool) (p99 time.Duration) {
			var mu sync.Mutex
			var took []time.Duration
			storagetest.Concurrently(len(refresh), func(i int) {
				var mine []time.Duration
				for !until() {
					w := httptest.NewRecorder()
					r := post(url.Values{"grant_type": {"refresh_token"}, "refresh_token": {refresh[i]}}, c.ClientID, c.ClientSecret)
					began := time.Now()
					err := s.OAuth.Token(w, r)
					mine = append(mine, time.Since(began))
					var body struct {
						RefreshToken string `json:"refresh_token"`
					}
					if err != nil || json.Unmarshal(w.Body.Bytes(), &body) != nil {
						b.Errorf("%v %d %s", err, w.Code, w.Body)
						return
					}
					refresh[i] = body.RefreshToken
				}
				mu.Lock()
				defer mu.Unlock()
				took = append(took, mine...)
			})
			slices.Sort(took)
			return took[len(took)*99/100]
		}
		const rows = 1_000_000
		for range b.N {
			series := "SELECT n FROM generate_series(1, 250000) AS n"
			if s.Store.Engine() == storage.SQLite {
				series = "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 250000) SELECT n FROM numbers"
			}
			storagetest.Exec(b, s.Store, s.DB,
				"INSERT INTO revoked_tokens (jti, revoked_at, expires_at) SELECT 'old' || n, 1, 1 FROM ("+series+") AS x",
				"INSERT INTO authorization_requests (id, client_id, client_epoch, parameters, hint_subject, session_id, created_at, expires_at) SELECT 'old' || n, 'gc', 1, 'response_type=code&state=abcdef', '', '', 1, 1 FROM ("+series+") AS x",
				"INSERT INTO used_assertions (client_id, jti_hash, expires_at) SELECT 'old' || n, "+blob(s)+", 1 FROM ("+series+") AS x",
				`INSERT INTO grants (id, consent_id, client_id, user_id, client_epoch, user_epoch, scopes, resources, claims, session_id, offline, auth_time, acr, amr, created_at, expires_at)
					SELECT 'old' || n, 'c', 'gc', 'u', 1, 1, 'read write', '', '', 's', true, 1, '', 'pwd', 1, 1 FROM (`+series+`) AS x`)
			began := time.Now()
			before := measure(func() bool { return time.Since(began) > 5*time.Second })
			var deleted atomic.Int64
			began = time.Now()
			go func() {
				n, err := s.Store.DeleteExpired(b.Context())
				if err != nil {
					b.Error(err)
				}
				deleted.Store(max(n, 1))
			}()
			cleaning := measure(func() bool { return deleted.Load() > 0 })
			if deleted.Load() < rows {
				b.Errorf("%d of %d rows are gone", deleted.Load(), rows)
			}
			b.ReportMetric(float64(before.Microseconds()), "before-p99-µs")
			b.ReportMetric(float64(cleaning.Microseconds()), "cleaning-p99-µs")
			b.ReportMetric(float64(cleaning)/float64(before), "times")
			b.ReportMetric(float64(deleted.Load())/time.Since(began).Seconds(), "rows/s")
		}
	})
}

func blob(s *servertest.Server) string {
	if s.Store.Engine() == storage.SQLite {
		return "CAST('old' AS BLOB)"
	}
	return "'old'::bytea"
}
