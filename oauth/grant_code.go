package oauth

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ory/fosite"

	"gatehouse/oauth/client"
	"gatehouse/oauth/credential"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// authorizationCode exchanges codes (RFC 6749 §4.1.3, RFC 7636 §4.5).
type authorizationCode struct{ grantHandler }

const codeRefusedDescription = "The code is unknown, expired or already used, or was issued to another client, redirect_uri or code_challenge."

// HandleTokenEndpointRequest redeems the code. What may be wrong for the honest client is checked before it is consumed.
// Consuming comes before signing: should signing fail the person signs in again, but a replayed code can never yield a
// second token.
func (h authorizationCode) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	c, state := clientOf(r), stateOf(r)
	form := state.form
	if err := h.allowed(ctx, c, state); err != nil {
		return err
	}
	redemption, err := h.redemption(c, form)
	if e := (*protocol.Error)(nil); errors.As(err, &e) && e.Code == protocol.InvalidGrant {
		h.recordRefusal(ctx, storage.CodeRefused, c, &storage.Refusal{Reason: e.Err.Error()}, credential.Hash(form.Get("code")), map[string]any{})
	}
	if err != nil {
		return err
	}
	now := h.store.Now()
	state.ttl = h.accessTTL(c)
	redemption.GrantExpiresAt = now.Add(state.ttl + time.Minute)
	name := credential.NewGrantName(now)
	redemption.GrantID = credential.GrantID(name)
	if c.GrantTypes.Has(protocol.GrantRefreshToken) {
		state.refresh = h.format.NewRefreshToken(name)
		redemption.RefreshHash = credential.Hash(state.refresh)
		redemption.GrantExpiresAt = now.Add(orDefault(c.RefreshMaxTTL, h.options.RefreshMaxTTL))
		redemption.RefreshExpiresAt = earlier(redemption.GrantExpiresAt, now.Add(orDefault(c.RefreshIdleTTL, h.options.RefreshIdleTTL)))
	}
	if len(form["resource"]) > 0 {
		code, err := h.store.Code(ctx, redemption.Hash)
		if errors.Is(err, storage.ErrNotFound) {
			err = &storage.Refusal{Reason: "an unknown code"}
		}
		if err != nil {
			return h.redemptionError(ctx, c, redemption, err)
		}
		if err := h.checkResourceNarrowing(ctx, c, form["resource"], code.Resources, code.Scopes, code.Scopes); err != nil {
			return err
		}
	}
	grant, err := h.store.RedeemCode(ctx, redemption, storage.Event{Type: storage.CodeRedeemed})
	if err != nil {
		return h.redemptionError(ctx, c, redemption, err)
	}
	state.recorded = true
	return h.fillFromGrant(ctx, c, state, grant, grant.Scopes, form["resource"])
}

// refusalDescriptions are the error descriptions for a code that the client could redeem with a corrected request.
var refusalDescriptions = map[string]string{
	storage.RefusedRedirectURI:        "redirect_uri must be identical to the one in the authorization request (RFC 6749 section 4.1.3).",
	storage.RefusedMissingRedirectURI: "redirect_uri is missing: the authorization request had it (RFC 6749 section 4.1.3).",
	storage.RefusedMissingVerifier:    "code_verifier is missing: the authorization request had a code_challenge (RFC 7636 section 4.5).",
	storage.RefusedVerifier:           "code_verifier does not match the code_challenge of the authorization request (RFC 7636 section 4.6).",
	storage.RefusedUnexpectedVerifier: "code_verifier was sent, but the authorization request had no code_challenge.",
}

// redemptionError returns the error response for a failed redemption and records which check failed.
func (h authorizationCode) redemptionError(ctx context.Context, c *storage.Client, r storage.Redemption, err error) error {
	e := AsError(err)
	if e.Code != protocol.InvalidGrant {
		return e
	}
	e.Description = codeRefusedDescription
	var refusal *storage.Refusal
	if !errors.As(err, &refusal) {
		return e
	}
	detail := map[string]any{}
	if refusal.Reason == storage.RefusedRedirectURI {
		sent := loggableURI(*r.RedirectURI)
		detail["redirect_uri"] = sent
		e.Err = fmt.Errorf("%w: %s", err, sent)
	}
	if description, ok := refusalDescriptions[refusal.Reason]; ok {
		e.Description = description
	}
	h.recordRefusal(ctx, storage.CodeRefused, c, refusal, r.Hash, detail)
	return e
}

