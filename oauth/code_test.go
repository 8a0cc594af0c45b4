package oauth_test

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

func TestCodes(t *testing.T) { servertest.Run(t, codes) }

var codes = []servertest.Requirement{
	servertest.Req("P9", "RFC 7636 §4.6, fosite#883, CVE-2026-123545, CVE-2026-123542",
		"a challenge is enforced, also after a failed attempt",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			for _, c := range []client.Information{s.App(), s.Public(), s.Client(`{"redirect_uris":["https://app.example/callback"],"scope":"read write","gatehouse_require_pkce":false}`)} {
				to := s.Browser().Code(c, "alice")
				s.Token(c, servertest.CodeForm(to, c, "code_verifier", "")).Want(t, 400, "invalid_grant")
				s.Token(c, servertest.CodeForm(to, c, "code_verifier", strings.Repeat("w", 43))).Want(t, 400, "invalid_grant")
				s.Token(c, servertest.CodeForm(to, c, "code_verifier", "")).Want(t, 400, "invalid_grant")
				s.Token(c, servertest.CodeForm(to, c)).OK(t)
			}
		}),
	servertest.Req("P10", "RFC 9700 §4.8.2",
		"a verifier without a challenge is refused",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.Client(`{"redirect_uris":["https://app.example/callback"],"scope":"read write","gatehouse_require_pkce":false}`)
			to := s.Browser().Code(c, "alice", "code_challenge", "", "code_challenge_method", "")
			s.Token(c, servertest.CodeForm(to, c)).Want(t, 400, "invalid_grant")
			s.Token(c, servertest.CodeForm(to, c, "code_verifier", "")).OK(t)
		}),
	servertest.Req("P11", "RFC 7636 §4.6",
		"an invalid or malformed verifier is invalid_grant and does not consume the code",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.Public()
			to := s.Browser().Code(c, "alice")
			for _, verifier := range []string{strings.Repeat("w", 43), servertest.Verifier[:42], strings.Repeat("a", 129), servertest.Verifier + "+", servertest.Challenge(servertest.Verifier), "é" + strings.Repeat("a", 45)} {
				s.Token(c, servertest.CodeForm(to, c, "code_verifier", verifier)).Want(t, 400, "invalid_grant")
			}
			s.Token(c, servertest.CodeForm(to, c)).OK(t)
		}),
	servertest.Req("P31", "RFC 6749 §4.1.2",
		"a code is single use, and a valid replay revokes the tokens of the first use",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			to := s.Browser().Code(c, "alice")
			first := s.Token(c, servertest.CodeForm(to, c)).OK(t)
			if !s.Active(c, first.Text("access_token")) {
				t.Fatal("the first token is not active")
			}
			s.Token(c, servertest.CodeForm(to, c)).Want(t, 400, "invalid_grant")
			if s.Active(c, first.Text("access_token")) || s.Active(c, first.Text("refresh_token")) {
				t.Error("the tokens of the first use live on")
			}
			s.Refresh(c, first.Text("refresh_token")).Want(t, 400, "invalid_grant")
			wantEvent(t, s, audit.CodeReplayed)
		}),
	servertest.Req("P32", "RFC 9700 §4.5",
		"a replay by another client or with an invalid verifier changes nothing",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c, other := s.App(), s.App()
			to := s.Browser().Code(c, "alice")
			first := s.Token(c, servertest.CodeForm(to, c)).OK(t)
			s.Token(other, servertest.CodeForm(to, c)).Want(t, 400, "invalid_grant")
			s.Token(c, servertest.CodeForm(to, c, "code_verifier", strings.Repeat("w", 43))).Want(t, 400, "invalid_grant")
			s.Token(c, servertest.CodeForm(to, c, "redirect_uri", "https://app.example/other")).Want(t, 400, "invalid_grant")
			broken := c
			broken.ClientSecret = other.ClientSecret
			s.Token(broken, servertest.CodeForm(to, c)).Want(t, 401, "invalid_client")
			if !s.Active(c, first.Text("access_token")) {
				t.Error("a foreign client revoked the token")
			}
		}),
	servertest.Req("P33", "RFC 6749 §4.1.2, two processes",
		"of 50 concurrent redemptions on two processes one succeeds, and its tokens are revoked afterwards",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			to := s.Browser().Code(c, "alice")
			nodes := []*servertest.Server{s, s.StartAnother()}
			won := concurrently(t, 50, func(i int) servertest.Response { return nodes[i%2].Token(c, servertest.CodeForm(to, c)) })
			if len(won) != 1 {
				t.Fatalf("%d winners, want 1", len(won))
			}
			if s.Active(c, won[0].Text("access_token")) || nodes[1].Active(c, won[0].Text("refresh_token")) {
				t.Error("the winner's tokens are active although 49 replays were seen")
			}
		}),
	servertest.Req("P34", "RFC 6749 §4.1.2", "an expired code is invalid_grant", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.App()
		to := s.Browser().Code(c, "alice")
		s.Clock.Advance(time.Minute)
		s.Token(c, servertest.CodeForm(to, c)).Want(t, 400, "invalid_grant")
	}),
	servertest.Req("P35", "RFC 6749 §4.1.3", "a code is bound to its client", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.App()
		to := s.Browser().Code(c, "alice")
		s.Token(s.App(), servertest.CodeForm(to, c)).Want(t, 400, "invalid_grant")
		s.Token(s.Public(), servertest.CodeForm(to, c)).Want(t, 400, "invalid_grant")
		s.Token(c, servertest.CodeForm(to, c)).OK(t)
	}),
	servertest.Req("P36", "RFC 6749 §4.1.3, OAuth 2.1",
		"redirect_uri must match when sent; a PKCE client may omit it",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			to := s.Browser().Code(c, "alice")
			s.Token(c, servertest.CodeForm(to, c, "redirect_uri", servertest.Callback+"/")).Want(t, 400, "invalid_grant")
			s.Token(c, servertest.CodeForm(to, c, "redirect_uri", "")).OK(t)
			old := s.Client(`{"redirect_uris":["https://app.example/callback"],"scope":"read write","gatehouse_require_pkce":false}`)
			to = s.Browser().Code(old, "alice", "code_challenge", "", "code_challenge_method", "")
			s.Token(old, servertest.CodeForm(to, old, "code_verifier", "", "redirect_uri", "")).Want(t, 400, "invalid_grant")
			s.Token(old, servertest.CodeForm(to, old, "code_verifier", "")).OK(t)
		}),
	servertest.Req("P37", "RFC 9700 §4.14",
		"a code is invalid after the end of its user, consent, client or session",
		func(t *testing.T, s *servertest.Server) {
			for name, end := range endings(s) {
				u := s.User(name)
				c := s.App()
				b := s.Browser()
				to := b.Code(c, name)
				end(t, u, c, b)
				r := s.Token(c, servertest.CodeForm(to, c))
				if r.Status == 200 {
					t.Errorf("%s: the code still works", name)
				}
			}
		}),
}

