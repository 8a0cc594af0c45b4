package identity_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/identity"
	"gatehouse/identity/passkey"
	"gatehouse/identity/passkey/passkeytest"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
	"gatehouse/storage/storagetest"
)

const origin = "https://id.example.com"

// model1Password is the AAGUID of 1Password.
var model1Password = uuid.MustParse("bada5566-a7aa-401f-bd96-45619a55120d")

// passkeyUsers is a store with a user who is signed in, and the settings of passkeys.
type passkeyUsers struct {
	*identity.Users

	store    *storage.Store
	clock    *storagetest.Clock
	signedIn *identity.SignedInUser
}

func newPasskeyUsers(t *testing.T, db string, change func(o *passkey.Options)) *passkeyUsers {
	t.Helper()
	clock := storagetest.NewClock()
	s := storagetest.Open(t, db, clock)
	issuer, err := url.Parse(origin)
	storagetest.Must(t, err)
	o := passkey.Options{Issuer: issuer, Name: "Gatehouse", Key: s.Vault.Key("passkey"), Now: s.Now}
	if change != nil {
		change(&o)
	}
	rp, err := passkey.New(o)
	storagetest.Must(t, err)
	p := identity.New(s, identity.Options{
		SessionIdleTTL: time.Hour, SessionMaxTTL: 24 * time.Hour, PasswordMinLength: 10, Concurrency: 1,
		FactorKey: s.Vault.Key("factor"), Passkeys: rp,
	})
	alice := user(t, p, "alice")
	return &passkeyUsers{p, s, clock, browser{}.start(t, p, alice)}
}

// add creates a passkey.
func (p *passkeyUsers) add(t *testing.T, a *passkeytest.Authenticator, name string) error {
	t.Helper()
	options, _, err := p.PasskeyCreation(t.Context(), p.signedIn)
	storagetest.Must(t, err)
	return p.AddPasskey(t.Context(), p.signedIn, name, a.Create(options))
}

// signIn uses a passkey in a browser.
func (p *passkeyUsers) signIn(ctx context.Context, browser string, response []byte) (identity.Authentication, error) {
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	_, how, err := p.SignInWithPasskey(ctx, []byte(browser), p.Device(r), response)
	return how, err
}

// TestPasskeyIsCreatedAndSignsIn creates passkeys and signs in with them (PE1, PE2, PE4, PE5, PE8).
func TestPasskeyIsCreatedAndSignsIn(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		p := newPasskeyUsers(t, db, nil)
		synced, hardware := passkeytest.New(t, origin, "id.example.com"), passkeytest.New(t, origin, "id.example.com")
		synced.Synced = true
		synced.AAGUID = model1Password
		hardware.Counter = 1
		storagetest.Must(t, p.add(t, synced, ""))
		p.clock.Advance(time.Second)
		storagetest.Must(t, p.add(t, hardware, "  My key "))
		list, err := p.Passkeys(t.Context(), p.signedIn.User.ID)
		if err != nil || len(list) != 2 || list[0].Name != "1Password" || !list[0].BackupEligible || !list[0].BackedUp ||
			list[1].Name != "My key" || list[1].BackupEligible || list[1].LastUsedAt != nil ||
			identity.PasskeyProvider(list[0]) != "1Password" {
			t.Errorf("the passkeys are %+v, %v, want two", list, err)
		}
		creation, _, err := p.PasskeyCreation(t.Context(), p.signedIn)
		storagetest.Must(t, err)
		o := passkeytest.ParseOptions(t, creation)
		if len(o.ExcludeCredentials) != 2 || len(o.User.ID) != 43 || strings.Contains(creation, p.signedIn.User.ID) ||
			!strings.Contains(creation, `"residentKey":"required"`) ||
			!strings.Contains(creation, `"userVerification":"required"`) {
			t.Errorf("creation options %s, want a random handle, required UV and both passkeys excluded", creation)
		}
		request := p.PasskeyRequest([]byte("browser"))
		if o := passkeytest.ParseOptions(t, request); len(o.AllowCredentials) != 0 || o.RPID != "id.example.com" {
			t.Errorf("request options %s, want no list of passkeys", request)
		}
		for _, c := range []struct {
			a    *passkeytest.Authenticator
			want identity.Authentication
		}{
			{synced, identity.Authentication{ACR: "phr", AMR: []string{"swk", "user", "mfa"}}},
			{hardware, identity.Authentication{ACR: "phrh", AMR: []string{"hwk", "user", "mfa"}}},
		} {
			c.a.Counter++
			if c.a.Synced {
				c.a.Counter = 0
			}
			how, err := p.signIn(t.Context(), "browser", c.a.Get(p.PasskeyRequest([]byte("browser"))))
			if err != nil || how.ACR != c.want.ACR || !slices.Equal(how.AMR, c.want.AMR) {
				t.Errorf("SignInWithPasskey = %+v, %v, want %+v", how, err, c.want)
			}
		}
		list, err = p.Passkeys(t.Context(), p.signedIn.User.ID)
		if err != nil || list[1].SignCount != 2 || list[1].LastUsedAt == nil {
			t.Errorf("the passkey after its use is %+v, %v, want the counter 2", list[1], err)
		}
		p.wantTwoStatements(t, synced)
		p.wantCounterLogged(t, hardware)
	})
}

