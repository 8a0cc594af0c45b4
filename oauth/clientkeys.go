package oauth

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/oauth/fetch"
	"gatehouse/oauth/jwt"
	"gatehouse/storage"
)

const (
	maxKeySet        = 64 << 10
	maxRequestObject = jwt.MaxSize
)

// errNoKeys is the reason, for the client's developer, why nothing that it signs can be verified.
var errNoKeys = errors.New("the client has registered neither jwks nor jwks_uri")

// verifyClientJWT verifies what a client signed: with the one algorithm it registered, where it registered one, and with
// its own keys. The error is jwt.ErrInvalid, errNoKeys, or a fetch that failed.
func (s *Server) verifyClientJWT(ctx context.Context, c *storage.Client, algorithm, token string) (jwt.Token, error) {
	algorithms := jwt.Algorithms
	if algorithm != "" {
		algorithms = []string{algorithm}
	}
	return jwt.Parse(token, algorithms, func(kid, _ string) ([]jose.JSONWebKey, error) {
		keys, err := s.clientKeys(ctx, c, s.fetchKeys.Get)
		if err != nil || c.JWKSURI == "" || kid != "" && hasKey(keys, kid) {
			return keys, err
		}
		// It may have rotated its keys since (OIDC Core §10.1.1).
		return s.clientKeys(ctx, c, s.fetchKeys.Refresh)
	})
}

func hasKey(keys []jose.JSONWebKey, kid string) bool {
	for _, k := range keys {
		if k.KeyID == kid {
			return true
		}
	}
	return false
}

// overloaded reports whether a fetch failed for want of room here, or because whoever asked went away: no fault of the
// document's server, and of nobody's credentials.
func overloaded(ctx context.Context, err error) bool {
	return errors.Is(err, fetch.ErrBusy) || err != nil && ctx.Err() != nil
}

type getter func(ctx context.Context, owner, address string, limit int64) (fetch.Document, error)

// clientKeys are the client's public keys, from its record or from where it publishes them.
func (s *Server) clientKeys(ctx context.Context, c *storage.Client, get getter) ([]jose.JSONWebKey, error) {
	switch {
	case c.JWKS != "":
		return jwt.ParseJWKS([]byte(c.JWKS))
	case c.JWKSURI == "":
		return nil, errNoKeys
	}
	doc, err := get(ctx, c.ID, c.JWKSURI, maxKeySet)
	if err != nil {
		return nil, fmt.Errorf("fetch jwks_uri: %w", err)
	}
	keys, err := jwt.ParseJWKS(doc.Body)
	if err != nil {
		return nil, fmt.Errorf("the document at jwks_uri %w", err)
	}
	return keys, nil
}
