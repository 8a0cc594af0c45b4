package account_test

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

func TestLogExplainsRefusedProfile(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		b := s.Browser()
		b.SignIn(b.Open("/login"), "alice")
		form := b.Open("/account/profile").Fields()
		form.Set("birthdate", "yesterday")
		p := b.Submit("/account/profile", form)
		if p.Status != http.StatusBadRequest || !strings.Contains(p.Text(), "Enter a date like 1990-12-31") {
			t.Errorf("invalid date of birth: status %d, want 400 and what it must be: %s", p.Status, p.Text())
		}
		cause, _ := s.LogLine(p.Response)["cause"].(string)
		if !strings.HasPrefix(cause, "the date of birth must be") {
			t.Errorf("the log has the cause %q, want what the date of birth must be", cause)
		}
	})
}

func TestLogNamesClientOfWithdrawal(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		s.User("alice")
		c, b := s.App(), s.Browser()
		b.Code(c, "alice")
		var path string
		for _, link := range b.Open("/account").Links() {
			if strings.Contains(link, "/account/apps/") {
				path = link
			}
		}
		p := b.Open(path)
		withdrawn := b.Submit(path+"/withdraw", p.Fields())
		if p.Status != http.StatusOK || withdrawn.Status != http.StatusSeeOther {
			t.Fatalf("page and withdrawal: status %d and %d, want 200 and 303", p.Status, withdrawn.Status)
		}
		for _, r := range []servertest.Response{p.Response, withdrawn.Response} {
			if line := s.LogLine(r); line["client_id"] != c.ClientID {
				t.Errorf("%v: the log has the client_id %v, want %s", line["route"], line["client_id"], c.ClientID)
			}
		}
	})
}
