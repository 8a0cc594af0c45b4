package client

import (
	"context"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/oauth/fetch"
	"gatehouse/oauth/jwt"
	"gatehouse/storage"
)

const maxJWKS = 64 << 10

// errNoJWKS is returned by VerifyJWT for a client that has registered no keys.
var errNoJWKS = errors.New("the client has registered neither jwks nor jwks_uri")

// VerifyJWT verifies a JWT that a client signed: with the one algorithm it registered, if it registered one, and with
// its own keys. The error is jwt.ErrInvalid, errNoJWKS, or that of the fetch.
func (g *Registry) VerifyJWT(ctx context.Context, c *storage.Client, algorithm, token string) (jwt.Token, error) {
	algorithms := jwt.Algorithms
	if algorithm != "" {
		algorithms = []string{algorithm}
	}
	return jwt.Parse(token, algorithms, func(kid, _ string) ([]jose.JSONWebKey, error) {
		keys, err := clientJWKS(ctx, c, g.jwks.Get)
		if err != nil || c.JWKSURI == "" || kid != "" && hasKey(keys, kid) {
			return keys, err
		}
		// The client may have rotated its keys since the last fetch (OIDC Core §10.1.1).
		return clientJWKS(ctx, c, g.jwks.Refresh)
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

type getDocument func(ctx context.Context, owner, url string, limit int64) (fetch.Document, error)

// clientJWKS returns the client's public keys, from its record or from its jwks_uri.
func clientJWKS(ctx context.Context, c *storage.Client, get getDocument) ([]jose.JSONWebKey, error) {
	switch {
	case c.JWKS != "":
		return jwt.ParseJWKS([]byte(c.JWKS))
	case c.JWKSURI == "":
		return nil, errNoJWKS
	}
	doc, err := get(ctx, c.ID, c.JWKSURI, maxJWKS)
	if err != nil {
		return nil, fmt.Errorf("fetch jwks_uri: %w", err)
	}
	keys, err := jwt.ParseJWKS(doc.Body)
	if err != nil {
		return nil, fmt.Errorf("the document at jwks_uri %w", err)
	}
	return keys, nil
}
