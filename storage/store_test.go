package storage_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// fixture is a store with a user and a client.
type fixture struct {
	*storage.Store

	clock  *storagetest.Clock
	ctx    context.Context // of the test, where a step has no other
	user   storage.User
	client *storage.Client
}

func newFixture(t testing.TB, url string) *fixture {
	t.Helper()
	clock := storagetest.NewClock()
	w := &fixture{Store: storagetest.Open(t, url, clock), clock: clock}
	now := clock.Now()
	w.user = storage.User{ID: uuid.NewString(), Username: "alice", UsernameKey: "alice", Email: "a@example.com", EmailKey: "a@example.com", Epoch: 1, CreatedAt: now, UpdatedAt: now}
	storagetest.Must(t, w.CreateUser(t.Context(), &w.user, "hash"))
	w.client = &storage.Client{
		ID: "gc1", Name: "App", AuthMethod: storage.AuthBasic, Contacts: storage.Strings{}, GrantTypes: storage.Strings{"authorization_code"}, RedirectURIs: storage.Strings{"https://a/cb"},
		Scopes: storage.Strings{"read"}, OptionalScopes: storage.Strings{}, Audience: storage.Strings{}, Epoch: 1, CreatedAt: now, UpdatedAt: now,
		Secrets: []storage.ClientSecret{{ID: "s1", ClientID: "gc1", Hash: make([]byte, 32), CreatedAt: now}},
	}
	storagetest.Must(t, w.CreateClient(t.Context(), w.client, nil))
	return w
}

// code stores a code with the given hash and returns the redemption that matches it.
func (w *fixture) code(t testing.TB, hash string) storage.Redemption {
	t.Helper()
	now := w.clock.Now()
	challenge := "the challenge"
	c := storage.AuthorizationCode{
		Hash: []byte(hash),
		GrantTerms: storage.GrantTerms{
			ClientID: w.client.ID, UserID: w.user.ID, ClientEpoch: 1, UserEpoch: 1,
			Scopes: storage.Strings{"read"}, Resources: storage.Strings{}, AMR: storage.Strings{"pwd"}, AuthTime: now,
		},
		RedirectURI: "https://a/cb", RedirectSent: true, Challenge: &challenge, CreatedAt: now, ExpiresAt: now.Add(time.Minute),
	}
	storagetest.Must(t, w.IssueCode(t.Context(), storage.Approval{Code: c, Allowed: storage.Strings{"#read"}, FromConsentPage: true}))
	uri := "https://a/cb"
	return storage.Redemption{
		Hash: []byte(hash), ClientID: w.client.ID, Challenge: challenge, RedirectURI: &uri, GrantID: "grant-" + hash, GrantExpiresAt: now.Add(time.Hour),
		RefreshHash: []byte("refresh 0"), RefreshExpiresAt: now.Add(time.Hour),
	}
}

// TestCodeNeedsConsentForEveryResource issues codes that rely on an earlier consent, which must cover each scope at
// each resource, in one statement or in a transaction.
func TestCodeNeedsConsentForEveryResource(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		w := newFixture(t, url)
		w.code(t, "the first code")
		issue := func(prompted bool, consentID string, words ...string) error {
			code, err := w.Code(t.Context(), []byte("the first code"))
			storagetest.Must(t, err)
			code.Hash = []byte(uuid.NewString())
			return w.IssueCode(t.Context(), storage.Approval{Code: code, Allowed: words, FromConsentPage: prompted, ConsentID: consentID})
		}
		storagetest.Must(t, issue(true, "", "https://a.example#read"))
		consent, err := w.Consent(t.Context(), w.user.ID, w.client.ID)
		storagetest.Must(t, err)
		if got := consent.ResourceScopes.String(); got != "https://a.example#read #read" {
			t.Errorf("the stored consent is %q", got)
		}
		for words, want := range map[string]error{
			"#read": nil, "https://a.example#read": nil, "#read https://a.example#read": nil, "https://b.example#read": storage.ErrConsentWithdrawn,
			"https://a.example#read https://b.example#read": storage.ErrConsentWithdrawn, "https://a.example#": storage.ErrConsentWithdrawn, "#write": storage.ErrConsentWithdrawn,
		} {
			if err := issue(false, consent.ID, strings.Fields(words)...); !errors.Is(err, want) {
				t.Errorf("%q: got %v, want %v", words, err, want)
			}
		}
	})
}

