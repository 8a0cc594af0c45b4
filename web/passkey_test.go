package web_test

import (
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity/passkey/passkeytest"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

const (
	relatedOrigin = "https://id.example.net"
	securityPage  = "/account/security"
)

// passkeyPages are the pages of a server on which alice has an account.
type passkeyPages struct {
	*servertest.Server

	alice   storage.User
	browser *servertest.Browser // in which alice is signed in
}

func newPasskeyPages(t *testing.T, db string, settings ...string) *passkeyPages {
	t.Helper()
	env := servertest.MailSettings(nil)
	env["GATEHOUSE_PASSKEY_ORIGINS"] = relatedOrigin
	for _, setting := range settings {
		name, value, _ := strings.Cut(setting, "=")
		env[name] = value
	}
	s := servertest.Start(t, db, servertest.Options{Host: "localhost", Env: env})
	p := &passkeyPages{s, s.User("alice"), s.Browser()}
	p.browser.SignIn(p.browser.Open("/login"), "alice")
	return p
}

// change submits a form of the security page, and returns the page that follows.
func (p *passkeyPages) change(action string, values ...string) servertest.Page {
	p.T.Helper()
	form := url.Values{"form_token": {p.browser.Open(securityPage).Fields().Get("form_token")}}
	for i := 0; i+1 < len(values); i += 2 {
		form.Set(values[i], values[i+1])
	}
	return p.browser.Follow(p.browser.Submit(securityPage+"/"+action, form))
}

// create submits the security page with a new passkey.
func (p *passkeyPages) create(change func(a *passkeytest.Authenticator)) (*passkeytest.Authenticator, servertest.Page) {
	p.T.Helper()
	a := passkeytest.New(p.T, p.URL, "localhost")
	change(a)
	options := p.browser.Open(securityPage).Attribute("data-passkey-create")
	return a, p.change("passkey-add", "passkey", string(a.Create(options)))
}

// add creates a passkey on the security page.
func (p *passkeyPages) add(change func(a *passkeytest.Authenticator)) *passkeytest.Authenticator {
	p.T.Helper()
	a, page := p.create(change)
	if !strings.Contains(page.Text(), "The passkey was added") {
		p.T.Fatalf("a new passkey: %d %s, want that it was added", page.Status, page.Text())
	}
	return a
}

// use submits the sign-in page with the response of a passkey.
func (p *passkeyPages) use(b *servertest.Browser, page servertest.Page, response []byte) servertest.Page {
	p.T.Helper()
	form := page.Fields()
	form.Set("passkey", string(response))
	return b.Submit("/login", form)
}

// signInAgain signs in with a passkey to change factors: the session that added it began without.
func (p *passkeyPages) signInAgain(a *passkeytest.Authenticator) {
	p.T.Helper()
	login := p.browser.Open("/login?again=1&then=security")
	page := p.browser.Follow(p.use(p.browser, login, a.Get(login.Attribute("data-passkey-get"))))
	if !strings.HasSuffix(page.URL, securityPage) {
		p.T.Fatalf("a sign-in with a passkey: %d %s %s, want the security page", page.Status, page.URL, page.Text())
	}
}

// wantNotices fails the test unless alice gets a notice of each change of her factors, in this order.
func (p *passkeyPages) wantNotices(changes ...string) {
	p.T.Helper()
	var got []string
	for _, m := range p.QueuedMails() {
		if (m.Kind == storage.MailFactorsChanged || m.Kind == storage.MailFactorAdded) && m.To == p.alice.Email {
			got = append(got, m.Values[storage.MailValueChange])
		}
	}
	slices.Sort(got) // some were queued at the same time
	slices.Sort(changes)
	if !slices.Equal(got, changes) {
		p.T.Errorf("the notices are %v, want %v", got, changes)
	}
}

// TestPasskeysOnAccountPage adds, renames and removes passkeys over HTTP (PE4, PE8), and serves the related origins
// (PE7) and the sign-in page that offers passkeys by autofill (PE2).
func TestPasskeysOnAccountPage(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		p := newPasskeyPages(t, db)
		a := p.add(func(a *passkeytest.Authenticator) { a.Synced = true })
		p.signInAgain(a)
		page := p.browser.Open(securityPage)
		if !strings.Contains(page.Text(), "synced ·") || strings.Contains(page.Text(), "this device only") {
			t.Errorf("the page with a synced passkey: %s, want that it is synced", page.Text())
		}
		a.NoBackup = true
		p.signInAgain(a)
		if page = p.browser.Open(securityPage); !strings.Contains(page.Text(), "this device only") {
			t.Errorf("the page with a passkey that is not synced now: %s, want that it is on this device only", page.Text())
		}
		id := page.Fields().Get("id")
		if page = p.change("passkey-rename", "id", id, "name", "Blue <key>"); !strings.Contains(page.Text(), "Blue <key>") {
			t.Errorf("after a new name: %d %s, want it", page.Status, page.Text())
		}
		page = p.change("passkey-rename", "id", id, "name", "x\u202e")
		if page.Status != http.StatusUnprocessableEntity || !strings.Contains(page.Text(), "The name must have") {
			t.Errorf("an invisible name: %d %s, want the reason", page.Status, page.Text())
		}
		late := p.browser.Open(securityPage).FieldsOf("/passkey-rename")
		p.Clock.Advance(10*time.Minute + time.Second)
		for _, action := range []string{"passkey-rename", "passkey-delete", "passkey-add"} {
			page := p.browser.Submit(securityPage+"/"+action, late)
			if page.Status != http.StatusSeeOther || !strings.Contains(page.Header.Get("Location"), "/login") {
				t.Errorf("%s 10 minutes after the sign-in: %d %s, want the sign-in page", action, page.Status, page.Text())
			}
		}
		p.signInAgain(a)
		page = p.change("passkey-delete", "id", id)
		if !strings.Contains(page.Text(), "You have no passkeys") || !strings.Contains(page.Text(), "It was removed") {
			t.Errorf("after the passkey was removed: %d %s, want none", page.Status, page.Text())
		}
		p.wantNotices(audit.PasskeyCreated, audit.PasskeyRenamed, audit.PasskeyDeleted)
		if p.Browser().Open("/login").Attribute("autocomplete") != "username webauthn" {
			t.Error("the sign-in page does not offer passkeys by autofill")
		}
		p.wantRelatedOrigins()
	})
}

