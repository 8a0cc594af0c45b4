package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"gatehouse/oauth/jwt"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// assertionType is the one client_assertion_type (RFC 7523 §2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionTokenType is the explicit typ of a client assertion (draft-ietf-oauth-rfc7523bis). Most clients send JWT or
// none.
const assertionTokenType = "client-authentication+jwt"

// maxAssertion is how long before its end an assertion may be used at most: long enough for clocks that differ, too
// short to be worth stealing.
const maxAssertion = 5 * time.Minute

// assertion is what a client signs to authenticate (RFC 7523 §3, OIDC Core §9).
type assertion struct {
	Issuer    string          `json:"iss"`
	Subject   string          `json:"sub"`
	Audience  json.RawMessage `json:"aud"`
	Expires   jwt.NumericDate `json:"exp"`
	NotBefore jwt.NumericDate `json:"nbf"`
	IssuedAt  jwt.NumericDate `json:"iat"`
	JTI       string          `json:"jti"`
}

// assertedID is the client that an assertion claims to be of. Nothing is verified yet.
func assertedID(form url.Values) (string, *protocol.Error) {
	if form.Get("client_assertion_type") != assertionType || !form.Has("client_assertion") {
		return "", protocol.NewError(protocol.InvalidClient, "An assertion needs both client_assertion and client_assertion_type, which is "+assertionType+".")
	}
	id := jwt.UnverifiedIssuer(form.Get("client_assertion"))
	if id == "" {
		return "", protocol.NewError(protocol.InvalidClient, "The client_assertion is not a signed JWT with the client_id as iss.")
	}
	if form.Has("client_id") && form.Get("client_id") != id {
		return "", protocol.NewError(protocol.InvalidRequest, "The client_id in the body is not the iss of the client_assertion.")
	}
	return id, nil
}

// checkAssertion verifies a client's assertion and uses it up. Its jti is noted last, so that a stranger cannot burn one.
// The reason it returns is for the developer; it tells nothing that the sender of the assertion does not know.
func (s *Server) checkAssertion(ctx context.Context, c *storage.Client, token string) (reason string, err error) {
	var refused jwt.JWKSError
	t, err := s.verifyClientJWT(ctx, c, c.AuthAlg, token)
	switch {
	case errors.Is(err, errNoKeys):
		return "it has registered neither jwks nor jwks_uri", err
	case overloaded(ctx, err):
		return "", protocol.Unavailable(err)
	case errors.Is(err, jwt.ErrTooManyCandidates):
		return fmt.Sprintf("more than %d of its keys are candidates; send a kid that one key has", jwt.MaxCandidates), err
	case errors.Is(err, jwt.ErrInvalid):
		return "the signature is not by one of its keys that can be used (RSA of 2048 to 4096 bits, P-256, Ed25519), or alg is another than registered", err
	case errors.As(err, &refused):
		return "its key set " + refused.Error(), err
	case err != nil:
		return "its keys cannot be read from jwks_uri", err
	}
	if !t.HasType("", jwt.TypeJWT, assertionTokenType) { // a token of another kind, signed for another use
		return "typ must be " + assertionTokenType + ", JWT or absent", nil
	}
	var a assertion
	claims := map[string]json.RawMessage{}
	if err := json.Unmarshal(t.Payload, &claims); err != nil {
		return "it is not a JSON object", err
	}
	if err := jwt.UnmarshalExact(claims, &a); err != nil {
		return "a claim has the wrong type", err
	}
	now := s.store.Now()
	switch {
	case a.Issuer != c.ID || a.Subject != c.ID:
		return "iss and sub must both be the client_id", nil
	case !s.onlyUs(c, a.Audience):
		return "aud must be the issuer of this server, " + s.options.Issuer + ", as a text and nothing else", nil
	case a.JTI == "" || len(a.JTI) > 500:
		return "jti must be there, with 500 characters at most", nil
	case !now.Before(a.Expires.Time().Add(jwt.Leeway)):
		return "it has expired", nil
	case a.Expires.Time().After(now.Add(maxAssertion + jwt.Leeway)):
		return "exp must be at most 5 minutes ahead", nil
	case a.NotBefore != 0 && a.NotBefore.Time().After(now.Add(jwt.Leeway)), a.IssuedAt != 0 && a.IssuedAt.Time().After(now.Add(jwt.Leeway)):
		return "nbf or iat lies in the future", nil
	}
	err = s.store.ConsumeAssertion(ctx, c.ID, a.JTI, a.Expires.Time().Add(2*jwt.Leeway))
	if errors.Is(err, storage.ErrConsumed) {
		return "it was used before; jti must be new in each", err
	}
	if err != nil {
		return "", protocol.Unavailable(err)
	}
	return "", nil
}

// onlyUs reports whether an aud is this issuer as a text: an assertion that is also meant for others could be used by them
// here. A client that goes by the older words of OIDC Core §9 may name the token endpoint, or put either into an array.
func (s *Server) onlyUs(c *storage.Client, raw json.RawMessage) bool {
	var one string
	if json.Unmarshal(raw, &one) == nil && one == s.options.Issuer {
		return true
	}
	var aud jwt.Audience
	if !c.TokenEndpointAudience || json.Unmarshal(raw, &aud) != nil {
		return false
	}
	ours := []string{s.options.Issuer, s.options.Issuer + "/oauth2/token"}
	return len(aud) > 0 && !slices.ContainsFunc(aud, func(item string) bool { return !slices.Contains(ours, item) })
}