// wantTwoStatements signs in with a passkey, which queries the database twice: on PostgreSQL, each statement is a round
// trip; the embedded database has none.
func (p *passkeyUsers) wantTwoStatements(t *testing.T, a *passkeytest.Authenticator) {
	t.Helper()
	ctx := reqevent.NewContext(t.Context(), &reqevent.Event{RequestID: "a request"})
	response := a.Get(p.PasskeyRequest([]byte("browser")))
	before := p.store.Stats().Database.Statements
	_, err := p.signIn(ctx, "browser", response)
	if n := p.store.Stats().Database.Statements - before; err != nil || p.store.Engine() == storage.Postgres && n != 2 {
		t.Errorf("a sign-in with a passkey: %d statements, %v, want 2", n, err)
	}
}

// wantCounterLogged uses a passkey whose counter does not increase (PE4): it is logged and accepted.
func (p *passkeyUsers) wantCounterLogged(t *testing.T, a *passkeytest.Authenticator) {
	t.Helper()
	a.Counter = 1
	_, err := p.signIn(t.Context(), "browser", a.Get(p.PasskeyRequest([]byte("browser"))))
	rows, countErr := p.store.Audit.CountRows(t.Context(), audit.Filter{Event: audit.PasskeyCounterInvalid})
	if err != nil || countErr != nil || rows != 1 {
		t.Errorf("a counter that decreased: %v with %d rows, %v, want no error and 1 row", err, rows, countErr)
	}
}

// TestPasskeyFailuresLookTheSame changes one thing at a time in a valid sign-in (PE3): each is refused as the others,
// and each counts until the subnet must wait.
func TestPasskeyFailuresLookTheSame(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		p := newPasskeyUsers(t, db, nil)
		a := passkeytest.New(t, origin, "id.example.com")
		storagetest.Must(t, p.add(t, a, ""))
		ctx := reqevent.NewContext(t.Context(), &reqevent.Event{Address: "192.0.2.1"})
		request := func() string { return p.PasskeyRequest([]byte("browser")) }
		changed := func(change func(a *passkeytest.Authenticator)) []byte {
			other := *a
			change(&other)
			return other.Get(request())
		}
		used := a.Get(request())
		_, err := p.signIn(ctx, "browser", used)
		storagetest.Must(t, err)
		expired := a.Get(request())
		p.clock.Advance(5 * time.Minute)
		creation, _, err := p.PasskeyCreation(ctx, p.signedIn)
		storagetest.Must(t, err)
		valid := a.Get(request())
		unknown := passkeytest.New(t, origin, "id.example.com")
		unknown.SetHandle(make([]byte, 32))
		failures := map[string][]byte{
			"replayed": used, "expired": expired, "no JSON": []byte("x"), "of another kind": a.Get(creation),
			"another browser":    a.Get(p.PasskeyRequest([]byte("another"))),
			"another challenge":  a.Get(`{"challenge":"` + strings.Repeat("A", 75) + `"}`),
			"unknown credential": unknown.Get(request()),
			"altered":            bytes.Replace(valid, []byte(`"signature":"M`), []byte(`"signature":"N`), 1),
			"another origin":     changed(func(a *passkeytest.Authenticator) { a.Origin = "https://evil.test" }),
			"a long origin":      changed(func(a *passkeytest.Authenticator) { a.Origin = strings.Repeat("ü", 5000) }),
			"another RP ID":      changed(func(a *passkeytest.Authenticator) { a.RPID = "example.com" }),
			"no UV":              changed(func(a *passkeytest.Authenticator) { a.NoUV = true }),
			"another handle":     changed(func(a *passkeytest.Authenticator) { a.SetHandle(make([]byte, 32)) }),
			"another BE":         changed(func(a *passkeytest.Authenticator) { a.Synced = true }),
		}
		for why, response := range failures {
			var failed *identity.PasskeyError
			if _, err := p.signIn(ctx, "browser", response); !errors.As(err, &failed) ||
				!errors.Is(err, identity.ErrInvalidCredentials) || failed.Unknown != (why == "unknown credential") {
				t.Errorf("%s: %v, want a *PasskeyError", why, err)
			}
		}
		storagetest.Must(t, p.store.DisableUser(ctx, p.signedIn.User.ID))
		if _, err := p.signIn(ctx, "browser", a.Get(request())); !errors.Is(err, identity.ErrInvalidCredentials) {
			t.Errorf("a disabled user: %v, want ErrInvalidCredentials", err)
		}
		storagetest.Must(t, p.store.EnableUser(ctx, p.signedIn.User.ID))
		rows, err := p.store.Audit.CountRows(ctx, audit.Filter{Event: audit.UserSignInFailed})
		if err != nil || rows != int64(len(failures)+1) {
			t.Errorf("%d failed sign-ins are in the audit log, %v, want %d", rows, err, len(failures)+1)
		}
		p.wantShortReasons(t)
		p.wantWait(ctx, t, a, 20-len(failures)-1)
	})
}

