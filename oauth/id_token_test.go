package oauth_test

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth"
	"gatehouse/oauth/client"
	"gatehouse/storage/storagetest"
)

type clientInformation = client.Information

// register registers a client as the operator does. It returns the error and its code, both empty on success.
func register(t *testing.T, s *servertest.Server, metadata string) (string, error) {
	t.Helper()
	m, err := client.ParseMetadata([]byte(metadata))
	if err == nil {
		_, _, err = s.OAuth.Clients.Create(t.Context(), m)
	}
	if err != nil {
		return oauth.AsError(err).Code, err
	}
	return "", nil
}

// withClaims sets claims, which alternate names and values, and removes those that are nil.
func withClaims(claims map[string]any, changes []any) map[string]any {
	for i := 0; i+1 < len(changes); i += 2 {
		name, _ := changes[i].(string)
		if changes[i+1] == nil {
			delete(claims, name)
		} else {
			claims[name] = changes[i+1]
		}
	}
	return claims
}

// withChangedSignature returns the token with one character of its signature changed.
func withChangedSignature(token string) string {
	i := len(token) - 10
	return token[:i] + otherCharacter(token[i]) + token[i+1:]
}

// forge returns the token with another header and changed claims, with its old signature. Without changes the payload
// stays byte for byte.
func forge(t testing.TB, token string, header, changes map[string]any) string {
	t.Helper()
	encode := func(v any) string {
		b, err := json.Marshal(v)
		storagetest.Must(t, err)
		return base64.RawURLEncoding.EncodeToString(b)
	}
	parts := strings.Split(token, ".")
	if changes != nil {
		body := claims(t, token)
		maps.Copy(body, changes)
		parts[1] = encode(body)
	}
	return encode(header) + "." + parts[1] + "." + parts[2]
}

// verifiedClaims returns the claims of a JWT that the server signed.
func verifiedClaims(t *testing.T, s *servertest.Server, token string) map[string]any {
	t.Helper()
	keys := oidc.NewRemoteKeySet(t.Context(), s.URL+"/.well-known/jwks.json")
	payload, err := keys.VerifySignature(t.Context(), token)
	storagetest.Must(t, err)
	out := map[string]any{}
	storagetest.Must(t, json.Unmarshal(payload, &out))
	return out
}
