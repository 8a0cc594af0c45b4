package selfservice_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestRequestedMailsDoNotDiscloseAccounts tests PE22: the response to a reset, sign-up or code has the same status,
// header and body, and needs as many statements, whether there is an account, whether its user is disabled, and whether
// an email is sent.
func TestRequestedMailsDoNotDiscloseAccounts(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		f.User("alice")
		storagetest.Must(t, f.Store.DisableUser(t.Context(), f.User("disabled").ID))
		q := requester{f, f.Browser()}
		send, compare := q.send, q.compare
		unknown := send("/forgot", "username", "unknown@example.com")
		compare("a reset with an address", send("/forgot", "username", "alice@example.com"), unknown)
		f.Store.SetMailDelayed(true)
		delayed := send("/forgot", "username", "unknown@example.com")
		compare("a reset while emails are delayed", send("/forgot", "username", "alice@example.com"), delayed)
		for path, field := range map[string]string{"/forgot": "username", "/sign-up": "email", "/login/code": "username"} {
			if p := send(path, field, "b@example.com").page; !strings.Contains(p.Text(), "Emails are delayed") {
				t.Errorf("POST %s while the mail server does not respond: %s, want a notice", path, p.Text())
			}
		}
		f.Store.SetMailDelayed(false)
		compare("a reset with a username", send("/forgot", "username", "alice"), unknown)
		compare("a reset of a disabled user", send("/forgot", "username", "disabled"), unknown)
		for range 4 {
			f.QueuedMails()
			compare("a reset near the limit of the user", send("/forgot", "username", "alice"), unknown)
		}
		if mails := f.QueuedMails(); len(mails) != 0 {
			t.Errorf("emails above the limit of the user: %v, want none", mails)
		}
		newcomer := send("/sign-up", "email", "new@example.com")
		compare("a sign-up with an account", send("/sign-up", "email", "alice@example.com"), newcomer)
		var kinds []string
		for _, m := range f.QueuedMails() {
			kinds = append(kinds, m.Kind)
		}
		slices.Sort(kinds) // both were queued at the same time
		if !slices.Equal(kinds, []string{storage.MailAccountExists, storage.MailVerifyEmail}) {
			t.Errorf("emails of sign-ups: %v, want one to each address", kinds)
		}
		q.compareCodes()
	})
}

// requester sends forms of one browser, and compares the responses.
type requester struct {
	*fixture

	b *servertest.Browser
}

type response struct {
	page       servertest.Page
	statements uint64
}

// send submits the form of a page with a changed value.
func (q requester) send(path, field, value string) response {
	form := q.b.Open(path)
	before := q.Store.Stats().Database.Statements
	p := submit(q.b, form, path, field, value)
	return response{p, q.Store.Stats().Database.Statements - before}
}

// header returns what the header fields of all responses must have in common. The bodies are compared in addition.
func header(p servertest.Page) map[string][]string {
	h := maps.Clone(p.Header)
	delete(h, "Date")
	delete(h, "X-Request-Id")
	delete(h, "Content-Length")
	return h
}

func (q requester) compare(what string, got, want response) {
	q.t.Helper()
	if got.page.Status != http.StatusOK || got.page.Status != want.page.Status || got.page.Body != want.page.Body ||
		!maps.EqualFunc(header(got.page), header(want.page), slices.Equal[[]string]) {
		q.t.Errorf("%s: %d %v %s, want %d %v %s", what, got.page.Status, header(got.page), got.page.Body,
			want.page.Status, header(want.page), want.page.Body)
	}
	if got.statements != want.statements || want.statements == 0 {
		q.t.Errorf("%s: %d statements, want %d", what, got.statements, want.statements)
	}
}

// compareCodes compares requests for sign-in codes. alice and disabled are users.
func (q requester) compareCodes() {
	q.t.Helper()
	f, t, compare := q.fixture, q.t, q.compare
	code := func(name string) response {
		r := q.send("/login/code", "username", name)
		r.page.Body = strings.ReplaceAll(r.page.Body, name, "(the name)") // the page has it
		return r
	}
	unknown := code("unknown")
	compare("a sign-in code for a username", code("alice"), unknown)
	compare("a sign-in code for an address", code("alice@example.com"), unknown)
	compare("a sign-in code for a disabled user", code("disabled"), unknown)
	for range 4 {
		code("alice")
	}
	compare("a sign-in code above the limit of the user", code("alice"), unknown)
	f.QueuedMails()
	bob := f.User("bob")
	for i := range byte(6) { // codes in so many browsers that there is none for another
		storagetest.Must(t, f.Store.CreateEmailToken(t.Context(), bob, storage.EmailToken{
			Purpose: storage.SignInCode, Hash: []byte{i}, BrowserHash: []byte{i}, ExpiresAt: f.Store.Now().Add(time.Minute),
		}, storage.Mail{Kind: storage.MailSignInCode, UserID: bob.ID, To: bob.Email}))
	}
	if n := len(f.QueuedMails()); n != 5 {
		t.Errorf("%d codes of concurrent browsers were sent, want 5", n)
	}
	compare("a sign-in code in too many browsers", code("bob"), unknown)
	if mails := f.QueuedMails(); len(mails) != 0 {
		t.Errorf("codes in too many browsers: %v, want none", mails)
	}
}
