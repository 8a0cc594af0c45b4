package logout_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

const byeURI = "https://app.example/bye" // of servertest.RelyingParty

// logoutRequest has the parameters of a logout request and what Begin must return.
type logoutRequest struct {
	form             url.Values
	refused          string // part of the error_description
	location         string
	valid, isInvalid bool // the hint
}

func (x logoutRequest) check(t *testing.T, s *servertest.Server, name string) {
	t.Helper()
	r, err := s.OAuth.Logout.Begin(t.Context(), x.form)
	if x.refused != "" {
		var e *protocol.Error
		if !errors.As(err, &e) || !strings.Contains(e.Description, x.refused) {
			t.Errorf("%s: Begin = %v, want an error with %q", name, err, x.refused)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: Begin = %v, want no error", name, err)
		return
	}
	if r.Location() != x.location || r.HasValidHint() != x.valid || r.InvalidHint != x.isInvalid {
		t.Errorf("%s: Location %q, valid hint %t, invalid hint %t, want %q, %t, %t",
			name, r.Location(), r.HasValidHint(), r.InvalidHint, x.location, x.valid, x.isInvalid)
	}
}

// TestBeginChecksHintClientAndRedirectURI covers the combinations of parameters of a logout request.
func TestBeginChecksHintClientAndRedirectURI(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, storagetest.URL(t, storage.SQLite), servertest.Options{})
	s.User("alice")
	c, other := s.RelyingParty(), s.RelyingParty()
	b := s.Browser()
	hint := s.Redeem(c, b.Code(c, "alice", "scope", "openid")).Text("id_token")
	for name, x := range map[string]logoutRequest{
		"no parameters": {},
		"hint":          {form: url.Values{"id_token_hint": {hint}}, valid: true},
		"hint and redirect": {
			form:     url.Values{"id_token_hint": {hint}, "post_logout_redirect_uri": {byeURI}, "state": {"a b&c"}},
			location: byeURI + "?state=a+b%26c", valid: true,
		},
		"client and redirect": {
			form:     url.Values{"client_id": {c.ClientID}, "post_logout_redirect_uri": {byeURI}},
			location: byeURI,
		},
		"invalid hint and client": {
			form: url.Values{
				"id_token_hint": {"x"}, "client_id": {c.ClientID}, "post_logout_redirect_uri": {byeURI},
			},
			location: byeURI, isInvalid: true,
		},
		"invalid hint": {
			form: url.Values{"id_token_hint": {"x"}, "post_logout_redirect_uri": {byeURI}}, isInvalid: true,
		},
		"hint of another client": {
			form:    url.Values{"id_token_hint": {hint}, "client_id": {other.ClientID}},
			refused: "client_id is not the client",
		},
		"redirect without a client": {
			form:    url.Values{"post_logout_redirect_uri": {byeURI}},
			refused: "requires id_token_hint or client_id",
		},
		"unregistered redirect": {
			form:    url.Values{"client_id": {c.ClientID}, "post_logout_redirect_uri": {byeURI + "/"}},
			refused: "must match a registered URI exactly",
		},
		"unregistered client": {form: url.Values{"client_id": {"unknown"}}, refused: "client_id is not registered"},
	} {
		x.check(t, s, name)
	}
}

func TestSealedRequestExpiresAndIsAuthenticated(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, storagetest.URL(t, storage.SQLite), servertest.Options{})
	form := url.Values{"id_token_hint": {"secret"}, "state": {"x"}, "other": {"y"}}
	sealed, err := s.OAuth.Logout.Seal(form)
	storagetest.Must(t, err)
	got, err := s.OAuth.Logout.Open(sealed)
	if want := "id_token_hint=secret&state=x"; err != nil || got.Encode() != want {
		t.Errorf("Open = %s, %v, want %s", got.Encode(), err, want)
	}
	if strings.Contains(sealed, "secret") {
		t.Errorf("the sealed request %s has the hint in clear", sealed)
	}
	for _, invalid := range []string{"", "x", "A" + sealed[1:] + "A", sealed[:len(sealed)-4]} {
		if got, err := s.OAuth.Logout.Open(invalid); err == nil {
			t.Errorf("Open(%q) = %v, nil, want an error", invalid, got)
		}
	}
	s.Clock.Advance(24 * time.Hour)
	if _, err := s.OAuth.Logout.Open(sealed); err == nil {
		t.Error("Open accepted a request of a day ago")
	}
	if _, err := s.OAuth.Logout.Seal(url.Values{"state": {strings.Repeat("x", 17<<10)}}); err == nil {
		t.Error("Seal accepted a request of more than 16 KiB")
	}
}
