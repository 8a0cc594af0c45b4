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
	f := &fixture{Store: storagetest.Open(t, url, clock), clock: clock}
	now := clock.Now()
	f.user = storage.User{
		ID: uuid.NewString(), Username: "alice", UsernameKey: "alice", Email: "a@example.com", EmailKey: "a@example.com",
		Epoch: 1, CreatedAt: now, UpdatedAt: now,
	}
	storagetest.Must(t, f.CreateUser(t.Context(), &f.user, "hash", nil))
	f.client = &storage.Client{
		ID: "gc1", Name: "App", AuthMethod: storage.AuthBasic, Contacts: storage.Strings{},
		GrantTypes: storage.Strings{"authorization_code"}, RedirectURIs: storage.Strings{"https://a/cb"},
		Scopes: storage.Strings{"read"}, OptionalScopes: storage.Strings{}, Audience: storage.Strings{},
		Epoch: 1, CreatedAt: now, UpdatedAt: now,
		Secrets: []storage.ClientSecret{{ID: "s1", ClientID: "gc1", Hash: make([]byte, 32), CreatedAt: now}},
	}
	storagetest.Must(t, f.CreateClient(t.Context(), f.client, nil))
	return f
}

// code stores a code with the given hash and returns the redemption that matches it.
func (f *fixture) code(t testing.TB, hash string) storage.Redemption {
	t.Helper()
	now := f.clock.Now()
	challenge := "the challenge"
	c := storage.AuthorizationCode{
		Hash: []byte(hash),
		GrantTerms: storage.GrantTerms{
			ClientID: f.client.ID, UserID: f.user.ID, ClientEpoch: 1, UserEpoch: 1,
			Scopes: storage.Strings{"read"}, Resources: storage.Strings{}, AMR: storage.Strings{"pwd"}, AuthTime: now,
		},
		RedirectURI: "https://a/cb", RedirectSent: true, Challenge: &challenge,
		CreatedAt: now, ExpiresAt: now.Add(time.Minute),
	}
	approval := storage.Approval{Code: c, Allowed: storage.Strings{"#read"}, FromConsentPage: true}
	storagetest.Must(t, f.IssueCode(t.Context(), approval))
	uri := "https://a/cb"
	return storage.Redemption{
		Hash: []byte(hash), ClientID: f.client.ID, Challenge: challenge, RedirectURI: &uri,
		GrantID: "grant-" + hash, GrantExpiresAt: now.Add(time.Hour),
		RefreshHash: []byte("refresh 0"), RefreshExpiresAt: now.Add(time.Hour),
	}
}

// grant redeems a code and returns the first rotation of the refresh token, without a successor.
func (f *fixture) grant(t testing.TB) storage.Rotation {
	t.Helper()
	r := f.code(t, "a code")
	_, err := f.RedeemCode(t.Context(), r)
	storagetest.Must(t, err)
	return storage.Rotation{
		GrantID: r.GrantID, ClientID: f.client.ID, Hash: r.RefreshHash, IdleTTL: time.Hour, Grace: 10 * time.Second,
	}
}

// TestCodeNeedsConsentForEveryResource issues codes that rely on an earlier consent, which must cover each scope at
// each resource, in one statement or in a transaction.
func TestCodeNeedsConsentForEveryResource(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.code(t, "the first code")
		issue := func(fromPage bool, consentID string, allowed ...string) error {
			code, err := f.Code(t.Context(), []byte("the first code"))
			storagetest.Must(t, err)
			code.Hash = []byte(uuid.NewString())
			return f.IssueCode(t.Context(), storage.Approval{
				Code: code, Allowed: allowed, FromConsentPage: fromPage, ConsentID: consentID,
			})
		}
		storagetest.Must(t, issue(true, "", "https://a.example#read"))
		consent, err := f.Consent(t.Context(), f.user.ID, f.client.ID)
		storagetest.Must(t, err)
		if got := consent.ResourceScopes.String(); got != "https://a.example#read #read" {
			t.Errorf("the stored consent has %q, want %q", got, "https://a.example#read #read")
		}
		for allowed, want := range map[string]error{
			"#read": nil, "https://a.example#read": nil, "#read https://a.example#read": nil,
			"https://b.example#read":                        storage.ErrConsentWithdrawn,
			"https://a.example#read https://b.example#read": storage.ErrConsentWithdrawn,
			"https://a.example#":                            storage.ErrConsentWithdrawn,
			"#write":                                        storage.ErrConsentWithdrawn,
		} {
			if err := issue(false, consent.ID, strings.Fields(allowed)...); !errors.Is(err, want) {
				t.Errorf("IssueCode for %q = %v, want %v", allowed, err, want)
			}
		}
	})
}

