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
		"a code with a challenge requires its verifier, also after a failed attempt",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			for _, c := range []client.Information{s.App(), s.Public(), clientWithOptionalPKCE(s)} {
				to := s.Browser().Code(c, "alice")
				for _, verifier := range []string{"", strings.Repeat("w", 43), ""} {
					s.Token(c, servertest.CodeForm(to, c, "code_verifier", verifier)).Want(t, 400, "invalid_grant")
				}
				s.Token(c, servertest.CodeForm(to, c)).OK(t)
			}
		}),
	servertest.Req("P10", "RFC 9700 §4.8.2",
		"a verifier without a challenge is refused",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := clientWithOptionalPKCE(s)
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
			const valid = servertest.Verifier
			for _, verifier := range []string{
				strings.Repeat("w", 43), valid[:42], strings.Repeat("a", 129), valid + "+",
				servertest.Challenge(valid), "é" + strings.Repeat("a", 45),
			} {
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
				t.Error("the tokens of the first use are active after the replay")
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
			for name, value := range map[string]string{
				"code_verifier": strings.Repeat("w", 43), "redirect_uri": "https://app.example/other",
			} {
				s.Token(c, servertest.CodeForm(to, c, name, value)).Want(t, 400, "invalid_grant")
			}
			unauthenticated := c
			unauthenticated.ClientSecret = other.ClientSecret
			s.Token(unauthenticated, servertest.CodeForm(to, c)).Want(t, 401, "invalid_client")
			if !s.Active(c, first.Text("access_token")) {
				t.Error("a replay that did not match the code revoked its token")
			}
		}),
	servertest.Req("P33", "RFC 6749 §4.1.2, two processes",
		"of 50 concurrent redemptions on two processes one succeeds, and the others revoke its tokens",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			to := s.Browser().Code(c, "alice")
			processes := []*servertest.Server{s, s.StartAnother()}
			succeeded := concurrently(t, 50, func(i int) servertest.Response {
				return processes[i%2].Token(c, servertest.CodeForm(to, c))
			})
			if len(succeeded) != 1 {
				t.Fatalf("%d redemptions succeeded, want 1", len(succeeded))
			}
			first := succeeded[0]
			if s.Active(c, first.Text("access_token")) || processes[1].Active(c, first.Text("refresh_token")) {
				t.Error("the tokens are active after 49 replays of their code")
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
		"a redirect_uri that is sent must match; a client that uses PKCE may omit it",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			to := s.Browser().Code(c, "alice")
			s.Token(c, servertest.CodeForm(to, c, "redirect_uri", servertest.Callback+"/")).Want(t, 400, "invalid_grant")
			s.Token(c, servertest.CodeForm(to, c, "redirect_uri", "")).OK(t)
			other := clientWithOptionalPKCE(s)
			to = s.Browser().Code(other, "alice", "code_challenge", "", "code_challenge_method", "")
			s.Token(other, servertest.CodeForm(to, other, "code_verifier", "", "redirect_uri", "")).Want(t, 400, "invalid_grant")
			s.Token(other, servertest.CodeForm(to, other, "code_verifier", "")).OK(t)
		}),
	servertest.Req("P37", "RFC 9700 §4.14",
		"a code is invalid after its user, consent, client or session has ended",
		func(t *testing.T, s *servertest.Server) {
			for name, end := range endings(s) {
				u := s.User(name)
				c := s.App()
				b := s.Browser()
				to := b.Code(c, name)
				end(t, u, c, b)
				r := s.Token(c, servertest.CodeForm(to, c))
				if r.Status == 200 {
					t.Errorf("%s: the code is accepted, want an error", name)
				}
			}
		}),
}

// clientWithOptionalPKCE creates a client that may leave out the code_challenge.
func clientWithOptionalPKCE(s *servertest.Server) client.Information {
	return s.Client(`{"redirect_uris":["` + servertest.Callback + `"],"scope":"read write",
		"gatehouse_require_pkce":false}`)
}

// An ending is an action that ends what a user allowed a client: of the user, the client or the browser's session.
type ending func(t *testing.T, u storage.User, c client.Information, b *servertest.Browser)

// endings returns the actions after which nothing that was issued before is accepted.
func endings(s *servertest.Server) map[string]ending {
	return map[string]ending{
		"user-disabled": func(t *testing.T, u storage.User, _ client.Information, _ *servertest.Browser) {
			storagetest.Must(t, s.Store.DisableUser(t.Context(), u.ID))
		},
		"user-deleted": func(t *testing.T, u storage.User, _ client.Information, _ *servertest.Browser) {
			storagetest.Must(t, s.Store.DeleteUser(t.Context(), u.ID, 0))
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
			p := b.Submit("/account/sign-out", url.Values{"form_token": form["form_token"][:1]})
			if p.Status != http.StatusSeeOther {
				t.Fatalf("sign-out: got %d %s, want 303", p.Status, p.Text())
			}
		},
	}
}

func wantEvent(t *testing.T, s *servertest.Server, event string) {
	t.Helper()
	events, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: event})
	storagetest.Must(t, err)
	if len(events) == 0 {
		t.Errorf("the audit log has no event %s", event)
	}
}

// concurrently sends n concurrent requests and returns the responses of those that succeeded. Every other response must
// be invalid_grant.
func concurrently(t *testing.T, n int, request func(i int) servertest.Response) []servertest.Response {
	t.Helper()
	var mu sync.Mutex
	var succeeded []servertest.Response
	storagetest.Concurrently(n, func(i int) {
		r := request(i)
		mu.Lock()
		defer mu.Unlock()
		if r.Status == http.StatusOK {
			succeeded = append(succeeded, r)
		} else if r.Text("error") != "invalid_grant" {
			t.Errorf("got %d %s, want 200 or invalid_grant", r.Status, r.Body)
		}
	})
	return succeeded
}
