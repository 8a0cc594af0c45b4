package claims

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

func TestParseRequestRefusesOtherForms(t *testing.T) {
	t.Parallel()
	for _, parameter := range []string{
		"", `{}`, `{"userinfo":{"email":null},"unknown":7}`, `{"id_token":{"acr":{"values":["1"]}}}`,
	} {
		if _, err := ParseRequest(parameter); err != nil {
			t.Errorf("ParseRequest(%q): error %v, want none", parameter, err)
		}
	}
	for _, parameter := range []string{
		`[]`, `7`, `{"userinfo":7}`, `{"userinfo":{"email":true}}`, `{} {}`,
		`{"userinfo":{"email":{"essential":"yes"}}}`, `{"userinfo":{"email":{"values":"a"}}}`,
		`{"userinfo":{"email":null,"email":null}}`, `{"userinfo":{"email":{"value":"\u0000"}}}`,
	} {
		_, err := ParseRequest(parameter)
		var e *protocol.Error
		if !errors.As(err, &e) || e.Code != protocol.InvalidRequest {
			t.Errorf("ParseRequest(%q): error %v, want %s", parameter, err, protocol.InvalidRequest)
		}
	}
}

func TestRequestNamesAtMostOneSubject(t *testing.T) {
	t.Parallel()
	for parameter, want := range map[string]string{
		`{}`:                                 "",
		`{"id_token":{"sub":null}}`:          "",
		`{"id_token":{"sub":{"value":"a"}}}`: "a",
		`{"userinfo":{"sub":{"values":["a"]}},"id_token":{"sub":{"value":"a"}}}`: "a",
		`{"id_token":{"sub":{"value":"a"}},"userinfo":{"sub":{"value":"b"}}}`:    "refused",
		`{"id_token":{"sub":{"value":7}}}`:                                       "refused",
		`{"id_token":{"sub":{"value":""}}}`:                                      "refused",
	} {
		r, err := ParseRequest(parameter)
		if err != nil {
			t.Fatalf("ParseRequest(%q): %v", parameter, err)
		}
		got, err := r.Subject()
		if err != nil {
			got = "refused"
		}
		if got != want {
			t.Errorf("subject of %s = %q, want %q", parameter, got, want)
		}
	}
}

func TestGrantStoresOnlyGrantedClaims(t *testing.T) {
	t.Parallel()
	const parameter = `{"userinfo":{"email":{"essential":true},"name":null,"phone_number":null},` +
		`"id_token":{"sub":{"value":"a"}}}`
	r, err := ParseRequest(parameter)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		scopes, permissions []string
		want                string
	}{
		{nil, nil, ""},
		{[]string{"email"}, nil, `{"userinfo":{"email":{"essential":true}}}`},
		{nil, []string{"claim:name"}, `{"userinfo":{"name":null}}`},
	} {
		if got := r.Granted(c.scopes, c.permissions); got != c.want {
			t.Errorf("Granted(%q, %q) = %q, want %q", c.scopes, c.permissions, got, c.want)
		}
	}
	client := &storage.Client{Scopes: storage.Strings{"openid", "profile", "email"}}
	if diff := cmp.Diff([]string{"claim:name"}, r.ConsentValues(client, []string{"openid", "email"})); diff != "" {
		t.Errorf("consent values for a client without the scope phone (-want +got):\n%s", diff)
	}
}

// TestUserClaimsFollowScopesOfToken checks that a narrowed token does not disclose a claim that was requested by name
// if the grant has the scope of the claim and the token does not.
func TestUserClaimsFollowScopesOfToken(t *testing.T) {
	t.Parallel()
	u := &storage.User{Name: "Alice", Username: "alice", Email: "alice@example.com", UpdatedAt: time.Unix(1, 0)}
	requested := map[string]*requestedClaim{"email": nil, "name": nil}
	for _, c := range []struct {
		scopes, granted []string
		want            map[string]any
	}{
		{
			[]string{"openid", "email"}, []string{"openid", "email"},
			map[string]any{"email": u.Email, "email_verified": false, "name": "Alice"},
		},
		{[]string{"openid"}, []string{"openid", "email"}, map[string]any{"name": "Alice"}},
		{[]string{"openid"}, []string{"openid"}, map[string]any{"email": u.Email, "name": "Alice"}},
	} {
		if diff := cmp.Diff(c.want, selectClaims(&userData{User: u}, c.scopes, c.granted, requested)); diff != "" {
			t.Errorf("claims of a token with %q of a grant with %q (-want +got):\n%s", c.scopes, c.granted, diff)
		}
	}
}
