package client

import (
	"errors"
	"strings"
	"testing"

	"gatehouse/oauth/protocol"
)

func TestInvalidMetadataNamesMember(t *testing.T) {
	t.Parallel()
	const valid = `{"redirect_uris":["https://a.example/cb"],`
	for metadata, want := range map[string]string{
		`{}`: "redirect_uris",
		valid + `"token_endpoint_auth_method":"x"}`:                 "token_endpoint_auth_method",
		valid + `"token_endpoint_auth_method":"private_key_jwt"}`:   "jwks",
		valid + `"grant_types":["implicit"]}`:                       "grant_types",
		valid + `"id_token_signed_response_alg":"none"}`:            "id_token_signed_response_alg",
		valid + `"default_max_age":-1}`:                             "default_max_age",
		valid + `"gatehouse_access_token_ttl":"25h"}`:               "gatehouse_access_token_ttl",
		valid + `"gatehouse_refresh_grace":"11m"}`:                  "gatehouse_refresh_grace",
		valid + `"gatehouse_optional_scopes":["a"],"scope":"b"}`:    "gatehouse_optional_scopes",
		valid + `"gatehouse_allowed_networks":["10.0.0.1/8"]}`:      "gatehouse_allowed_networks",
		valid + `"gatehouse_nonsense":1}`:                           "gatehouse_nonsense",
		valid + `"userinfo_encrypted_response_alg":"RSA-OAEP"}`:     "userinfo_encrypted_response_alg",
		valid + `"client_name":"` + strings.Repeat("x", 101) + `"}`: "client_name",
		valid + `"software_id":"` + strings.Repeat("x", 201) + `"}`: "software_id",
		valid + `"tos_uri":"javascript:x"}`:                         "tos_uri",
		valid + `"contacts":["a b",""]}`:                            "contacts",
		valid + `"scope":"claim:email"}`:                            "scope",
	} {
		m, err := ParseMetadata([]byte(metadata))
		if err == nil {
			err = m.applyDefaultsAndValidate()
		}
		var e *protocol.Error
		if !errors.As(err, &e) || e.Code != protocol.InvalidClientMetadata || !strings.Contains(e.Description, want) {
			t.Errorf("%s: error %v, want %s about %s", metadata, err, protocol.InvalidClientMetadata, want)
		}
	}
}

func TestDefaultsFollowStandard(t *testing.T) {
	t.Parallel()
	m := Metadata{RedirectURIs: List{"https://a.example/cb"}}
	if err := m.applyDefaultsAndValidate(); err != nil {
		t.Fatal(err)
	}
	got := strings.Join([]string{
		m.TokenEndpointAuthMethod, m.GrantTypes[0], m.ResponseTypes[0], m.ApplicationType, m.IDTokenAlg, m.SubjectType,
	}, " ")
	if want := "client_secret_basic authorization_code code web RS256 public"; got != want {
		t.Errorf("defaults = %q, want %q", got, want)
	}
	if !*m.RequirePKCE || !*m.RefreshRotation {
		t.Errorf("PKCE required: %t, refresh rotation: %t, want true and true", *m.RequirePKCE, *m.RefreshRotation)
	}
}