func TestCodeIsRedeemedOnce(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		r := f.code(t, "a code")
		var redeemed, replayed atomic.Int64
		storagetest.Concurrently(50, func(i int) {
			redemption := r
			redemption.GrantID += uuid.NewString()
			_, err := f.RedeemCode(t.Context(), redemption)
			switch {
			case err == nil:
				redeemed.Add(1)
			case errors.Is(err, storage.ErrConsumed):
				replayed.Add(1)
			default:
				t.Errorf("RedeemCode = %v, want no error or ErrConsumed", err)
			}
		})
		if redeemed.Load() != 1 || replayed.Load() != 49 {
			t.Errorf("%d redemptions succeeded and %d were replays, want 1 and 49", redeemed.Load(), replayed.Load())
		}
	})
}

func TestRefreshTokenRotatesOnce(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		rotation := f.grant(t)
		var rotated, retried atomic.Int64
		storagetest.Concurrently(50, func(i int) {
			r := rotation
			r.NextHash, r.SealedSuccessor = []byte(uuid.NewString()), []byte("sealed")
			got, err := f.RotateRefreshToken(t.Context(), r)
			switch {
			case err == nil && got.SealedSuccessor == nil:
				rotated.Add(1)
			case err == nil:
				retried.Add(1)
			default:
				t.Errorf("RotateRefreshToken = %v, want no error", err)
			}
		})
		if rotated.Load() != 1 || retried.Load() != 49 {
			t.Errorf("%d calls rotated the token and %d were retries, want 1 and 49", rotated.Load(), retried.Load())
		}
		f.clock.Advance(10 * time.Second)
		if _, err := f.RotateRefreshToken(t.Context(), rotation); !errors.Is(err, storage.ErrReused) {
			t.Errorf("RotateRefreshToken after the grace period = %v, want ErrReused", err)
		}
		g, err := f.Grant(t.Context(), rotation.GrantID)
		storagetest.Must(t, err)
		if g.RevokedAt == nil || g.RevokeReason == nil || *g.RevokeReason != "refresh_token_reused" {
			t.Errorf("the grant is %+v, want it revoked because of refresh_token_reused", g)
		}
	})
}

func TestRetryWithLaggingClockIsInGracePeriod(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		rotation := f.grant(t)
		rotation.NextHash, rotation.SealedSuccessor = []byte("refresh 1"), []byte("sealed")
		_, err := f.RotateRefreshToken(t.Context(), rotation)
		storagetest.Must(t, err)
		f.clock.Advance(-3 * time.Minute) // the retry reaches a process whose clock is behind
		got, err := f.RotateRefreshToken(t.Context(), rotation)
		if err != nil || got.SealedSuccessor == nil {
			t.Errorf("RotateRefreshToken of the retry = %+v, %v, want the sealed successor", got, err)
		}
	})
}

// unchanged is a change of a record that leaves it as it is.
func unchanged[T any](*T) error { return nil }