// wantRelatedOrigins fails the test unless /.well-known/webauthn has the origins of the settings, whatever the request.
func (p *passkeyPages) wantRelatedOrigins() {
	p.T.Helper()
	req := p.Request(http.MethodGet, "/.well-known/webauthn", nil)
	req.Host = "evil.example"
	req.Header.Set("X-Forwarded-Host", "evil.example")
	want := `{"origins":["` + p.Issuer + `","` + relatedOrigin + `"]}`
	for _, r := range []servertest.Response{p.Get("/.well-known/webauthn"), p.Do(req)} {
		if r.Status != http.StatusOK || r.Header.Get("Content-Type") != "application/json" || r.Body != want {
			p.T.Errorf("related origins: %d %v %s, want %s as JSON", r.Status, r.Header["Content-Type"], r.Body, want)
		}
	}
}

// TestUnprovenModelIsRefused creates passkeys where the settings have metadata of the FIDO Metadata Service (PE9).
func TestUnprovenModelIsRefused(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		vendor, dir, model := passkeytest.NewVendor(t), t.TempDir(), [16]byte{1}
		tomorrow := time.Now().Add(24 * time.Hour)
		blob := vendor.Metadata(tomorrow.Format(time.DateOnly), passkeytest.Model{AAGUID: model, Status: "FIDO_CERTIFIED"})
		storagetest.Must(t, os.WriteFile(filepath.Join(dir, "blob.jwt"), blob, 0o600))
		storagetest.Must(t, os.WriteFile(filepath.Join(dir, "root.pem"), vendor.Root(), 0o600))
		p := newPasskeyPages(t, db, "GATEHOUSE_PASSKEY_METADATA_FILE="+filepath.Join(dir, "blob.jwt"),
			"GATEHOUSE_PASSKEY_METADATA_ROOT_FILE="+filepath.Join(dir, "root.pem"))
		refused := func(when, want string, change func(a *passkeytest.Authenticator)) {
			t.Helper()
			_, page := p.create(change)
			if page.Status != http.StatusUnprocessableEntity || !strings.Contains(page.Text(), want) {
				t.Errorf("%s: %d %s, want %q", when, page.Status, page.Text(), want)
			}
		}
		proven := func(a *passkeytest.Authenticator) { a.AAGUID = model; vendor.Attest(a) }
		refused("no attestation", "This kind of device or key is not allowed here. Use another one.",
			func(a *passkeytest.Authenticator) { a.AAGUID = model })
		a := p.add(proven)
		p.Clock.Advance(25 * time.Hour)
		p.signInAgain(a)
		refused("after the next update of the file", "cannot be checked at the moment", proven)
		p.wantNotices(audit.PasskeyCreated)
	})
}

// TestPasskeyInToken signs in to an app with a synced passkey and one in hardware, and reads the token (PE5, GX49).
func TestPasskeyInToken(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		p := newPasskeyPages(t, db)
		c := p.App()
		synced := p.add(func(a *passkeytest.Authenticator) { a.Synced = true })
		p.signInAgain(synced)
		hardware := p.add(func(a *passkeytest.Authenticator) { a.Counter = 1 })
		hardware.Counter = 2
		for want, a := range map[string]*passkeytest.Authenticator{
			"phr swk user mfa": synced, "phrh hwk user mfa": hardware,
		} {
			p.Clock.Advance(time.Minute)
			b := p.Browser()
			login := b.Authorize(c)
			page := b.Follow(p.use(b, login, a.Get(login.Attribute("data-passkey-get"))))
			if strings.Contains(page.Text(), "wants access to your account") {
				page = b.Decide(page, "approve")
			}
			signedInAt := p.Clock.Now().Unix()
			p.Clock.Advance(time.Second)
			token := p.Introspect(c, p.Redeem(c, page.Location()).OK(t).Text("access_token"))
			got := token.Text("acr")
			methods, _ := token.JSON["amr"].([]any)
			for _, m := range methods {
				text, _ := m.(string)
				got += " " + text
			}
			if got != want || token.JSON["auth_time"] != float64(signedInAt) {
				t.Errorf("the token has %s, want acr and amr %s and the auth_time %d", token.Body, want, signedInAt)
			}
		}
	})
}

