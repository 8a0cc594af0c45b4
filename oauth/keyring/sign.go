package keyring

import (
	"context"
	"crypto/sha256"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/protocol"
)

// SignAccessToken returns the signed access token with the claims, in the format that its APIs accept.
func (k *Keyring) SignAccessToken(
	ctx context.Context, format accesstoken.Format, c *accesstoken.Claims,
) (string, error) {
	key, err := k.activeKey(ctx, format.Algorithm)
	if err != nil {
		return "", err
	}
	return key.access.Sign(format.Type, c)
}

// SignJWT returns a JWT for a relying party, signed with the algorithm that it registered.
func (k *Keyring) SignJWT(ctx context.Context, algorithm, typ string, claims any) (string, error) {
	key, err := k.activeKey(ctx, algorithm)
	if err != nil {
		return "", err
	}
	return key.jwt.Sign(typ, claims)
}

// VerifyJWT verifies the signature of a JWT that this server issued and that is no access token. It returns
// jwt.ErrInvalid or an internal error. The caller checks the claims.
func (k *Keyring) VerifyJWT(ctx context.Context, token string) (jwt.Token, error) {
	if err := k.Load(ctx); err != nil {
		return jwt.Token{}, protocol.UnavailableError(err)
	}
	t, err := jwt.Parse(token, jwt.Algorithms, func(kid, _ string) ([]jose.JSONWebKey, error) {
		if r := k.verificationKey(kid); r != nil {
			return []jose.JSONWebKey{r.jwt.JWK()}, nil
		}
		return nil, nil
	})
	if err == nil && accesstoken.IsAccessToken(t) {
		return jwt.Token{}, fmt.Errorf("%w: it is an access token", jwt.ErrInvalid)
	}
	return t, err
}

// VerifyAccessToken returns the claims of an unexpired access token of this server, which the caller must not modify.
// It returns accesstoken.ErrInvalid or an internal error. The caller checks whether the token is revoked.
func (k *Keyring) VerifyAccessToken(ctx context.Context, token string) (*accesstoken.Claims, error) {
	claims, err := k.ParseAccessToken(ctx, token)
	if err != nil {
		return nil, err
	}
	if err := claims.CheckTimes(k.store.Now()); err != nil {
		return nil, err
	}
	return claims, nil
}

// ParseAccessToken does the same as VerifyAccessToken without checking the times. It caches that a signature is valid,
// and checks every time that the key may still verify.
func (k *Keyring) ParseAccessToken(ctx context.Context, token string) (*accesstoken.Claims, error) {
	if err := k.Load(ctx); err != nil {
		return nil, protocol.UnavailableError(err)
	}
	find := func(kid string) *accesstoken.Key {
		if r := k.verificationKey(kid); r != nil {
			return r.access
		}
		return nil
	}
	hash := sha256.Sum256([]byte(token))
	if cached, ok := k.verified.Get(hash); ok && find(cached.key.ID) == cached.key {
		return cached.claims, nil
	}
	var key *accesstoken.Key
	claims, err := accesstoken.Parse(
		token, k.options.Issuer, func(kid string) *accesstoken.Key { key = find(kid); return key },
	)
	if err != nil {
		return nil, err
	}
	if len(token) <= maxVerifiedSize {
		k.verified.Add(hash, verifiedToken{claims, key})
	}
	return claims, nil
}
