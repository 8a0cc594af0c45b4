package selfservice_test

import (
	"maps"
	"net/http"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestRequestedMailsDoNotDiscloseAccounts tests PE22: the response to a reset or sign-up has the same status, header
// and body, and needs as many statements, whether there is an account, whether its user is disabled, and whether an
// email is sent.
func TestRequestedMailsDoNotDiscloseAccounts(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		f.User("alice")
		storagetest.Must(t, f.Store.DisableUser(t.Context(), f.User("disabled").ID))
		b := f.Browser()
		type response struct {
			page       servertest.Page
			statements uint64
		}
		send := func(path, field, value string) response {
			form := b.Open(path)
			before := f.Store.Stats().Database.Statements
			p := submit(b, form, path, field, value)
			return response{p, f.Store.Stats().Database.Statements - before}
		}
		header := func(p servertest.Page) map[string][]string {
			h := maps.Clone(p.Header)
			delete(h, "Date")
			delete(h, "X-Request-Id")
			return h
		}
		compare := func(what string, got, want response) {
			t.Helper()
			if got.page.Status != http.StatusOK || got.page.Status != want.page.Status || got.page.Body != want.page.Body ||
				!maps.EqualFunc(header(got.page), header(want.page), func(a, b []string) bool {
					return strings.Join(a, "\n") == strings.Join(b, "\n")
				}) {
				t.Errorf("%s: %d %v %s, want %d %v %s", what, got.page.Status, header(got.page), got.page.Body,
					want.page.Status, header(want.page), want.page.Body)
			}
			if got.statements != want.statements || want.statements == 0 {
				t.Errorf("%s: %d statements, want %d", what, got.statements, want.statements)
			}
		}
		unknown := send("/forgot", "username", "unknown@example.com")
		compare("a reset with an address", send("/forgot", "username", "alice@example.com"), unknown)
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
		if strings.Join(kinds, " ") != storage.MailVerifyEmail+" "+storage.MailAccountExists {
			t.Errorf("emails of sign-ups: %v, want one to each address", kinds)
		}
	})
}
