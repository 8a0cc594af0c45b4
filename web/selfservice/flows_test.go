package selfservice_test

import (
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// fixture is a server that queues emails, which nothing sends.
type fixture struct {
	*servertest.Server

	t *testing.T
}

func newFixture(t *testing.T, db string) *fixture {
	t.Helper()
	return &fixture{t: t, Server: servertest.Start(t, db, servertest.Options{Env: map[string]string{
		"GATEHOUSE_SMTP_URL": "smtp://127.0.0.1:1", "GATEHOUSE_MAIL_FROM": "id@example.com",
		"GATEHOUSE_BRAND_NAME": "Zephyr Library", "GATEHOUSE_SIGN_IN_CODES": "true",
		"GATEHOUSE_SIGN_UP": "domains:example.com", "GATEHOUSE_TERMS_URL": "https://example.com/terms",
		"GATEHOUSE_TERMS_VERSION": "2026-11",
	}})}
}

// User creates a user who has accepted the terms.
func (f *fixture) User(name string) storage.User {
	f.t.Helper()
	u := f.Server.User(name)
	storagetest.Must(f.t, f.Users.AcceptTerms(f.t.Context(), u.ID, f.Users.TermsVersion()))
	return u
}

// link returns the path in the only email of the kind that was queued since the last call.
func (f *fixture) link(kind string) string {
	f.t.Helper()
	var links []string
	for _, m := range f.QueuedMails() {
		if m.Kind == kind {
			links = append(links, m.Values[storage.MailLink])
		}
	}
	if len(links) != 1 {
		f.t.Fatalf("%d emails %s, want 1", len(links), kind)
	}
	return links[0]
}

// submit sends the form of a page with changed values.
func submit(b *servertest.Browser, p servertest.Page, path string, changes ...string) servertest.Page {
	form := p.Fields()
	for i := 0; i < len(changes); i += 2 {
		form.Set(changes[i], changes[i+1])
	}
	return b.Submit(path, form)
}

func (f *fixture) want(what string, p servertest.Page, status int, text string) {
	f.t.Helper()
	if p.Status != status || !strings.Contains(p.Text(), text) {
		f.t.Errorf("%s: %d %s, want %d and %q", what, p.Status, p.Text(), status, text)
	}
}

// TestResetEndsOtherSessions covers PE20, PE22 and PE23 over HTTP: the page is the same for an unknown name, opening
// the link uses nothing, the form needs the browser that was shown it, and after the reset other sessions are signed
// out, access with offline_access stays, and the user still has to sign in.
func TestResetEndsOtherSessions(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		f.User("alice")
		c := f.App()
		offline := f.Tokens(c, "alice", "scope", "read offline_access")
		session := f.Browser()
		session.Follow(session.SignIn(session.Open("/login?to=account"), "alice"))
		b := f.Browser()
		form := b.Open("/forgot")
		unknown := submit(b, form, "/forgot", "username", "unregistered@example.com")
		f.want("an unknown name", unknown, http.StatusOK, "If there is an account")
		known := submit(b, form, "/forgot", "username", "alice")
		if known.Text() != unknown.Text() || known.Status != unknown.Status {
			t.Errorf("a registered name: %s, want the page of an unknown one: %s", known.Text(), unknown.Text())
		}
		link := f.link(storage.MailResetPassword)
		phone := f.Browser()
		reset := phone.Open(link)
		f.want("opening the link", reset, http.StatusOK, "Choose a new password")
		f.want("opening it again", phone.Open(link), http.StatusOK, "Choose a new password")
		if h := reset.Header.Get("Referrer-Policy"); h != "no-referrer" {
			t.Errorf("Referrer-Policy = %q, want no-referrer", h)
		}
		f.want("another browser", submit(f.Browser(), reset, "/reset", "password", "ten-tiny-otters"),
			http.StatusForbidden, "")
		f.want("a common password", submit(phone, reset, "/reset", "password", "password123"), http.StatusBadRequest,
			"tried first by attackers")
		f.want("a new password", submit(phone, reset, "/reset", "password", "ten-tiny-otters"), http.StatusOK,
			"Your password is changed")
		f.want("the link again", phone.Open(link), http.StatusBadRequest, "This link no longer works")
		f.want("no link", phone.Open("/reset?token=x"), http.StatusBadRequest, "This link no longer works")
		if p := phone.Open("/account"); p.Status != http.StatusSeeOther {
			t.Errorf("the account page after the reset: %d, want the sign-in page", p.Status)
		}
		if p := session.Open("/account"); p.Status != http.StatusSeeOther {
			t.Errorf("the account page of another session: %d, want the sign-in page", p.Status)
		}
		if r := f.Refresh(c, offline.Text("refresh_token")); r.Status != http.StatusOK {
			t.Errorf("a refresh token with offline_access: %d %s, want 200", r.Status, r.Body)
		}
		if log := f.Log.String(); strings.Contains(log, "gate_et_") {
			t.Errorf("the log has the token of a link")
		}
	})
}