// wantShortReasons fails the test if what a browser sent makes a row of the audit log long.
func (p *passkeyUsers) wantShortReasons(t *testing.T) {
	t.Helper()
	rows, err := p.store.Audit.Rows(t.Context(), audit.Filter{Event: audit.UserSignInFailed, Limit: 100})
	storagetest.Must(t, err)
	for _, row := range rows {
		if len(row.Detail) > 500 {
			t.Errorf("the reason of a failure has %d bytes, want at most 500: %s", len(row.Detail), row.Detail)
		}
	}
}

// wantWait fails the test unless a valid passkey must wait after n more failures.
func (p *passkeyUsers) wantWait(ctx context.Context, t *testing.T, a *passkeytest.Authenticator, n int) {
	t.Helper()
	for range n {
		_, _ = p.signIn(ctx, "browser", []byte("x"))
	}
	var throttled *identity.ThrottledError
	if _, err := p.signIn(ctx, "browser", a.Get(p.PasskeyRequest([]byte("browser")))); !errors.As(err, &throttled) {
		t.Errorf("a valid passkey after 20 failures: %v, want a wait", err)
	}
	p.clock.Advance(time.Minute)
	if _, err := p.signIn(ctx, "browser", a.Get(p.PasskeyRequest([]byte("browser")))); err != nil {
		t.Errorf("a valid passkey after the wait: %v, want no error", err)
	}
}

// TestPasskeySettingsRestrictOriginsAndModels has an RP ID that is a parent domain, related origins, allowed models and
// a counter that must increase (PE1, PE4, PE7, PE9).
func TestPasskeySettingsRestrictOriginsAndModels(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		p := newPasskeyUsers(t, db, func(o *passkey.Options) {
			o.RPID, o.RelatedOrigins = "example.com", []string{"https://id.example.net"}
			o.AllowedAAGUIDs, o.RefuseCounter = []string{model1Password.String()}, true
		})
		want := `{"origins":["https://id.example.com","https://id.example.net"]}`
		if got := p.PasskeyWellKnown(); string(got) != want {
			t.Errorf("PasskeyWellKnown = %s, want %s", got, want)
		}
		a := passkeytest.New(t, "https://id.example.net", "example.com")
		a.Counter = 5
		if err := p.add(t, a, ""); !errors.Is(err, passkey.ErrModelRefused) {
			t.Errorf("a passkey of another model: %v, want ErrModelRefused", err)
		}
		a.AAGUID = model1Password
		storagetest.Must(t, p.add(t, a, ""))
		if err := p.add(t, a, ""); !errors.As(err, new(*identity.PasskeyError)) {
			t.Errorf("a registered passkey again: %v, want a *PasskeyError", err)
		}
		_, err := p.signIn(t.Context(), "b", a.Get(p.PasskeyRequest([]byte("b"))))
		if !errors.As(err, new(*identity.PasskeyError)) {
			t.Errorf("a counter that does not increase: %v, want a *PasskeyError", err)
		}
		a.Counter++
		_, err = p.signIn(t.Context(), "b", a.Get(p.PasskeyRequest([]byte("b"))))
		storagetest.Must(t, err)
		for host, want := range map[string]string{
			"http://127.0.0.1:8080": "domain name", "https://id.example.org": "neither the host",
		} {
			issuer, err := url.Parse(host)
			storagetest.Must(t, err)
			if _, err := passkey.New(passkey.Options{Issuer: issuer, RPID: "example.com"}); err == nil ||
				!strings.Contains(err.Error(), want) {
				t.Errorf("the issuer %s: %v, want %q", host, err, want)
			}
		}
	})
}