// TestChangesRecordTheirEvent covers the methods whose event type is fixed: each records it once, also for an upsert or
// a change that ends sessions.
func TestChangesRecordTheirEvent(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		ctx, id, user, now := t.Context(), f.client.ID, f.user.ID, f.clock.Now()
		api := storage.Resource{Identifier: "https://api.example", CreatedAt: now}
		role, holder := storage.Role{Resource: api.Identifier, Name: "r"}, storage.Assignees{Groups: []string{"g"}}
		token := storage.RegistrationToken{ID: "t", Hash: []byte("h"), CreatedAt: now, ExpiresAt: now.Add(time.Hour)}
		b := session(t, f.Store, f.clock, user, "a token")
		for _, step := range []struct {
			event  string
			change func() error
		}{
			{audit.ScopeCreated, func() error { return f.CreateScope(ctx, storage.Scope{Name: "x", CreatedAt: now}) }},
			{audit.ScopeUpdated, func() error { return f.UpdateScope(ctx, "x", "X") }},
			{audit.ScopeDeleted, func() error { return f.DeleteScope(ctx, "x") }},
			{audit.ResourceCreated, func() error { return f.CreateResource(ctx, api) }},
			{audit.ResourceUpdated, func() error { return f.UpdateResource(ctx, api.Identifier, unchanged[storage.Resource]) }},
			{audit.GroupCreated, func() error { return f.CreateGroup(ctx, storage.Group{Name: "g", CreatedAt: now}) }},
			{audit.GroupUpdated, func() error { return f.UpdateGroup(ctx, "g", func(*storage.Group) error { return nil }) }},
			{audit.EnrolmentPostponed, func() error { return f.PostponeEnrolment(ctx, user, b.ID) }},
			{audit.GroupMemberAdded, func() error { return f.AddGroupMembers(ctx, "g", []string{user}) }},
			{audit.RoleCreated, func() error { return f.CreateRole(ctx, role) }},
			{audit.RoleUpdated, func() error { return f.UpdateRole(ctx, role.Resource, "r", "R") }},
			{audit.RoleGranted, func() error { return f.GrantRole(ctx, role.Resource, "r", holder) }},
			{audit.RoleRevoked, func() error { return f.RevokeRole(ctx, role.Resource, "r", holder) }},
			{audit.RoleDeleted, func() error { return f.DeleteRole(ctx, role.Resource, "r") }},
			{audit.GroupMemberRemoved, func() error { return f.RemoveGroupMembers(ctx, "g", []string{user}) }},
			{audit.GroupDeleted, func() error { return f.DeleteGroup(ctx, "g") }},
			{audit.AttributeCreated, func() error { return f.CreateAttribute(ctx, storage.Attribute{Name: "a", Claim: "a"}) }},
			{audit.AttributeUpdated, func() error { return f.UpdateAttribute(ctx, "a", unchanged[storage.Attribute]) }},
			{audit.AttributeDeleted, func() error { return f.DeleteAttribute(ctx, "a") }},
			{audit.ResourceDeleted, func() error { return f.DeleteResource(ctx, api.Identifier) }},
			{audit.RegistrationTokenCreated, func() error { return f.CreateRegistrationToken(ctx, &token) }},
			{audit.RegistrationTokenDeleted, func() error { return f.DeleteRegistrationToken(ctx, token.ID) }},
			{audit.UserSignedIn, func() error { return f.RenewSession(ctx, &b) }},
			{audit.SessionEnded, func() error { return f.EndSession(ctx, user, b.ID) }},
			{audit.ClientTokensRevoked, func() error { return f.RevokeClientTokens(ctx, id) }},
			{audit.ClientDisabled, func() error { return f.DisableClient(ctx, id) }},
			{audit.ClientEnabled, func() error { return f.EnableClient(ctx, id) }},
			{audit.ClientDeleted, func() error { return f.DeleteClient(ctx, id) }},
			{audit.UserUpdated, func() error { _, err := f.UpdateUser(ctx, user, unchanged[storage.User]); return err }},
			{audit.UserPasswordSet, func() error { return f.SetPassword(ctx, user, "hash") }},
			{audit.UserTokensRevoked, func() error { return f.RevokeUserTokens(ctx, user) }},
			{audit.UserDisabled, func() error { return f.DisableUser(ctx, user) }},
			{audit.UserEnabled, func() error { return f.EnableUser(ctx, user) }},
			{audit.UserDeleted, func() error { return f.DeleteUser(ctx, user, 0) }},
		} {
			before, err := f.Audit.CountRows(ctx, audit.Filter{})
			storagetest.Must(t, errors.Join(err, step.change()))
			after, err := f.Audit.CountRows(ctx, audit.Filter{})
			storagetest.Must(t, err)
			rows, err := f.Audit.Rows(ctx, audit.Filter{Limit: 1})
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
		f := newFixture(t, url)
		for name, err := range map[string]error{
			"record": f.Tx(t.Context(), func(tx *storage.Store) error {
				storagetest.Must(t, tx.CreateScope(t.Context(), storage.Scope{Name: "x", CreatedAt: f.clock.Now()}))
				return tx.Audit.Record(t.Context(), audit.Event{})
			}),
			"record later": f.Audit.RecordLater(t.Context(), audit.Event{}),
		} {
			if !errors.Is(err, audit.ErrNoEvent) {
				t.Errorf("%s without an event type = %v, want ErrNoEvent", name, err)
			}
		}
		scopes, err := f.Scopes(t.Context())
		storagetest.Must(t, err)
		if _, ok := scopes["x"]; ok {
			t.Error("the scope was created although its transaction failed")
		}
	})
}

