package client

import (
	"errors"
	"strings"
	"testing"

	"gatehouse/oauth/protocol"
)

func TestInvalidMetadataNamesTheMember(t *testing.T) {
	t.Parallel()
	for metadata, want := range map[string]string{
		`{}`: "redirect_uris",
		`{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"x"}`:                 "token_endpoint_auth_method",
		`{"redirect_uris":["https://a.example/cb"],"token_endpoint_auth_method":"private_key_jwt"}`:   "jwks",
		`{"redirect_uris":["https://a.example/cb"],"grant_types":["implicit"]}`:                       "grant_types",
		`{"redirect_uris":["https://a.example/cb"],"id_token_signed_response_alg":"none"}`:            "id_token_signed_response_alg",
		`{"redirect_uris":["https://a.example/cb"],"default_max_age":-1}`:                             "default_max_age",
		`{"redirect_uris":["https://a.example/cb"],"gatehouse_access_token_ttl":"25h"}`:               "gatehouse_access_token_ttl",
		`{"redirect_uris":["https://a.example/cb"],"gatehouse_refresh_grace":"11m"}`:                  "gatehouse_refresh_grace",
		`{"redirect_uris":["https://a.example/cb"],"gatehouse_optional_scopes":["a"],"scope":"b"}`:    "gatehouse_optional_scopes",
		`{"redirect_uris":["https://a.example/cb"],"gatehouse_allowed_networks":["10.0.0.1/8"]}`:      "gatehouse_allowed_networks",
		`{"redirect_uris":["https://a.example/cb"],"gatehouse_nonsense":1}`:                           "gatehouse_nonsense",
		`{"redirect_uris":["https://a.example/cb"],"userinfo_encrypted_response_alg":"RSA-OAEP"}`:     "userinfo_encrypted_response_alg",
		`{"redirect_uris":["https://a.example/cb"],"client_name":"` + strings.Repeat("x", 101) + `"}`: "client_name",
		`{"redirect_uris":["https://a.example/cb"],"software_id":"` + strings.Repeat("x", 201) + `"}`: "software_id",
		`{"redirect_uris":["https://a.example/cb"],"tos_uri":"javascript:x"}`:                         "tos_uri",
		`{"redirect_uris":["https://a.example/cb"],"contacts":["a b",""]}`:                            "contacts",
		`{"redirect_uris":["https://a.example/cb"],"scope":"claim:email"}`:                            "scope",
	} {
		m, err := ParseMetadata([]byte(metadata))
		if err == nil {
			err = m.applyDefaultsAndValidate()
		}
		var e *protocol.Error
		if !errors.As(err, &e) || e.Code != protocol.InvalidClientMetadata || !strings.Contains(e.Description, want) {
			t.Errorf("%s: %v, want %s about %s", metadata, err, protocol.InvalidClientMetadata, want)
		}
	}
}

func TestDefaultsAreThoseOfTheStandard(t *testing.T) {
	t.Parallel()
	m := Metadata{RedirectURIs: List{"https://a.example/cb"}}
	if err := m.applyDefaultsAndValidate(); err != nil {
		t.Fatal(err)
	}
	got := []string{m.TokenEndpointAuthMethod, m.GrantTypes[0], m.ResponseTypes[0], m.ApplicationType, m.IDTokenAlg, m.SubjectType}
	want := "client_secret_basic authorization_code code web RS256 public"
	if strings.Join(got, " ") != want || !*m.RequirePKCE || !*m.RefreshRotation {
		t.Errorf("defaults = %q with PKCE %v and rotation %v, want %s, true and true", got, *m.RequirePKCE, *m.RefreshRotation, want)
	}
}