// TestRefusedPasskeysShowTheSamePage changes one thing at a time in a sign-in with a passkey, also that the user is
// disabled (PE3): status and text are the same, and only an unknown passkey is signalled to password managers (PE6).
func TestRefusedPasskeysShowTheSamePage(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		p := newPasskeyPages(t, db)
		a, b := p.add(func(*passkeytest.Authenticator) {}), p.Browser()
		open := func() (servertest.Page, string) {
			page := b.Open("/login")
			return page, page.Attribute("data-passkey-get")
		}
		login, options := open()
		used := a.Get(options)
		if page := p.use(b, login, used); page.Status != http.StatusSeeOther {
			t.Fatalf("a sign-in with a passkey: %d %s, want 303", page.Status, page.Text())
		}
		b = p.Browser()
		changed := func(change func(a *passkeytest.Authenticator)) func(options string) []byte {
			other := *a
			change(&other)
			return other.Get
		}
		foreign := p.Browser().Open("/login").Attribute("data-passkey-get")
		_, expired := open()
		p.Clock.Advance(5 * time.Minute)
		texts, failures := map[string]bool{}, 0
		try := func(why string, response func(options string) []byte) {
			t.Helper()
			login, options := open()
			page := p.use(b, login, response(options))
			texts[page.Text()] = true
			failures++
			if page.Status != http.StatusUnauthorized || !strings.Contains(page.Text(), "The passkey was not accepted") {
				t.Errorf("%s: %d %s, want the sign-in page with the refusal", why, page.Status, page.Text())
			}
			if signal := page.Attribute("data-passkey-unknown"); (signal != "") != (why == "unknown") {
				t.Errorf("%s: the signal to password managers is %q", why, signal)
			}
		}
		unknown := passkeytest.New(t, p.URL, "localhost")
		unknown.SetHandle(make([]byte, 32))
		try("unknown", unknown.Get)
		try("replayed", func(string) []byte { return used })
		try("expired", func(string) []byte { return a.Get(expired) })
		try("of another browser", func(string) []byte { return a.Get(foreign) })
		try("no JSON", func(string) []byte { return []byte("x") })
		try("another origin", changed(func(a *passkeytest.Authenticator) { a.Origin = relatedOrigin + ".evil" }))
		try("another RP ID", changed(func(a *passkeytest.Authenticator) { a.RPID = "evil.example" }))
		try("no user verification", changed(func(a *passkeytest.Authenticator) { a.NoUV = true }))
		storagetest.Must(t, p.Store.DisableUser(t.Context(), p.alice.ID))
		try("a disabled user", a.Get)
		if len(texts) != 1 {
			t.Errorf("the refusals have %d different texts, want 1: %v", len(texts), texts)
		}
		rows, err := p.Store.Audit.CountRows(t.Context(), audit.Filter{Event: audit.UserSignInFailed})
		if err != nil || rows != int64(failures) {
			t.Errorf("%d failures are in the audit log, %v, want %d", rows, err, failures)
		}
	})
}

// TestPasskeySignInNeedsNoMoreStatementsForPolicies signs in with a passkey, which queries the database twice in
// addition to what the session needs, whatever factors the groups of the user require.
func TestPasskeySignInNeedsNoMoreStatementsForPolicies(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		p := newPasskeyPages(t, db)
		a := p.add(func(a *passkeytest.Authenticator) { a.Synced = true })
		statements := func() uint64 {
			t.Helper()
			b := p.Browser()
			login := b.Open("/login")
			response := a.Get(login.Attribute("data-passkey-get"))
			before := p.Store.Stats().Database.Statements
			if page := p.use(b, login, response); page.Status != http.StatusSeeOther {
				t.Fatalf("a sign-in with a passkey: %d %s, want a redirect", page.Status, page.Text())
			}
			return p.Store.Stats().Database.Statements - before
		}
		statements() // fills the caches
		without := statements()
		storagetest.Must(t, p.Store.CreateGroup(t.Context(), storage.Group{Name: "staff", CreatedAt: p.Clock.Now()}))
		storagetest.Must(t, p.Store.UpdateGroup(t.Context(), "staff", func(g *storage.Group) error {
			g.RequiredACR = "phr"
			return nil
		}))
		storagetest.Must(t, p.Store.AddGroupMembers(t.Context(), "staff", []string{p.alice.ID}))
		statements()
		if with := statements(); with != without {
			t.Errorf("statements of a sign-in with a passkey: %d with a required factor, %d without one", with, without)
		}
	})
}