func TestCodeIsRedeemedOnce(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		w := newFixture(t, url)
		r := w.code(t, "a code")
		var won, replayed atomic.Int64
		storagetest.Concurrently(50, func(i int) {
			mine := r
			mine.GrantID += uuid.NewString()
			_, err := w.RedeemCode(t.Context(), mine)
			switch {
			case err == nil:
				won.Add(1)
			case errors.Is(err, storage.ErrConsumed):
				replayed.Add(1)
			default:
				t.Error(err)
			}
		})
		if won.Load() != 1 || replayed.Load() != 49 {
			t.Errorf("%d won, %d replays", won.Load(), replayed.Load())
		}
	})
}

func TestRefreshTokenRotatesOnce(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		w := newFixture(t, url)
		r := w.code(t, "a code")
		_, err := w.RedeemCode(t.Context(), r)
		storagetest.Must(t, err)
		var rotated, retried atomic.Int64
		rotation := storage.Rotation{GrantID: r.GrantID, ClientID: w.client.ID, Hash: []byte("refresh 0"), IdleTTL: time.Hour, Grace: 10 * time.Second}
		storagetest.Concurrently(50, func(i int) {
			mine := rotation
			mine.NextHash, mine.SealedSuccessor = []byte(uuid.NewString()), []byte("sealed")
			got, err := w.RotateRefreshToken(t.Context(), mine)
			switch {
			case err == nil && got.SealedSuccessor == nil:
				rotated.Add(1)
			case err == nil:
				retried.Add(1)
			default:
				t.Error(err)
			}
		})
		if rotated.Load() != 1 || retried.Load() != 49 {
			t.Errorf("%d rotated, %d retried", rotated.Load(), retried.Load())
		}
		w.clock.Advance(10 * time.Second)
		if _, err := w.RotateRefreshToken(t.Context(), rotation); !errors.Is(err, storage.ErrReused) {
			t.Errorf("after the window: %v", err)
		}
		g, err := w.Grant(t.Context(), r.GrantID)
		storagetest.Must(t, err)
		if g.RevokedAt == nil || g.RevokeReason == nil || *g.RevokeReason != "refresh_token_reused" {
			t.Errorf("the grant is %+v", g)
		}
	})
}

func TestLaggingClockIsWithinTheWindow(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		w := newFixture(t, url)
		r := w.code(t, "a code")
		_, err := w.RedeemCode(t.Context(), r)
		storagetest.Must(t, err)
		rotation := storage.Rotation{GrantID: r.GrantID, ClientID: w.client.ID, Hash: []byte("refresh 0"), NextHash: []byte("refresh 1"), SealedSuccessor: []byte("sealed"), IdleTTL: time.Hour, Grace: 10 * time.Second}
		_, err = w.RotateRefreshToken(t.Context(), rotation)
		storagetest.Must(t, err)
		w.clock.Advance(-3 * time.Minute) // the retry reaches a process whose clock is behind
		got, err := w.RotateRefreshToken(t.Context(), rotation)
		if err != nil || got.SealedSuccessor == nil {
			t.Errorf("%+v %v", got, err)
		}
	})
}

// TestChangesRecordTheirEvent covers the methods whose event type is fixed: each records it once, also for an upsert or
// a change that ends sessions.
func TestChangesRecordTheirEvent(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		w := newFixture(t, url)
		ctx, id, user, now := t.Context(), w.client.ID, w.user.ID, w.clock.Now()
		api := storage.Resource{Identifier: "https://api.example", CreatedAt: now}
		token := storage.RegistrationToken{ID: "t", Hash: []byte("h"), CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
		b := session(t, w.Store, w.clock, user, "a token")
		unchanged := func(*storage.User) error { return nil }
		for _, step := range []struct {
			event  string
			change func() error
		}{
			{audit.ScopeCreated, func() error { return w.CreateScope(ctx, storage.Scope{Name: "x", CreatedAt: now}) }},
			{audit.ScopeUpdated, func() error { return w.UpdateScope(ctx, "x", "X") }},
			{audit.ScopeDeleted, func() error { return w.DeleteScope(ctx, "x") }},
			{audit.ResourceCreated, func() error { return w.CreateResource(ctx, api) }},
			{audit.ResourceUpdated, func() error {
				return w.UpdateResource(ctx, api.Identifier, func(*storage.Resource) error { return nil })
			}},
			{audit.ResourceDeleted, func() error { return w.DeleteResource(ctx, api.Identifier) }},
			{audit.RegistrationTokenCreated, func() error { return w.CreateRegistrationToken(ctx, &token) }},
			{audit.RegistrationTokenDeleted, func() error { return w.DeleteRegistrationToken(ctx, token.ID) }},
			{audit.UserSignedIn, func() error { return w.RenewSession(ctx, &b) }},
			{audit.SessionEnded, func() error { return w.EndSession(ctx, user, b.ID) }},
			{audit.ClientTokensRevoked, func() error { return w.RevokeClientTokens(ctx, id) }},
			{audit.ClientDisabled, func() error { return w.DisableClient(ctx, id) }},
			{audit.ClientEnabled, func() error { return w.EnableClient(ctx, id) }},
			{audit.ClientDeleted, func() error { return w.DeleteClient(ctx, id) }},
			{audit.UserUpdated, func() error { _, err := w.UpdateUser(ctx, user, unchanged); return err }},
			{audit.UserPasswordSet, func() error { return w.SetPassword(ctx, user, "hash") }},
			{audit.UserTokensRevoked, func() error { return w.RevokeUserTokens(ctx, user) }},
			{audit.UserDisabled, func() error { return w.DisableUser(ctx, user) }},
			{audit.UserEnabled, func() error { return w.EnableUser(ctx, user) }},
			{audit.UserDeleted, func() error { return w.DeleteUser(ctx, user) }},
		} {
			before, err := w.Audit.CountRows(ctx, audit.Filter{})
			storagetest.Must(t, err)
			storagetest.Must(t, step.change())
			after, err := w.Audit.CountRows(ctx, audit.Filter{})
			storagetest.Must(t, err)
			rows, err := w.Audit.Rows(ctx, audit.Filter{Limit: 1})
			storagetest.Must(t, err)
			if after != before+1 || rows[0].Event != step.event {
				t.Errorf("%d rows were added, the last one %q, want one of %q", after-before, rows[0].Event, step.event)
			}
		}
	})
}

