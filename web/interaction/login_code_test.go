package interaction_test

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

func startWithCodes(t *testing.T, db string) *servertest.Server {
	t.Helper()
	env := servertest.MailSettings(nil)
	env["GATEHOUSE_SIGN_IN_CODES"] = "true"
	return servertest.Start(t, db, servertest.Options{Env: env})
}

// submit sends the form of a page with changed values, given as names and values.
func submit(b *servertest.Browser, p servertest.Page, path string, changes ...string) servertest.Page {
	form := p.Fields()
	form.Del("resend")
	for i := 0; i < len(changes); i += 2 {
		form.Set(changes[i], changes[i+1])
	}
	return b.Submit(path, form)
}

// queuedCode returns the code in the only email that was queued since the last call.
func queuedCode(t *testing.T, s *servertest.Server) string {
	t.Helper()
	mails := s.QueuedMails()
	if len(mails) != 1 || mails[0].Kind != storage.MailSignInCode {
		t.Fatalf("emails = %+v, want one with a code", mails)
	}
	return mails[0].Values[storage.MailCode]
}

// TestSignInWithCodeContinuesRequest covers PE19 and PE20 over HTTP: a code works once, in the browser that requested
// it, continues with the authorization request like a password, has the amr otp, and needs the second factor of the
// user. A request in another browser does not replace it.
func TestSignInWithCodeContinuesRequest(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := startWithCodes(t, db)
		alice, c, b, other := s.User("alice"), s.RelyingParty(), s.Browser(), s.Browser()
		login := b.Follow(b.Authorize(c, "scope", "openid"))
		link := login.Links()
		i := slices.IndexFunc(link, func(l string) bool { return strings.Contains(l, "/login/code?") })
		if i < 0 {
			t.Fatalf("the sign-in page has the links %v, want one to a code", link)
		}
		sent := submit(b, b.Open(link[i]), "/login/code", "username", "alice")
		code := queuedCode(t, s)
		early := submit(b, sent, "/login/code", "resend", "1")
		if early.Status != http.StatusTooManyRequests || early.Header.Get("Retry-After") != "60" {
			t.Errorf("another code immediately: %d, want 429 and Retry-After", early.Status)
		}
		s.Clock.Advance(time.Second)
		elsewhere := submit(other, other.Open("/login/code"), "/login/code", "username", "alice")
		otherCode := queuedCode(t, s)
		for what, p := range map[string]servertest.Page{
			"the form of another browser": submit(other, sent, "/login/code", "code", code),
			"the code of another browser": submit(other, elsewhere, "/login/code", "code", code),
			"a code of no browser":        submit(b, sent, "/login/code", "code", "x"+otherCode[1:]),
		} {
			if p.Status != http.StatusForbidden && p.Status != http.StatusUnauthorized {
				t.Errorf("%s: %d %s, want a refusal", what, p.Status, p.Text())
			}
		}
		consent := b.Follow(submit(b, sent, "/login/code", "code", code))
		to := b.Decide(consent, "approve").Location()
		claims := s.IDToken(c, s.Redeem(c, to))
		if amr, _ := claims["amr"].([]any); len(amr) != 1 || amr[0] != "otp" || claims["acr"] != "1" ||
			claims["sub"] != alice.ID {
			t.Errorf("the ID token has %v, want sub %s, acr 1 and amr otp", claims, alice.ID)
		}
		if p := submit(b, sent, "/login/code", "code", code); p.Status == http.StatusSeeOther {
			t.Error("a used code continues")
		}
		s.TOTP(alice)
		p := submit(other, elsewhere, "/login/code", "code", otherCode)
		if !strings.HasPrefix(p.Header.Get("Location"), "/login/factor?") {
			t.Errorf("a code of a user with a second factor: %d %s, want the page of that factor", p.Status,
				p.Header.Get("Location"))
		}
		rows, err := s.Store.Audit.CountRows(t.Context(), audit.Filter{Event: audit.UserSignInCodeRequested})
		if err != nil || rows != 2 {
			t.Errorf("%d audit rows of requests, %v, want 2", rows, err)
		}
	})
}

// TestCodePagesDoNotShowWhetherThereIsAnAccount covers PE22 and PE24: the responses for an unknown and a registered
// name have the same status, text and header names.
func TestCodePagesDoNotShowWhetherThereIsAnAccount(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := startWithCodes(t, db)
		s.User("alice")
		var want [2]servertest.Page
		for _, name := range []string{"unknown", "alice"} {
			b := s.Browser()
			sent := submit(b, b.Open("/login/code"), "/login/code", "username", name)
			refused := submit(b, sent, "/login/code", "code", "")
			for i, p := range []servertest.Page{sent, refused} {
				if want[i].Status == 0 {
					want[i] = p
					continue
				}
				names := func(h http.Header) []string { return slices.Sorted(maps.Keys(h)) }
				if p.Status != want[i].Status || p.Text() != want[i].Text() ||
					!slices.Equal(names(p.Header), names(want[i].Header)) {
					t.Errorf("a registered name: %d %s, want %d %s", p.Status, p.Text(), want[i].Status, want[i].Text())
				}
			}
		}
		if len(s.QueuedMails()) != 1 {
			t.Error("want one email, to the registered name")
		}
		off := servertest.Start(t, db, servertest.Options{Env: servertest.MailSettings(nil)})
		if p := off.Browser().Open("/login/code"); p.Status != http.StatusNotFound {
			t.Errorf("without the setting: %d, want 404", p.Status)
		}
	})
}
