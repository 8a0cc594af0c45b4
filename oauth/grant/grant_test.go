package grant

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/keyed"
	"gatehouse/oauth/granttype"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

func TestParseRequestReadsGrantType(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ body, code string }{
		{"grant_type=client_credentials&scope=read&resource=https://a.example&resource=https://b.example", ""},
		{"grant_type=client_credentials&scope=", ""},
		{"scope=read", protocol.InvalidRequest},
		{"grant_type=", protocol.InvalidRequest},
		{"grant_type=password", protocol.UnsupportedGrantType},
		{"grant_type=client_credentials&grant_type=client_credentials", "a *params.Error"},
	} {
		event := &reqevent.Event{}
		r := httptest.NewRequest(http.MethodPost, "/oauth2/token", strings.NewReader(test.body))
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request, err := ParseRequest(r.WithContext(reqevent.NewContext(context.Background(), event)))
		code := ""
		if e := (*protocol.Error)(nil); errors.As(err, &e) {
			code = e.Code
		} else if err != nil {
			code = "a *params.Error"
		}
		if code != test.code {
			t.Errorf("ParseRequest(%q): error %v, want the code %q", test.body, err, test.code)
		}
		if err == nil && (request.GrantType != granttype.ClientCredentials || event.GrantType != request.GrantType) {
			t.Errorf("ParseRequest(%q): grant type %q, in the request event %q, want %q for both",
				test.body, request.GrantType, event.GrantType, granttype.ClientCredentials)
		}
		if want := strings.Count(test.body, "resource="); err == nil && len(request.Resources) != want {
			t.Errorf("ParseRequest(%q): resources %q, want %d", test.body, request.Resources, want)
		}
	}
}

func TestSuccessorOpensOnlyWithRotatedToken(t *testing.T) {
	t.Parallel()
	successors := Successors("0123456789abcdef0123456789abcdef")
	sealed, err := successors.seal("old token", "grant", "new token")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := successors.open("old token", "grant", sealed); err != nil || got != "new token" {
		t.Errorf("open = %q, %v, want the successor", got, err)
	}
	for name, open := range map[string]func() (string, error){
		"another token": func() (string, error) { return successors.open("new token", "grant", sealed) },
		"another grant": func() (string, error) { return successors.open("old token", "other", sealed) },
		"another salt":  func() (string, error) { return Successors("other").open("old token", "grant", sealed) },
		"altered":       func() (string, error) { return successors.open("old token", "grant", sealed[1:]) },
		"empty":         func() (string, error) { return successors.open("old token", "grant", nil) },
	} {
		if got, err := open(); !errors.Is(err, keyed.ErrDamaged) {
			t.Errorf("%s: open = %q, %v, want ErrDamaged", name, got, err)
		}
	}
}

func TestLifetimeOfClientOverridesDefault(t *testing.T) {
	t.Parallel()
	defaults := Lifetimes{
		AccessToken: 1500 * time.Millisecond, RefreshIdle: time.Hour, RefreshMax: 2 * time.Hour, RefreshGrace: time.Minute,
	}
	if got := defaults.accessToken(&storage.Client{}); got != time.Second {
		t.Errorf("access token lifetime = %v, want %v: 1.5s in full seconds", got, time.Second)
	}
	own, none := 10*time.Second, time.Duration(0)
	c := &storage.Client{}
	c.AccessTokenTTL, c.RefreshIdleTTL, c.RefreshMaxTTL, c.RefreshGrace = &own, &own, &own, &none
	for name, lifetime := range map[string]struct{ got, want time.Duration }{
		"access token":        {defaults.accessToken(c), own},
		"idle refresh token":  {defaults.refreshIdle(c), own},
		"refresh token":       {defaults.refreshMax(c), own},
		"refresh token grace": {defaults.refreshGrace(c), none},
	} {
		if lifetime.got != lifetime.want {
			t.Errorf("%s lifetime = %v, want %v", name, lifetime.got, lifetime.want)
		}
	}
}
