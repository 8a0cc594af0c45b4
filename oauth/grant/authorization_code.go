package grant

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"gatehouse/oauth/credential"
	"gatehouse/oauth/granttype"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
	"gatehouse/storage/audit"
)

// AuthorizationCode exchanges codes for tokens (RFC 6749 §4.1.3, RFC 7636 §4.5).
type AuthorizationCode struct {
	Store         *storage.Store
	Tokens        UserTokens
	Format        credential.Format
	Lifetimes     Lifetimes
	RecordFailure FailureRecorder
}

const invalidCodeDescription = "The code is unknown, expired or already used, or was issued to another client, " +
	"redirect_uri or code_challenge."

// Authorize redeems the code. Errors that a legitimate client can make are checked before the code is consumed. It
// is consumed before tokens are signed: if signing fails, the user signs in again, but a replayed code can never yield
// a second token.
func (h AuthorizationCode) Authorize(ctx context.Context, request *Request) (*Result, error) {
	c := request.Client
	redemption, err := h.parseRedemption(c, request.Form)
	if e := (*protocol.Error)(nil); errors.As(err, &e) && e.Code == protocol.InvalidGrant {
		malformed := &storage.RefusalError{Reason: e.Err.Error()}
		h.RecordFailure.recordRefusal(ctx, audit.CodeRefused, c, malformed, credential.Hash(request.Form.Get("code")), nil)
	}
	if err != nil {
		return nil, err
	}
	now := h.Store.Now()
	name := credential.NewGrantName(now)
	redemption.GrantID = credential.GrantID(name)
	redemption.GrantExpiresAt = now.Add(h.Lifetimes.accessToken(c) + time.Minute)
	refreshToken := ""
	if c.GrantTypes.Has(granttype.RefreshToken) {
		refreshToken = h.Format.NewRefreshToken(name)
		redemption.RefreshHash = credential.Hash(refreshToken)
		redemption.GrantExpiresAt = now.Add(h.Lifetimes.refreshMax(c))
		redemption.RefreshExpiresAt = earlier(redemption.GrantExpiresAt, now.Add(h.Lifetimes.refreshIdle(c)))
	}
	if len(request.Resources) > 0 {
		code, err := h.Store.Code(ctx, redemption.Hash)
		if errors.Is(err, storage.ErrNotFound) {
			err = &storage.RefusalError{Reason: "an unknown code"}
		}
		if err != nil {
			return nil, h.redemptionError(ctx, c, redemption, err)
		}
		if err := h.Tokens.checkResources(ctx, request, code.GrantTerms, code.Scopes); err != nil {
			return nil, err
		}
	}
	grant, err := h.Store.RedeemCode(ctx, redemption)
	if err != nil {
		return nil, h.redemptionError(ctx, c, redemption, err)
	}
	result, err := h.Tokens.newResult(ctx, request, grant, grant.Scopes)
	if err != nil {
		return nil, err
	}
	result.RefreshToken, result.Recorded = refreshToken, true
	return result, nil
}

// parseRedemption reads the parameters of a code exchange.
func (h AuthorizationCode) parseRedemption(c *storage.Client, form url.Values) (storage.Redemption, error) {
	code, verifier := form.Get("code"), form.Get("code_verifier")
	if code == "" {
		return storage.Redemption{}, protocol.NewError(protocol.InvalidRequest, "code is missing.")
	}
	if !h.Format.Valid(credential.Code, code) {
		e := protocol.NewError(protocol.InvalidGrant, invalidCodeDescription)
		return storage.Redemption{}, e.WithCause(errors.New("malformed code"))
	}
	r := storage.Redemption{Hash: credential.Hash(code), ClientID: c.ID}
	if form.Has("redirect_uri") {
		uri := form.Get("redirect_uri")
		r.RedirectURI = &uri
	}
	if form.Has("code_verifier") {
		if len(verifier) < 43 || len(verifier) > 128 || strings.ContainsFunc(verifier, isReserved) {
			e := protocol.NewError(protocol.InvalidGrant,
				"code_verifier must have 43 to 128 characters of A-Z a-z 0-9 - . _ ~ (RFC 7636 section 4.1).")
			return storage.Redemption{}, e.WithCause(errors.New("malformed code_verifier"))
		}
		sum := sha256.Sum256([]byte(verifier))
		r.Challenge = base64.RawURLEncoding.EncodeToString(sum[:])
	}
	return r, nil
}

// isReserved reports whether r is none of the unreserved characters of a URI (RFC 3986 §2.3).
func isReserved(r rune) bool {
	return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && !strings.ContainsRune("-._~", r)
}

// codeDescriptions are the error descriptions for a code that the client could redeem with a corrected request.
var codeDescriptions = map[string]string{
	storage.RefusedRedirectURI: "redirect_uri must be identical to the one in the authorization " +
		"request (RFC 6749 section 4.1.3).",
	storage.RefusedMissingRedirectURI: "redirect_uri is missing: the authorization request had it (RFC 6749 " +
		"section 4.1.3).",
	storage.RefusedMissingVerifier: "code_verifier is missing: the authorization request had a " +
		"code_challenge (RFC 7636 section 4.5).",
	storage.RefusedVerifier: "code_verifier does not match the code_challenge of the authorization " +
		"request (RFC 7636 section 4.6).",
	storage.RefusedUnexpectedVerifier: "code_verifier was sent, but the authorization request had no code_challenge.",
}

// redemptionError returns the error response for a failed redemption and records which check failed.
func (h AuthorizationCode) redemptionError(
	ctx context.Context, c *storage.Client, r storage.Redemption, err error,
) error {
	if !isRefusal(err) {
		return err
	}
	e := protocol.NewError(protocol.InvalidGrant, invalidCodeDescription).WithCause(err)
	var refusal *storage.RefusalError
	if !errors.As(err, &refusal) {
		return e
	}
	e.Err = refusal // without the operation, so that the cause in the log is the reason in the audit log
	var detail map[string]any
	if refusal.Reason == storage.RefusedRedirectURI {
		sent := redirect.SanitizeForLog(*r.RedirectURI)
		detail = map[string]any{"redirect_uri": sent}
		e.Err = fmt.Errorf("%w: %s", refusal, sent)
	}
	if description, ok := codeDescriptions[refusal.Reason]; ok {
		e.Description = description
	}
	h.RecordFailure.recordRefusal(ctx, audit.CodeRefused, c, refusal, r.Hash, detail)
	return e
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