func TestChangeWithoutEventIsRefused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		w := newFixture(t, url)
		for name, err := range map[string]error{
			"record": w.Tx(t.Context(), func(tx *storage.Store) error {
				storagetest.Must(t, tx.CreateScope(t.Context(), storage.Scope{Name: "x", CreatedAt: w.clock.Now()}))
				return tx.Audit.Record(t.Context(), audit.Event{})
			}),
			"record later": w.Audit.RecordLater(t.Context(), audit.Event{}),
		} {
			if !errors.Is(err, audit.ErrNoEvent) {
				t.Errorf("%s: %v", name, err)
			}
		}
		known, err := w.Scopes(t.Context())
		storagetest.Must(t, err)
		if _, ok := known["x"]; ok {
			t.Error("the scope was made nevertheless")
		}
	})
}

func TestBatchedRecordsSurviveAClose(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		w := newFixture(t, url)
		const n = 1234
		for range n {
			storagetest.Must(t, w.Audit.RecordLater(t.Context(), storagetest.Event("issue")))
		}
		storagetest.Must(t, w.Close(t.Context()))
		events, err := storagetest.Open(t, url, w.clock).Audit.Rows(t.Context(), audit.Filter{Event: "test.issue", Limit: 10_000})
		storagetest.Must(t, err)
		if len(events) != n {
			t.Errorf("%d records, want %d", len(events), n)
		}
		if slices.ContainsFunc(events, func(e audit.Row) bool { return e.Seal == nil }) {
			t.Error("some are not sealed")
		}
	})
}

// TestLaterVersionMayAddColumns: a process that runs while the schema grows responds as before, on every connection.
func TestLaterVersionMayAddColumns(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		w := newFixture(t, url)
		everything := func() {
			t.Helper()
			ctx := t.Context()
			hash := uuid.NewString()
			redemption := w.code(t, hash)
			g, err := w.RedeemCode(ctx, redemption)
			storagetest.Must(t, err)
			for _, read := range []func() error{
				func() error { _, err := w.Clients(ctx, "", 10); return err },
				func() error { _, err := w.User(ctx, w.user.ID); return err },
				func() error { _, _, err := w.ActiveGrant(ctx, g.ID); return err },
				func() error { _, err := w.Consents(ctx, w.user.ID); return err },
				func() error {
					_, _, err := w.UserByToken(ctx, storage.TokenRef{JTI: "x", ClientID: w.client.ID, GrantID: g.ID})
					return err
				},
				func() error { _, err := w.SigningKeys(ctx); return err },
				func() error { _, err := w.Audit.Rows(ctx, audit.Filter{}); return err },
				func() error {
					return w.Tx(ctx, func(tx *storage.Store) error { _, err := tx.Client(ctx, w.client.ID); return err })
				},
				func() error { _, err := w.LeaseDeliveries(ctx, 1, time.Minute); return err },
			} {
				storagetest.Must(t, read())
			}
		}
		for range 8 { // every connection has its statements prepared
			everything()
		}
		storagetest.AddColumns(t, w.Store, url)
		for range 8 {
			everything()
		}
	})
}