// endings are the actions that end everything a user allowed a client.
func endings(s *servertest.Server) map[string]func(t *testing.T, u storage.User, c client.Information, b *servertest.Browser) {
	return map[string]func(t *testing.T, u storage.User, c client.Information, b *servertest.Browser){
		"user-disabled": func(t *testing.T, u storage.User, _ client.Information, _ *servertest.Browser) {
			storagetest.Must(t, s.Store.DisableUser(t.Context(), u.ID))
		},
		"user-deleted": func(t *testing.T, u storage.User, _ client.Information, _ *servertest.Browser) {
			storagetest.Must(t, s.Store.DeleteUser(t.Context(), u.ID))
		},
		"user-tokens-revoked": func(t *testing.T, u storage.User, _ client.Information, _ *servertest.Browser) {
			storagetest.Must(t, s.Store.RevokeUserTokens(t.Context(), u.ID))
		},
		"password-changed": func(t *testing.T, u storage.User, _ client.Information, _ *servertest.Browser) {
			storagetest.Must(t, s.Users.SetPassword(t.Context(), u, "another good password"))
		},
		"client-tokens-revoked": func(t *testing.T, _ storage.User, c client.Information, _ *servertest.Browser) {
			storagetest.Must(t, s.Store.RevokeClientTokens(t.Context(), c.ClientID))
		},
		"client-disabled": func(t *testing.T, _ storage.User, c client.Information, _ *servertest.Browser) {
			storagetest.Must(t, s.Store.DisableClient(t.Context(), c.ClientID))
		},
		"client-deleted": func(t *testing.T, _ storage.User, c client.Information, _ *servertest.Browser) {
			storagetest.Must(t, s.Store.DeleteClient(t.Context(), c.ClientID))
		},
		"scope-narrowed": func(t *testing.T, _ storage.User, c client.Information, _ *servertest.Browser) {
			_, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"scope":"read"}`))
			storagetest.Must(t, err)
		},
		"secret-rotated-for-a-leak": func(t *testing.T, _ storage.User, c client.Information, _ *servertest.Browser) {
			_, err := s.OAuth.Clients.RotateSecret(t.Context(), c.ClientID, 0)
			storagetest.Must(t, err)
		},
		"consent-withdrawn": func(t *testing.T, u storage.User, c client.Information, _ *servertest.Browser) {
			consent, err := s.Store.Consent(t.Context(), u.ID, c.ClientID)
			storagetest.Must(t, err)
			storagetest.Must(t, s.OAuth.WithdrawConsent(t.Context(), u.ID, consent.ID))
		},
		"session-ended": func(t *testing.T, _ storage.User, _ client.Information, b *servertest.Browser) {
			form := b.Open("/account").Fields()
			if p := b.Submit("/account/sign-out", url.Values{"form_token": form["form_token"][:1]}); p.Status != http.StatusSeeOther {
				t.Fatalf("sign-out: %d %s", p.Status, p.Text())
			}
		},
	}
}

func wantEvent(t *testing.T, s *servertest.Server, event string) {
	t.Helper()
	events, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: event})
	storagetest.Must(t, err)
	if len(events) == 0 {
		t.Errorf("no audit event %s", event)
	}
}

// concurrently runs n requests concurrently and returns those that succeeded; every other must be invalid_grant.
func concurrently(t *testing.T, n int, request func(i int) servertest.Response) []servertest.Response {
	t.Helper()
	var mu sync.Mutex
	var won []servertest.Response
	storagetest.Concurrently(n, func(i int) {
		r := request(i)
		mu.Lock()
		defer mu.Unlock()
		if r.Status == http.StatusOK {
			won = append(won, r)
		} else if r.Text("error") != "invalid_grant" {
			t.Errorf("a loser got %d %s", r.Status, r.Body)
		}
	})
	return won
}