func TestCloseWritesQueuedAuditRows(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		const n = 1234
		for range n {
			storagetest.Must(t, f.Audit.RecordLater(t.Context(), storagetest.Event("issue")))
		}
		storagetest.Must(t, f.Close(t.Context()))
		reopened := storagetest.Open(t, url, f.clock)
		events, err := reopened.Audit.Rows(t.Context(), audit.Filter{Event: "test.issue", Limit: 10_000})
		storagetest.Must(t, err)
		if len(events) != n {
			t.Errorf("%d audit rows after Close, want %d", len(events), n)
		}
		if slices.ContainsFunc(events, func(e audit.Row) bool { return e.Seal == nil }) {
			t.Error("Close left rows without a seal")
		}
	})
}

// TestLaterVersionMayAddColumns checks that a process that runs while the schema grows responds as before, on every
// connection.
func TestLaterVersionMayAddColumns(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		everything := func() {
			t.Helper()
			ctx := t.Context()
			hash := uuid.NewString()
			redemption := f.code(t, hash)
			g, err := f.RedeemCode(ctx, redemption)
			storagetest.Must(t, err)
			for _, read := range []func() error{
				func() error { _, _, err := f.ClientPage(ctx, "", storage.Position{}, 10); return err },
				func() error { _, err := f.User(ctx, f.user.ID); return err },
				func() error { _, _, err := f.ActiveGrant(ctx, g.ID); return err },
				func() error { _, err := f.Consents(ctx, f.user.ID); return err },
				func() error {
					_, _, err := f.UserByToken(ctx, storage.TokenRef{JTI: "x", ClientID: f.client.ID, GrantID: g.ID})
					return err
				},
				func() error { _, err := f.SigningKeys(ctx); return err },
				func() error { _, err := f.Audit.Rows(ctx, audit.Filter{}); return err },
				func() error {
					return f.Tx(ctx, func(tx *storage.Store) error { _, err := tx.Client(ctx, f.client.ID); return err })
				},
				func() error { _, err := f.LeaseDeliveries(ctx, false, 1, time.Minute); return err },
			} {
				storagetest.Must(t, read())
			}
		}
		for range 8 { // every connection has its statements prepared
			everything()
		}
		storagetest.AddColumns(t, f.Store, url)
		for range 8 {
			everything()
		}
	})
}