// TestSignUpCreatesVerifiedAccount covers PE22, PE27, PE29 and PE30 over HTTP: an address of another domain is
// refused, one with an account looks the same as one without, and the account exists only after the link was used and
// the terms accepted.
func TestSignUpCreatesVerifiedAccount(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		f.User("alice")
		b := f.Browser()
		form := b.Open("/sign-up")
		challenge := form.Fields().Get("challenge")
		nonce := 0
		for sum := [32]byte{1}; sum[0] != 0 || sum[1] != 0; nonce++ {
			sum = sha256.Sum256([]byte(fmt.Sprint(challenge, ".", nonce)))
		}
		f.want("another domain", submit(b, form, "/sign-up", "email", "x@evil.example"), http.StatusForbidden,
			"You cannot create an account yourself")
		f.want("no address", submit(b, form, "/sign-up", "email", "x"), http.StatusBadRequest, "Enter an email address")
		proven := submit(b, form, "/sign-up", "email", "bob@example.com", "nonce", fmt.Sprint(nonce-1))
		f.want("a new address", proven, http.StatusOK, "A message is on its way")
		link := f.link(storage.MailVerifyEmail)
		exists := submit(b, form, "/sign-up", "email", "alice@example.com")
		if exists.Text() != proven.Text() {
			t.Errorf("an address with an account: %s, want %s", exists.Text(), proven.Text())
		}
		f.link(storage.MailAccountExists)
		f.want("too many without a proof of work", submit(b, form, "/sign-up", "email", "bob@example.com"),
			http.StatusTooManyRequests, "")
		create := b.Open(link)
		f.want("the link", create, http.StatusOK, "Create your account")
		if _, err := f.Users.User(t.Context(), "bob@example.com"); err == nil {
			t.Error("the account exists before the link was used")
		}
		values := []string{"username", "alice", "password", "ten-tiny-otters", "terms", "1"}
		f.want("a username that is taken", submit(b, create, "/verify", values...), http.StatusBadRequest, "is taken")
		values[1] = "bob"
		f.want("without the terms", submit(b, create, "/verify", values[:4]...), http.StatusBadRequest, "accept the terms")
		f.want("an account", submit(b, create, "/verify", values...), http.StatusOK, "Your account is ready")
		u, err := f.Users.User(t.Context(), "bob")
		if err != nil || u.EmailVerifiedAt == nil || u.TermsVersion != "2026-11" || f.Users.MustAcceptTerms(u) {
			t.Errorf("the user = %+v, %v, want one with a verified address and accepted terms", u, err)
		}
		f.want("the link again", b.Open(link), http.StatusBadRequest, "This link no longer works")
	})
}

