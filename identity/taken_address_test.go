package identity_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
	"gatehouse/storage/storagetest"
)

// TestChangeToTakenAddressLooksLikeAnyOther covers PE22: a user who requests a change to an address that has an account
// sees the same in the export, before and after emails are sent, and with the link of an earlier request, as with a
// free address. Both need as many statements. Only the free address gets an email.
func TestChangeToTakenAddressLooksLikeAnyOther(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{})
		f.ctx = reqevent.NewContext(f.ctx, &reqevent.Event{RequestID: "r"}) // whose statements are counted
		user(t, f.Users, "bob")
		free, statements, sent := f.changeSeenBy("alice", "free@example.com")
		if sent != "" {
			t.Errorf("the email to a free address is not sent: %s", sent)
		}
		taken, n, sent := f.changeSeenBy("carol", "bob@example.com")
		if sent != "another account has the address" {
			t.Errorf("the email to a taken address is not sent because %q, want that another account has it", sent)
		}
		if taken != free || !strings.Contains(free, `"purpose":"change_email"`) {
			t.Errorf("a change to a taken address looks like\n%s\nwant, as to a free one,\n%s", taken, free)
		}
		if n != statements || n == 0 {
			t.Errorf("a change to a taken address: %d statements, want %d", n, statements)
		}
	})
}

// changeSeenBy requests a change to an address after another one, and returns what its new user sees of it, without
// what differs between users, how many statements it needed, and why its email must not be sent.
func (f *selfService) changeSeenBy(name, address string) (seen string, statements uint64, refusal string) {
	f.t.Helper()
	by := f.session(user(f.t, f.Users, name))
	storagetest.Must(f.t, f.RequestEmailChange(f.ctx, by, "own-"+name+"@example.org", english))
	earlier := f.token(storage.MailVerifyEmail)
	before := f.store.Stats().Database.Statements
	storagetest.Must(f.t, f.RequestEmailChange(f.ctx, by, address, english))
	statements = f.store.Stats().Database.Statements - before
	hidden := strings.NewReplacer(address, "(address)", name, "(name)", by.User.ID, "(user)", by.Session.ID, "(session)")
	export := func() string {
		e, err := f.Export(f.ctx, by.User)
		storagetest.Must(f.t, err)
		for i := range e.Events {
			e.Events[i].ID = ""
		}
		records, err := json.Marshal(e.Records)
		storagetest.Must(f.t, err)
		events, err := json.Marshal(e.Events)
		storagetest.Must(f.t, err)
		return hidden.Replace(string(records)+"\n"+string(events)) + "\n"
	}
	seen = export()
	due, err := f.store.LeaseDeliveries(f.ctx, true, 10, 0)
	storagetest.Must(f.t, err)
	for _, d := range due {
		m, err := f.store.OpenMail(f.ctx, d)
		storagetest.Must(f.t, err)
		if m.To != address {
			storagetest.Must(f.t, f.store.FinishDelivery(f.ctx, d, nil))
			continue
		}
		if refusal = m.Refusal; refusal == "" {
			f.openElsewhere(m.Values[storage.MailLink], by.User.ID)
			storagetest.Must(f.t, f.store.FinishDelivery(f.ctx, d, nil))
		} else {
			storagetest.Must(f.t, f.store.AbandonDelivery(f.ctx, d, map[string]any{"reason": refusal}))
		}
	}
	_, err = f.Link(f.ctx, earlier)
	return seen + export() + "the earlier link: " + errorText(err), statements, refusal
}

// openElsewhere opens a link in a browser without the user who requested it, as a mail scanner does.
func (f *selfService) openElsewhere(path, requester string) {
	f.t.Helper()
	token := strings.TrimPrefix(path, "/verify?token=")
	link, err := f.Link(f.ctx, token)
	storagetest.Must(f.t, err)
	if err := f.RefuseLink(f.ctx, token, link, "opened elsewhere"); !errors.Is(err, identity.ErrLinkRefused) {
		f.t.Errorf("RefuseLink = %v, want ErrLinkRefused", err)
	}
	storagetest.Eventually(f.t, "the refused link is in the audit log, with its requester", func() bool {
		rows, err := f.store.Audit.Rows(f.ctx, audit.Filter{Event: audit.LinkRefused})
		return err == nil && slices.ContainsFunc(rows, func(row audit.Row) bool {
			return strings.Contains(row.Detail, "opened elsewhere") && strings.Contains(row.Detail, requester)
		})
	})
}

func errorText(err error) string {
	if err == nil {
		return "works"
	}
	return err.Error()
}
