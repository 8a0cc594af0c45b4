package oauth

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"log/slog"
	"slices"
	"strings"

	"github.com/ory/fosite"

	"gatehouse/oauth/credential"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// refreshToken rotates refresh tokens (RFC 6749 §6, RFC 9700 §4.14.2).
type refreshToken struct{ grantHandler }

const refreshRefusedDescription = "The refresh token is unknown, expired, revoked or already used, or was issued to another client."

// HandleTokenEndpointRequest rotates the token. A request that narrows what it asks for is checked first, so that a
// refusal costs the honest client nothing.
func (h refreshToken) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) error {
	c, state := clientOf(r), stateOf(r)
	form := state.form
	if err := h.allowed(ctx, c, state); err != nil {
		return err
	}
	token := form.Get("refresh_token")
	if token == "" {
		return protocol.NewError(protocol.InvalidRequest, "The parameter refresh_token is missing.")
	}
	if !h.format.Valid(credential.RefreshToken, token) {
		refusal := &storage.Refusal{Reason: "a malformed refresh token"}
		h.recordRefusal(ctx, storage.RefreshRefused, c, refusal, credential.Hash(token), map[string]any{})
		return protocol.NewError(protocol.InvalidGrant, refreshRefusedDescription).WithCause(refusal)
	}
	name := h.format.GrantName(token)
	rotation := storage.Rotation{
		GrantID: credential.GrantID(name), ClientID: c.ID, Hash: credential.Hash(token),
		IdleTTL: orDefault(c.RefreshIdleTTL, h.options.RefreshIdleTTL), Grace: orDefault(c.RefreshGrace, h.options.RefreshGrace),
	}
	if err := h.checkUserTokenLimit(ctx, rotation.GrantID); err != nil {
		// Or a thief who refreshes as fast as he may would keep the owner out, whose token gives him away.
		if reused := h.store.RevokeIfReused(ctx, rotation); reused != nil {
			return h.rotationError(ctx, c, rotation, reused)
		}
		return err
	}
	asked := strings.Fields(form.Get("scope"))
	if len(asked) > 0 || len(form["resource"]) > 0 {
		if err := h.checkNarrowing(ctx, c, rotation, asked, form["resource"]); err != nil {
			return err
		}
	}
	if c.RefreshRotation || c.IsPublic() {
		state.refresh = h.format.NewRefreshToken(name)
		rotation.NextHash = credential.Hash(state.refresh)
		sealed, err := h.sealSuccessor(token, rotation.GrantID, state.refresh)
		if err != nil {
			return err
		}
		rotation.SealedSuccessor = sealed
	}
	rotated, err := h.store.RotateRefreshToken(ctx, rotation, storage.Event{Type: storage.RefreshRotated})
	if err != nil {
		return h.rotationError(ctx, c, rotation, err)
	}
	state.recorded = true
	if rotated.SealedSuccessor != nil {
		state.recorded = false
		state.detail = map[string]any{"refresh_retry": true, "rotated_ms_ago": rotated.Age.Milliseconds(), "outage_ms": rotated.Outage.Milliseconds()}
		h.options.Log.InfoContext(ctx, "refresh retried, same successor issued", slog.String("client_id", c.ID), slog.String("grant_id", rotation.GrantID),
			slog.Float64("rotated_s_ago", rotated.Age.Seconds()), slog.Float64("outage_s", rotated.Outage.Seconds()))
		if state.refresh, err = h.openSuccessor(token, rotation.GrantID, rotated.SealedSuccessor); err != nil {
			return err
		}
	}
	scopes := []string(rotated.Grant.Scopes)
	if len(asked) > 0 {
		scopes = slices.DeleteFunc(slices.Clone(scopes), func(name string) bool { return !slices.Contains(asked, name) })
	}
	state.ttl = h.accessTTL(c)
	return h.fillFromGrant(ctx, c, state, rotated.Grant, scopes, form["resource"])
}

// rotationError returns the error response for a failed rotation and records why the token was refused.
func (h refreshToken) rotationError(ctx context.Context, c *storage.Client, r storage.Rotation, err error) error {
	if errors.Is(err, storage.ErrReused) {
		h.options.Log.WarnContext(ctx, "refresh token reused: its grant is revoked", slog.String("alert", "refresh_token_reuse"),
			slog.String("client_id", r.ClientID), slog.String("grant_id", r.GrantID))
	}
	e := AsError(err)
	if e.Code == protocol.InvalidGrant {
		e.Description = refreshRefusedDescription
	}
	if refusal := (*storage.Refusal)(nil); errors.As(err, &refusal) {
		h.recordRefusal(ctx, storage.RefreshRefused, c, refusal, r.Hash, map[string]any{})
	}
	return e
}

// checkNarrowing refuses scopes and resources beyond the grant's (RFC 6749 §6).
func (h refreshToken) checkNarrowing(ctx context.Context, c *storage.Client, r storage.Rotation, scopes, resources []string) error {
	grant, err := h.store.Grant(ctx, r.GrantID)
	if errors.Is(err, storage.ErrNotFound) || err == nil && grant.ClientID != c.ID {
		err = h.store.GrantRefusal(ctx, r.GrantID, c.ID)
	}
	if err != nil {
		return h.rotationError(ctx, c, r, err)
	}
	known, err := h.store.Scopes(ctx)
	if err != nil {
		return err
	}
	for _, name := range scopes {
		if _, ok := known[name]; !ok || !grant.Scopes.Has(name) {
			return protocol.NewError(protocol.InvalidScope, "A refresh can only narrow the scopes that were granted, and those must still exist.")
		}
	}
	kept := scopes
	if len(kept) == 0 {
		kept = grant.Scopes
	}
	return h.checkResourceNarrowing(ctx, c, resources, grant.Resources, grant.Scopes, kept)
}

// successorCipher is the key under which a successor waits for a retry. It takes the token that was replaced and the
// root key to derive it, so neither the database nor the two together tell the successor.
func (s *Server) successorCipher(token, grantID string) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, []byte(token), s.successorSalt, grantID, 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

func (s *Server) sealSuccessor(token, grantID, successor string) ([]byte, error) {
	aead, err := s.successorCipher(token, grantID)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return nil, err
	}
	return aead.Seal(nonce, nonce, []byte(successor), nil), nil
}

func (s *Server) openSuccessor(token, grantID string, sealed []byte) (string, error) {
	aead, err := s.successorCipher(token, grantID)
	if err != nil {
		return "", err
	}
	n := aead.NonceSize()
	if len(sealed) < n {
		return "", errors.New("the sealed successor is damaged")
	}
	successor, err := aead.Open(nil, sealed[:n], sealed[n:], nil)
	return string(successor), err
}

func base64url(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }
