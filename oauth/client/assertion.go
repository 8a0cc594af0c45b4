package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"time"

	"gatehouse/oauth/fetch"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// assertionType is the one client_assertion_type (RFC 7523 §2.2).
const assertionType = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"

// assertionTokenType is the explicit typ of a client assertion (draft-ietf-oauth-rfc7523bis). Most clients send JWT or
// none.
const assertionTokenType = "client-authentication+jwt"

// maxAssertionAge is how long before its exp an assertion may be used: long enough for clocks that differ, short
// enough to limit the use of a stolen one.
const maxAssertionAge = 5 * time.Minute

// assertion has the claims that a client signs to authenticate (RFC 7523 §3, OIDC Core §9).
type assertion struct {
	Issuer    string          `json:"iss"`
	Subject   string          `json:"sub"`
	Audience  json.RawMessage `json:"aud"`
	Expires   jwt.NumericDate `json:"exp"`
	NotBefore jwt.NumericDate `json:"nbf"`
	IssuedAt  jwt.NumericDate `json:"iat"`
	JTI       string          `json:"jti"`
}

// assertionIssuer returns the client_id that an unverified assertion claims.
func assertionIssuer(form url.Values) (string, error) {
	if form.Get("client_assertion_type") != assertionType || !form.Has("client_assertion") {
		return "", protocol.NewError(protocol.InvalidClient,
			"client_assertion and client_assertion_type are both required; client_assertion_type must be "+assertionType+".")
	}
	id := jwt.UnverifiedIssuer(form.Get("client_assertion"))
	if id == "" {
		return "", protocol.NewError(
			protocol.InvalidClient, "client_assertion must be a signed JWT with the client_id as iss.",
		)
	}
	if form.Has("client_id") && form.Get("client_id") != id {
		return "", protocol.NewError(protocol.InvalidRequest, "client_id must be the iss of the client_assertion.")
	}
	return id, nil
}

// verifyAssertion verifies a client's assertion and consumes it. Its jti is stored last, so that an attacker cannot
// consume one with an invalid assertion. The reason, empty when there is none, is for the developer of the client, and
// discloses nothing to the sender of the assertion. An error without reason is an internal error or a
// rate limit.
func (g *Registry) verifyAssertion(ctx context.Context, c *storage.Client, token string) (reason string, err error) {
	if err := g.checkAssertionLimits(ctx, c); err != nil {
		return "", err
	}
	t, err := g.VerifyJWT(ctx, c, c.AuthAlg, token)
	if err != nil {
		return signatureFailure(ctx, err)
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
	if reason := g.checkAssertionClaims(c, a); reason != "" {
		return reason, nil
	}
	err = g.store.UseOnce(ctx, storage.UseOfAssertion, c.ID, a.JTI, a.Expires.Time().Add(2*jwt.Leeway))
	if errors.Is(err, storage.ErrConsumed) {
		return "it was already used; each assertion needs a new jti", err
	}
	if err != nil {
		return "", protocol.UnavailableError(err)
	}
	return "", nil
}

// signatureFailure returns the reason of an error of VerifyJWT, or the error of a fault.
func signatureFailure(ctx context.Context, err error) (reason string, _ error) {
	var invalidJWKS jwt.JWKSError
	switch {
	case errors.Is(err, errNoJWKS):
		return "the client has neither jwks nor jwks_uri", err
	case fetch.IsOverloaded(ctx, err):
		return "", protocol.UnavailableError(err)
	case errors.Is(err, jwt.ErrTooManyCandidates):
		return fmt.Sprintf("more than %d keys of the JWKS are candidates; send the kid of the key", jwt.MaxCandidates), err
	case errors.Is(err, jwt.ErrInvalid):
		return "the signature matches no usable key of the client (RSA of 2048 to 4096 bits, P-256, Ed25519), " +
			"or alg is not the registered one", err
	case errors.As(err, &invalidJWKS):
		return "the JWKS of the client " + invalidJWKS.Error(), err
	}
	return "the JWKS cannot be read from jwks_uri", err
}

// checkAssertionClaims returns the reason why the claims are refused, or "".
func (g *Registry) checkAssertionClaims(c *storage.Client, a assertion) string {
	now := g.store.Now()
	switch {
	case a.Issuer != c.ID || a.Subject != c.ID:
		return "iss and sub must both be the client_id"
	case !g.isAssertionAudience(c, a.Audience):
		return "aud must be the issuer, " + g.options.Issuer + ", as a single string"
	case a.JTI == "" || len(a.JTI) > 500:
		return "jti is required, with at most 500 characters"
	case !now.Before(a.Expires.Time().Add(jwt.Leeway)):
		return "it has expired"
	case a.Expires.Time().After(now.Add(maxAssertionAge + jwt.Leeway)):
		return "exp must be at most 5 minutes in the future"
	case a.NotBefore != 0 && a.NotBefore.Time().After(now.Add(jwt.Leeway)),
		a.IssuedAt != 0 && a.IssuedAt.Time().After(now.Add(jwt.Leeway)):
		return "nbf and iat must not be in the future"
	}
	return ""
}

// isAssertionAudience reports whether an aud is the issuer as a string: another audience could use the assertion here.
// A client that follows OIDC Core §9 may name the token endpoint, or put either into an array.
func (g *Registry) isAssertionAudience(c *storage.Client, raw json.RawMessage) bool {
	var one string
	if json.Unmarshal(raw, &one) == nil && one == g.options.Issuer {
		return true
	}
	var aud jwt.Audience
	if !c.TokenEndpointAudience || json.Unmarshal(raw, &aud) != nil {
		return false
	}
	accepted := []string{g.options.Issuer, g.options.Issuer + "/oauth2/token"}
	return len(aud) > 0 && !slices.ContainsFunc(aud, func(item string) bool { return !slices.Contains(accepted, item) })
}