// TestInvitationGivesGroupsOnce covers PE28 over HTTP: the account has the groups of the invitation and its address,
// and the link works once.
func TestInvitationGivesGroupsOnce(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		storagetest.Must(t, f.Store.CreateGroup(t.Context(), storage.Group{Name: "staff"}))
		_, _, err := f.Users.Invite(t.Context(), identity.NewInvitation{
			Email: "carol@corp.example", Groups: []string{"staff"}, Lifetime: 1e12, Mail: true,
		})
		storagetest.Must(t, err)
		link := f.link(storage.MailInvitation)
		b := f.Browser()
		form := b.Open(link)
		f.want("the invitation", form, http.StatusOK, "Create your account")
		f.want("an account", submit(b, form, "/invite", "username", "carol", "password", "ten-tiny-otters", "terms", "1",
			"email", "other@corp.example"), http.StatusOK, "Your account is ready")
		u, err := f.Users.User(t.Context(), "carol")
		groups, groupsErr := f.Store.UserGroups(t.Context(), u.ID)
		if err != nil || groupsErr != nil || u.Email != "carol@corp.example" || u.EmailVerifiedAt == nil ||
			len(groups) != 1 {
			t.Errorf("the user = %+v in %v, %v, want the address and group of the invitation", u, groups, err)
		}
		f.want("the invitation again", b.Open(link), http.StatusBadRequest, "This link no longer works")
		b.SetCookie("language", "de")
		f.want("the invitation in German", b.Open(link), http.StatusBadRequest, "Dieser Link gilt nicht mehr")
	})
}

// TestAccountFormsNeedRecentSignIn covers PE17, PE31 and PE32 over HTTP, and the change of a password: the current
// one is needed, the export is a download after a recent sign-in, and a deletion signs out and is cancelled by
// signing in.
func TestAccountFormsNeedRecentSignIn(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		alice, b, changed := f.User("alice"), f.Browser(), servertest.Password+" staple"
		b.Follow(b.SignIn(b.Open("/login?to=account"), "alice"))
		form := b.Open("/account/password")
		f.want("an incorrect current password", submit(b, form, "/account/password", "current", "incorrect", "password",
			changed), http.StatusUnauthorized, "not your current password")
		f.want("a new password", submit(b, form, "/account/password", "current", servertest.Password, "password", changed),
			http.StatusOK, "signed out everywhere else")
		f.want("a new address", submit(b, b.Open("/account/email"), "/account/email", "email", "new@example.com"),
			http.StatusOK, "Check your email")
		change := f.link(storage.MailVerifyEmail)
		own := b.Open(change)
		f.want("the link in another browser", f.Browser().Open(change), http.StatusOK, "sign in to it in this browser")
		mallory := f.Browser()
		f.User("mallory")
		mallory.Follow(mallory.SignIn(mallory.Open("/login?to=account"), "mallory"))
		f.want("the link of another user", mallory.Open(change), http.StatusOK, "sign in to it in this browser")
		f.want("its form", submit(mallory, own, "/verify"), http.StatusForbidden, "open for too long")
		f.want("the link on another page", b.Open(strings.Replace(change, "/verify", "/reset", 1)), http.StatusBadRequest,
			"This link no longer works")
		f.want("the link", submit(b, own, "/verify"), http.StatusOK, "is confirmed")
		storagetest.Eventually(t, "three refused links are in the audit log", func() bool {
			rows, err := f.Store.Audit.CountRows(t.Context(), audit.Filter{Event: audit.LinkRefused})
			return err == nil && rows == 3
		})
		f.want("the export", submit(b, b.Open("/account/export"), "/account/export"), http.StatusOK, "new@example.com")
		deletion := b.Open("/account/delete")
		f.Clock.Advance(11 * time.Minute)
		f.want("the export after eleven minutes", b.Open("/account/export"), http.StatusOK, "sign in again first")
		f.want("a deletion after eleven minutes", submit(b, deletion, "/account/delete"), http.StatusOK,
			"sign in again first")
		signIn := func(path string) {
			again := b.Open(path).Fields()
			again.Set("username", "alice")
			again.Set("password", changed)
			b.Follow(b.Submit("/login", again))
		}
		f.signInAgain(b, changed)
		f.want("the deletion", submit(b, b.Open("/account/delete"), "/account/delete"), http.StatusOK,
			"Your account will be deleted")
		if p := b.Open("/account"); p.Status != http.StatusSeeOther {
			t.Errorf("the account page after the deletion: %d, want the sign-in page", p.Status)
		}
		if u, err := f.Store.User(t.Context(), alice.ID); err != nil || u.DeletionAt == nil {
			t.Errorf("the user = %+v, %v, want one that is deleted later", u, err)
		}
		signIn("/login?to=account")
		if u, err := f.Store.User(t.Context(), alice.ID); err != nil || u.DeletionAt != nil {
			t.Errorf("the user after signing in = %+v, %v, want no deletion", u, err)
		}
	})
}

