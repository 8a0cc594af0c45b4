package oauth_test

import (
	"encoding/json"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth"
	"gatehouse/oauth/client"
	"gatehouse/storage/storagetest"
)

type clientInformation = client.Information

// register registers a client as the operator does and returns the code of the error.
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

// changed sets claims, given as names and values in turn; nil takes one away.
func changed(claims map[string]any, changes []any) map[string]any {
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

// flipped is the token with one character of its signature changed.
func flipped(token string) string {
	i := len(token) - 10
	return token[:i] + flip(token[i]) + token[i+1:]
}

// verified is the payload of a JWT of the server's.
func verified(t *testing.T, s *servertest.Server, token string) map[string]any {
	t.Helper()
	payload, err := oidc.NewRemoteKeySet(t.Context(), s.URL+"/.well-known/jwks.json").VerifySignature(t.Context(), token)
	storagetest.Must(t, err)
	out := map[string]any{}
	storagetest.Must(t, json.Unmarshal(payload, &out))
	return out
}
