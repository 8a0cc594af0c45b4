package oauth_test

import (
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// BenchmarkCleanUp measures the 99th percentile of refreshes, by four concurrent clients, before and while a million
// expired rows are deleted. It runs once: -benchtime 1x.
func BenchmarkCleanUp(b *testing.B) {
	eachEngine(b, func(b *testing.B, s *servertest.Server) {
		s.User("alice")
		c := s.App()
		tokens := make([]string, 4)
		for i := range tokens {
			tokens[i] = s.Tokens(c, "alice").Text("refresh_token")
		}
		for range b.N {
			inserted := insertExpired(b, s)
			began := time.Now()
			before := refreshP99(b, s, c, tokens, func() bool { return time.Since(began) > 5*time.Second })
			var deleted atomic.Int64
			began = time.Now()
			go func() {
				n, err := s.Store.DeleteExpired(b.Context(), storagetest.UnusedClientTTL)
				if err != nil {
					b.Error(err)
				}
				deleted.Store(max(n, 1))
			}()
			cleaning := refreshP99(b, s, c, tokens, func() bool { return deleted.Load() > 0 })
			if deleted.Load() < inserted {
				b.Errorf("%d expired rows were deleted, want at least %d", deleted.Load(), inserted)
			}
			b.ReportMetric(float64(before.Microseconds()), "before-p99-µs")
			b.ReportMetric(float64(cleaning.Microseconds()), "cleaning-p99-µs")
			b.ReportMetric(float64(cleaning)/float64(before), "times")
			b.ReportMetric(float64(deleted.Load())/time.Since(began).Seconds(), "rows/s")
		}
	})
}

// refreshP99 refreshes each of the tokens repeatedly and concurrently until done reports true, replaces it by its last
// successor, and returns the 99th percentile of the durations.
func refreshP99(
	b *testing.B, s *servertest.Server, c clientInformation, tokens []string, done func() bool,
) time.Duration {
	b.Helper()
	var mu sync.Mutex
	var all []time.Duration
	storagetest.Concurrently(len(tokens), func(i int) {
		var durations []time.Duration
		for !done() {
			form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {tokens[i]}}
			w, r := httptest.NewRecorder(), post(form, c.ClientID, c.ClientSecret)
			began := time.Now()
			err := s.OAuth.Token(w, r)
			durations = append(durations, time.Since(began))
			var body struct {
				RefreshToken string `json:"refresh_token"`
			}
			if err != nil || json.Unmarshal(w.Body.Bytes(), &body) != nil {
				b.Errorf("refresh: got %v, %d %s, want a token response", err, w.Code, w.Body)
				return
			}
			tokens[i] = body.RefreshToken
		}
		mu.Lock()
		defer mu.Unlock()
		all = append(all, durations...)
	})
	slices.Sort(all)
	return all[len(all)*99/100]
}

// insertExpired inserts a million expired rows into four tables, and returns their number.
func insertExpired(b *testing.B, s *servertest.Server) int64 {
	b.Helper()
	series := "SELECT n FROM generate_series(1, 250000) AS n"
	blob := "'old'::bytea"
	if s.Store.Engine() == storage.SQLite {
		series = `WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 250000)
			SELECT n FROM numbers`
		blob = "CAST('old' AS BLOB)"
	}
	storagetest.Exec(b, s.Store, s.DB,
		`INSERT INTO revoked_tokens (jti, revoked_at, expires_at)
			SELECT 'old' || n, 1, 1 FROM (`+series+`) AS x`,
		`INSERT INTO authorization_requests
			(id, client_id, client_epoch, parameters, hint_subject, session_id, created_at, expires_at)
			SELECT 'old' || n, 'gc', 1, 'response_type=code&state=abcdef', '', '', 1, 1 FROM (`+series+`) AS x`,
		`INSERT INTO used_once (kind, scope_hash, id_hash, expires_at)
			SELECT 'old' || n, `+blob+`, `+blob+`, 1 FROM (`+series+`) AS x`,
		`INSERT INTO grants (id, consent_id, client_id, user_id, client_epoch, user_epoch, scopes, resources, claims,
			session_id, offline, auth_time, acr, amr, created_at, expires_at)
			SELECT 'old' || n, 'c', 'gc', 'u', 1, 1, 'read write', '', '', 's', true, 1, '', 'pwd', 1, 1
			FROM (`+series+`) AS x`)
	return 1_000_000
}