// redemption reads the parameters of a code exchange.
func (h authorizationCode) redemption(c *storage.Client, form url.Values) (storage.Redemption, error) {
	code, verifier := form.Get("code"), form.Get("code_verifier")
	if code == "" {
		return storage.Redemption{}, protocol.NewError(protocol.InvalidRequest, "The parameter code is missing.")
	}
	if !h.format.Valid(credential.Code, code) {
		return storage.Redemption{}, protocol.NewError(protocol.InvalidGrant, codeRefusedDescription).WithCause(errors.New("malformed code"))
	}
	r := storage.Redemption{Hash: credential.Hash(code), ClientID: c.ID}
	if form.Has("redirect_uri") {
		uri := form.Get("redirect_uri")
		r.RedirectURI = &uri
	}
	if form.Has("code_verifier") {
		if len(verifier) < 43 || len(verifier) > 128 || strings.ContainsFunc(verifier, notUnreserved) {
			return storage.Redemption{}, protocol.NewError(
				protocol.InvalidGrant, "The code_verifier must have 43 to 128 characters of A-Z a-z 0-9 - . _ ~ (RFC 7636 section 4.1).").WithCause(

				errors.New("malformed code_verifier"))

		}
		sum := sha256.Sum256([]byte(verifier))
		r.Challenge = base64url(sum[:])
	}
	return r, nil
}

func notUnreserved(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~", r)
}

// checkResourceNarrowing refuses resources beyond those granted with the scopes (RFC 8707 §2.2), and ones for which none of the kept
// scopes is of use.
func (s *Server) checkResourceNarrowing(ctx context.Context, c *storage.Client, asked, granted, scopes, kept []string) error {
	if len(asked) == 0 {
		return nil
	}
	if _, err := s.Clients.Resources(ctx, c, asked); err != nil {
		return err
	}
	if len(granted) == 0 {
		var err error
		if granted, _, err = s.Clients.Audience(ctx, c, nil, scopes); err != nil {
			return err
		}
	}
	for _, identifier := range asked {
		if !slices.Contains(granted, identifier) {
			return protocol.NewError(protocol.InvalidTarget, "The resource was not granted with this authorization.")
		}
	}
	_, _, err := s.Clients.Audience(ctx, c, asked, kept)
	return err
}

// clockSkew is the maximum clock difference of two processes on SQLite; on PostgreSQL they share the database's time.
const clockSkew = 5 * time.Second

// fillFromGrant fills in the state of a person's token from their grant. asked narrows the resources. The code or refresh token is
// used up by now, so what the operator has taken away since the grant was made is left out rather than refused: scopes
// and resources that do not exist any more, and, if nothing remains, a token for this server alone that can do nothing.
func (s *Server) fillFromGrant(ctx context.Context, c *storage.Client, state *tokenState, grant storage.Grant, scopes, asked []string) error {
	reqevent.From(ctx).UserID = grant.UserID
	if len(asked) == 0 {
		asked = grant.Resources
	}
	knownScopes, err := s.store.Scopes(ctx)
	if err != nil {
		return err
	}
	knownResources, err := s.store.Resources(ctx)
	if err != nil {
		return err
	}
	// This grant does not include a scope or resource that was deleted and created again since.
	ofGrant := func(created time.Time) bool { return !created.After(grant.CreatedAt.Add(clockSkew)) }
	scopes = slices.DeleteFunc(slices.Clone(scopes), func(name string) bool {
		known, ok := knownScopes[name]
		return !ok || !ofGrant(known.CreatedAt)
	})
	left := slices.DeleteFunc(slices.Clone(asked), func(id string) bool {
		known, ok := knownResources[id]
		return !ok || !ofGrant(known.CreatedAt) || !client.CanUseResource(c, known)
	})
	state.audience, state.scopes, err = s.Clients.Audience(ctx, c, left, scopes)
	if err != nil || len(asked) > 0 && len(left) == 0 {
		if e := AsError(err); err != nil && e.Code != protocol.InvalidScope {
			return err
		}
		state.audience, state.scopes = []string{s.options.Issuer}, nil
	}
	// The userinfo endpoint is a resource of this server. A token request that names resources wants a token for those alone.
	if narrowed := len(asked) > 0 && !slices.Equal(asked, grant.Resources); slices.Contains(state.scopes, protocol.ScopeOpenID) && !narrowed && !slices.Contains(state.audience, s.options.Issuer) {
		state.audience = append(slices.Clone(state.audience), s.options.Issuer)
	}
	state.subject, state.grant = grant.UserID, grant
	state.ttl = min(state.ttl, max(time.Second, grant.ExpiresAt.Sub(s.store.Now()))).Truncate(time.Second)
	return nil
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
