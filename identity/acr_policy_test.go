package identity_test

import (
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestStrongestACROfFactors compares what users can sign in with (GX49).
func TestStrongestACROfFactors(t *testing.T) {
	t.Parallel()
	for want, factors := range map[string][]storage.Factors{
		"":                       {{}, {TOTP: true}, {RecoveryCodes: 10}},
		identity.ACRPassword:     {{Password: true}, {Password: true, RecoveryCodes: 10}},
		identity.ACRSecondFactor: {{Password: true, TOTP: true}, {Password: true, SecurityKeys: 1}},
		identity.ACRPasskey: {
			{Passkeys: 1}, {Password: true, TOTP: true, Passkeys: 1, SecurityKeys: 1},
		},
		identity.ACRHardwarePasskey: {
			{Passkeys: 2, HardwarePasskeys: 1}, {Passkeys: 1, SecurityKeys: 1, HardwarePasskeys: 1},
		},
	} {
		for _, f := range factors {
			if got := identity.StrongestACR(f); got != want {
				t.Errorf("StrongestACR(%+v) = %q, want %q", f, got, want)
			}
		}
	}
}

// TestSensitiveActionsRequireRecentSignIn lets a user act within 10 minutes after a sign-in with the factor that the
// user has (PE17).
func TestSensitiveActionsRequireRecentSignIn(t *testing.T) {
	t.Parallel()
	clock := storagetest.NewClock()
	users := identity.New(storagetest.Open(t, storagetest.URL(t, storage.SQLite), clock), identity.Options{})
	password, both := storage.Factors{Password: true}, storage.Factors{Password: true, TOTP: true, RecoveryCodes: 10}
	passkey := storage.Factors{Passkeys: 1}
	for _, c := range []struct {
		name    string
		acr     string
		age     time.Duration
		factors storage.Factors
		want    string
		ok      bool
	}{
		{"a password", "1", 10 * time.Minute, password, "1", true},
		{"too long ago", "1", 10*time.Minute + time.Millisecond, password, "1", false},
		{"in the future", "2", -time.Minute, both, "2", false},
		{"without the second factor", "1", 0, both, "2", false},
		{"with the second factor", "2", time.Minute, both, "2", true},
		{"a passkey instead of it", "phr", time.Minute, both, "2", true},
		{"the second factor too long ago", "2", time.Hour, both, "2", false},
		{"an account without a password", "1", 0, passkey, "phr", false},
		{"an account without a password, passkey", "phr", 0, passkey, "phr", true},
		{"the password of an account with a passkey", "1", 0, storage.Factors{Password: true, Passkeys: 1}, "phr", false},
	} {
		user := &identity.SignedInUser{Session: storage.BrowserSession{ACR: c.acr, AuthTime: clock.Now().Add(-c.age)}}
		if acr, ok := users.RequireRecent(user, c.factors, identity.ACRPolicy{}); acr != c.want || ok != c.ok {
			t.Errorf("%s: RequireRecent = %q, %t, want %q, %t", c.name, acr, ok, c.want, c.ok)
		}
	}
	user := &identity.SignedInUser{Session: storage.BrowserSession{ACR: "2", AuthTime: clock.Now()}}
	policy, three := identity.ACRPolicy{Required: "phr"}, storage.Factors{Password: true, TOTP: true, Passkeys: 1}
	if acr, ok := users.RequireRecent(user, three, policy); acr != "phr" || ok {
		t.Errorf("with a passkey that the policy requires: RequireRecent = %q, %t, want phr, false", acr, ok)
	}
	if acr, ok := users.RequireRecent(user, both, policy); acr != "2" || !ok { // so that the user can add one
		t.Errorf("without a passkey that the policy requires: RequireRecent = %q, %t, want 2, true", acr, ok)
	}
}

// TestACRPolicyCombinesRequirements combines the requirements of groups and roles, and that of administrators (PE9,
// PE18).
func TestACRPolicyCombinesRequirements(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		clock := storagetest.NewClock()
		store := storagetest.Open(t, db, clock)
		ctx, soon, later := t.Context(), clock.Now().Add(time.Hour), clock.Now().Add(48*time.Hour)
		users := identity.New(store, identity.Options{
			PasswordMinLength: 8, AdminFactor: identity.AdminFactor{Announced: true, Since: &later},
		})
		u, err := users.Create(ctx, identity.NewUser{
			Username: "alice", Email: "alice@example.com", Password: "correct horse battery", Admin: true,
		})
		storagetest.Must(t, err)
		check := func(when string, want identity.ACRPolicy) {
			t.Helper()
			got, err := users.ACRPolicy(ctx, u)
			if err != nil || got.Required != want.Required || got.Announced != want.Announced || !got.Since.Equal(want.Since) {
				t.Errorf("%s: ACRPolicy = %+v, %v, want %+v", when, got, err, want)
			}
		}
		check("an administrator", identity.ACRPolicy{Announced: "2", Since: later})
		for name, r := range map[string]storage.SignInRequirement{
			"a": {RequiredACR: "phr", EnrolUntil: &soon}, "b": {RequiredACR: "2", EnrolUntil: &later}, "c": {},
		} {
			g := storage.Group{Name: name, SignInRequirement: r, CreatedAt: clock.Now()}
			storagetest.Must(t, store.CreateGroup(ctx, g))
			storagetest.Must(t, store.AddGroupMembers(ctx, name, []string{u.ID}))
		}
		check("in groups", identity.ACRPolicy{Announced: "phr", Since: soon})
		clock.Advance(time.Hour)
		check("after the first date", identity.ACRPolicy{Required: "phr", Announced: "2", Since: later})
		clock.Advance(47 * time.Hour)
		check("after both", identity.ACRPolicy{Required: "phr"})
		for _, name := range []string{"a", "b"} {
			storagetest.Must(t, store.RemoveGroupMembers(ctx, name, []string{u.ID}))
		}
		check("without the groups", identity.ACRPolicy{Required: "2"})
		last := clock.Now().Add(time.Hour)
		storagetest.Must(t, store.CreateResource(ctx, storage.Resource{Identifier: "https://api.example"}))
		storagetest.Must(t, store.CreateRole(ctx, storage.Role{
			Resource: "https://api.example", Name: "editor",
			SignInRequirement: storage.SignInRequirement{RequiredACR: "phr", EnrolUntil: &last},
		}))
		for name, to := range map[string]storage.Assignees{
			"with a role": {Users: []string{u.ID}}, "with a role of a group": {Groups: []string{"c"}},
		} {
			storagetest.Must(t, store.GrantRole(ctx, "https://api.example", "editor", to))
			check(name, identity.ACRPolicy{Required: "2", Announced: "phr", Since: last})
			storagetest.Must(t, store.RevokeRole(ctx, "https://api.example", "editor", to))
			check("without the role", identity.ACRPolicy{Required: "2"})
		}
	})
}
