package client

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"unicode/utf8"

	"gatehouse/oauth/jwt"
	"gatehouse/storage"
)

// documentMembers are the members of a document that differ from those of a registration.
type documentMembers struct {
	ClientID    string
	AuthMethod  string
	AuthMethods List // token_endpoint_auth_methods_supported
}

// parseDocument reads the metadata of a client ID metadata document: that of a registration, but with a client_id equal
// to its URL byte for byte, and no shared secret (draft-ietf-oauth-client-id-metadata-document §4.1).
func (g *Registry) parseDocument(ctx context.Context, id string, body []byte) (Metadata, error) {
	if err := jwt.CheckJSONLimits(body, maxArrayItems); err != nil {
		return Metadata{}, invalid("The document %w.", err)
	}
	object := map[string]json.RawMessage{}
	if err := json.Unmarshal(body, &object); err != nil || object == nil || !utf8.Valid(body) {
		return Metadata{}, invalid("The document must be a JSON object in UTF-8.")
	}
	method, err := documentAuthMethod(id, object)
	if err != nil {
		return Metadata{}, err
	}
	// Not used: the sector is the host of the client_id, and its document proves no other.
	delete(object, "sector_identifier_uri")
	object["token_endpoint_auth_method"] = json.RawMessage(`"` + method + `"`)
	if body, err = json.Marshal(object); err != nil {
		return Metadata{}, err
	}
	open, err := g.openScopes(ctx)
	if err != nil {
		return Metadata{}, err
	}
	m, err := g.parseSelfRegistration(body, g.options.Registration.Scopes, open)
	if err != nil {
		return Metadata{}, err
	}
	m.RequirePKCE = new(true)
	if err := m.applyDefaultsAndValidate(); err != nil {
		return Metadata{}, err
	}
	return m, g.checkFetchedURIs(&m)
}

// documentAuthMethod checks the members of a document that identify and authenticate the client, and returns the
// authentication method: none or private_key_jwt. A client that lists both and requires neither is public, and can also
// authenticate with its key (see canUseAssertion).
func documentAuthMethod(id string, object map[string]json.RawMessage) (string, error) {
	var d documentMembers
	for name, target := range map[string]any{
		"client_id": &d.ClientID, "token_endpoint_auth_method": &d.AuthMethod,
		"token_endpoint_auth_methods_supported": &d.AuthMethods,
	} {
		if raw, ok := object[name]; ok && json.Unmarshal(raw, target) != nil {
			return "", invalid("%s has the wrong type.", name)
		}
	}
	for _, name := range []string{"client_secret", "client_secret_expires_at"} {
		if _, ok := object[name]; ok {
			return "", invalid("It must not have %s, because the document is public.", name)
		}
	}
	lists := func(method string) bool { return slices.Contains(d.AuthMethods, method) }
	switch {
	case d.ClientID != id:
		return "", invalid("Its client_id must equal the client_id of the request, which is its URL, in every character.")
	case strings.HasPrefix(d.AuthMethod, "client_secret_"):
		return "", invalid("token_endpoint_auth_method must be none or private_key_jwt, because the client has no secret.")
	case d.AuthMethod == storage.AuthNone || d.AuthMethod == storage.AuthPrivateKey:
		return d.AuthMethod, nil
	case d.AuthMethod != "":
		return "", invalid("token_endpoint_auth_method must be none or private_key_jwt.")
	case len(d.AuthMethods) == 0 || lists(storage.AuthNone):
		return storage.AuthNone, nil
	case lists(storage.AuthPrivateKey):
		return storage.AuthPrivateKey, nil
	}
	return "", invalid("token_endpoint_auth_methods_supported must include none or private_key_jwt.")
}

// canUseAssertion reports whether a client may authenticate with its key although its document does not require it.
func canUseAssertion(c *storage.Client, method string) bool {
	return method == storage.AuthPrivateKey && c.IsDocument() && c.IsPublic() && (c.JWKS != "" || c.JWKSURI != "")
}