// signInAgain signs alice in again for each page that needs a recent sign-in, and checks that it returns to the page.
func (f *fixture) signInAgain(b *servertest.Browser, password string) {
	f.t.Helper()
	for _, name := range []string{"security", "password", "email", "export", "delete", "unknown"} {
		form, want := b.Open("/login?again=1&then="+name), "/account/"+name
		if name == "unknown" {
			want = "/account"
		} else if !strings.Contains(form.Body, `value="alice"`) {
			f.t.Errorf("the page to sign in again for %s does not have the username", name)
		}
		again := form.Fields()
		again.Set("username", "alice")
		again.Set("password", password)
		if got := b.Submit("/login", again); got.Header.Get("Location") != want {
			f.t.Errorf("after a sign-in with then=%s: %s, want %s", name, got.Header.Get("Location"), want)
		} else {
			b.Follow(got)
		}
	}
}

// TestPagesWithoutMailServerNameAdministrator covers PE22: without a mail server the pages name the administrator.
func TestPagesWithoutMailServerNameAdministrator(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, storagetest.URL(t, storage.SQLite), servertest.Options{Env: map[string]string{
		"GATEHOUSE_SIGN_UP": "open",
	}})
	for _, path := range []string{"/forgot", "/sign-up"} {
		if p := s.Browser().Open(path); p.Status != http.StatusOK ||
			!strings.Contains(p.Text(), "the administrator of this service") {
			t.Errorf("%s: %d %s, want what to do instead", path, p.Status, p.Text())
		}
	}
	if p := s.Browser().Open("/login"); strings.Contains(p.Body, "/sign-up") {
		t.Errorf("the sign-in page without a mail server links to the sign-up: %s", p.Body)
	}
}

// TestInvitationNeedsProvenAddress covers PE27 and PE28 over HTTP: a sign-up with an invited address, in any case,
// uses the invitation once its email proved the address; an invitation that the operator passed on grants nothing
// before.
func TestInvitationNeedsProvenAddress(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		storagetest.Must(t, f.Store.CreateGroup(t.Context(), storage.Group{Name: "staff"}))
		invite := func(email string) string {
			t.Helper()
			_, link, err := f.Users.Invite(t.Context(), identity.NewInvitation{
				Email: email, Groups: []string{"staff"}, Lifetime: time.Hour,
			})
			storagetest.Must(t, err)
			return link
		}
		wantGroups := func(username, email string, want int) {
			t.Helper()
			u, err := f.Users.User(t.Context(), username)
			storagetest.Must(t, err)
			groups, err := f.Store.UserGroups(t.Context(), u.ID)
			if err != nil || len(groups) != want || u.Email != email || u.EmailVerifiedAt == nil {
				t.Errorf("the user = %+v in %v, %v, want %d groups and the verified address", u, groups, err, want)
			}
		}
		create := func(b *servertest.Browser, username string) {
			t.Helper()
			form := b.Open(f.link(storage.MailVerifyEmail))
			f.want("an account", submit(b, form, "/verify", "username", username, "password", servertest.Password, "terms",
				"1"), http.StatusOK, "Your account is ready")
		}
		b := f.Browser()
		unused := invite("Dora@example.com")
		submit(b, b.Open("/sign-up"), "/sign-up", "email", "dora@example.com")
		create(b, "dora")
		wantGroups("dora", "dora@example.com", 1)
		f.want("the invitation after the sign-up", b.Open(unused), http.StatusBadRequest, "This link no longer works")
		submit(b, b.Open("/sign-up"), "/sign-up", "email", "erik@example.com")
		create(b, "erik")
		wantGroups("erik", "erik@example.com", 0)
		passedOn := b.Open(invite("fred@corp.example"))
		if !strings.Contains(passedOn.Body, `value="fred@corp.example" readonly`) {
			t.Errorf("an invitation that was passed on: %s, want a form with its address", passedOn.Text())
		}
		f.want("its mail", submit(b, passedOn, "/invite", "email", "evil@corp.example", "username", "evil", "password",
			servertest.Password), http.StatusOK, "A message is on its way")
		create(b, "fred")
		wantGroups("fred", "fred@corp.example", 1)
	})
}
