package grant

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"gatehouse/oauth/credential"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/audit"
)

// RefreshToken rotates refresh tokens (RFC 6749 §6, RFC 9700 §4.14.2).
type RefreshToken struct {
	Store         *storage.Store
	Tokens        UserTokens
	Format        credential.Format
	Lifetimes     Lifetimes
	Limiter       *ratelimit.Limiter
	Successors    Successors
	RecordFailure FailureRecorder
	Log           *slog.Logger
}

const invalidRefreshTokenDescription = "The refresh token is unknown, expired, revoked or already used, " +
	"or was issued to another client."

// Authorize rotates the token. A request for fewer scopes or resources is checked first, so that a refusal does not
// consume the token of a legitimate client. Reuse of a rotated token revokes its grant.
func (h RefreshToken) Authorize(ctx context.Context, request *Request) (*Result, error) {
	token := request.Form.Get("refresh_token")
	rotation, err := h.parseRotation(ctx, request.Client, token)
	if err != nil {
		return nil, err
	}
	if err := h.countUse(ctx, request.Client, rotation); err != nil {
		return nil, err
	}
	requested := strings.Fields(request.Scope)
	if len(requested) > 0 || len(request.Resources) > 0 {
		if err := h.checkNarrowing(ctx, request, rotation, requested); err != nil {
			return nil, err
		}
	}
	successor := ""
	if request.Client.RefreshRotation || request.Client.IsPublic() {
		successor = h.Format.NewRefreshToken(h.Format.GrantName(token))
		rotation.NextHash = credential.Hash(successor)
		if rotation.SealedSuccessor, err = h.Successors.seal(token, rotation.GrantID, successor); err != nil {
			return nil, err
		}
	}
	rotated, err := h.Store.RotateRefreshToken(ctx, rotation)
	if err != nil {
		return nil, h.rotationError(ctx, request.Client, rotation, err)
	}
	scopes := []string(rotated.Grant.Scopes)
	if len(requested) > 0 {
		scopes = slices.DeleteFunc(slices.Clone(scopes), func(name string) bool { return !slices.Contains(requested, name) })
	}
	result, err := h.Tokens.newResult(ctx, request, rotated.Grant, scopes)
	if err != nil {
		return nil, err
	}
	result.RefreshToken, result.Recorded = successor, true
	if rotated.SealedSuccessor == nil {
		return result, nil
	}
	return result, h.repeatSuccessor(ctx, result, token, rotated)
}

// parseRotation reads the refresh token of a request.
func (h RefreshToken) parseRotation(ctx context.Context, c *storage.Client, token string) (storage.Rotation, error) {
	if token == "" {
		return storage.Rotation{}, protocol.NewError(protocol.InvalidRequest, "refresh_token is missing.")
	}
	if !h.Format.Valid(credential.RefreshToken, token) {
		malformed := &storage.RefusalError{Reason: "a malformed refresh token"}
		h.RecordFailure.recordRefusal(ctx, audit.RefreshRefused, c, malformed, credential.Hash(token), nil)
		e := protocol.NewError(protocol.InvalidGrant, invalidRefreshTokenDescription)
		return storage.Rotation{}, e.WithCause(malformed)
	}
	return storage.Rotation{
		GrantID: credential.GrantID(h.Format.GrantName(token)), ClientID: c.ID, Hash: credential.Hash(token),
		IdleTTL: h.Lifetimes.refreshIdle(c), Grace: h.Lifetimes.refreshGrace(c),
	}, nil
}

// countUse counts a use of the grant. Reuse is detected above the limit too: otherwise an attacker that refreshes often
// would prevent detection, because the user's reuse would be refused by the limit first.
func (h RefreshToken) countUse(ctx context.Context, c *storage.Client, r storage.Rotation) error {
	err := CheckUserLimit(ctx, h.Limiter, r.GrantID)
	if err == nil {
		return nil
	}
	if reused := h.Store.RevokeReusedAboveLimit(ctx, r); reused != nil {
		return h.rotationError(ctx, c, r, reused)
	}
	return err
}

// checkNarrowing refuses scopes and resources beyond the grant's (RFC 6749 §6).
func (h RefreshToken) checkNarrowing(ctx context.Context, request *Request, r storage.Rotation, scopes []string) error {
	grant, err := h.Store.Grant(ctx, r.GrantID)
	if errors.Is(err, storage.ErrNotFound) || err == nil && grant.ClientID != request.Client.ID {
		err = h.Store.GrantRefusal(ctx, r.GrantID, request.Client.ID)
	}
	if err != nil {
		return h.rotationError(ctx, request.Client, r, err)
	}
	existing, err := h.Store.Scopes(ctx)
	if err != nil {
		return err
	}
	for _, name := range scopes {
		if _, ok := existing[name]; !ok || !grant.Scopes.Has(name) {
			return protocol.NewError(protocol.InvalidScope, "scope must be among the granted scopes that still exist.")
		}
	}
	if len(scopes) == 0 {
		scopes = grant.Scopes
	}
	return h.Tokens.checkResources(ctx, request, grant.GrantTerms, scopes)
}

// repeatSuccessor returns the refresh token of the first response again to a client that retries: the response may have
// been lost.
func (h RefreshToken) repeatSuccessor(
	ctx context.Context, result *Result, token string, rotated storage.RotationResult,
) (err error) {
	grant := rotated.Grant
	h.Log.InfoContext(ctx, "refresh retried, same successor issued",
		slog.String("client_id", grant.ClientID), slog.String("grant_id", grant.ID),
		slog.Float64("rotated_s_ago", rotated.Age.Seconds()), slog.Float64("outage_s", rotated.Outage.Seconds()))
	result.Recorded = false
	result.AuditDetail = map[string]any{
		"refresh_retry": true, "rotated_ms_ago": rotated.Age.Milliseconds(), "outage_ms": rotated.Outage.Milliseconds(),
	}
	result.RefreshToken, err = h.Successors.open(token, grant.ID, rotated.SealedSuccessor)
	return err
}

// rotationError returns the error response for a failed rotation and records why the token was refused.
func (h RefreshToken) rotationError(ctx context.Context, c *storage.Client, r storage.Rotation, err error) error {
	if errors.Is(err, storage.ErrReused) {
		h.Log.WarnContext(ctx, "refresh token reused: its grant is revoked", slog.String("alert", "refresh_token_reuse"),
			slog.String("client_id", r.ClientID), slog.String("grant_id", r.GrantID))
	}
	if refusal := (*storage.RefusalError)(nil); errors.As(err, &refusal) {
		h.RecordFailure.recordRefusal(ctx, audit.RefreshRefused, c, refusal, r.Hash, nil)
		err = refusal // without the operation, so that the cause in the log is the reason in the audit log
	}
	if !isRefusal(err) {
		return err
	}
	return protocol.NewError(protocol.InvalidGrant, invalidRefreshTokenDescription).WithCause(err)
}

// CheckUserLimit counts tokens issued for a user. The key identifies the user and client, or the grant. It returns the
// error of the limit when it is exceeded.
func CheckUserLimit(ctx context.Context, limiter *ratelimit.Limiter, key string) error {
	d := limiter.Count(ctx, ratelimit.Count{Limit: ratelimit.TokenUser, Key: key})
	return protocol.LimitError(d, "Too many tokens for this user. Cache a token until shortly before it expires.")
}
