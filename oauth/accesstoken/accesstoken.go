// Package accesstoken signs and verifies JWT access tokens (RFC 9068). A token is self-contained: signing and verifying
// need no database. Whether a token is revoked and which keys exist is left to the callers.
package accesstoken

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/oauth/jwt"
)

// Type is the typ header of every access token (RFC 9068 §2.1). No other JWT that Gatehouse signs has it, so that none
// is accepted as an access token.
const Type = "at+jwt"

// MaxSize is the maximum size in bytes of a token that Parse accepts.
const MaxSize = 16 << 10

// leeway is the maximum time in the future at which a token of this server may have been issued. It exceeds the
// largest difference between the clocks of two ready processes.
const leeway = time.Minute

// ErrInvalid is returned, wrapped with the reason for the log, for a token that this server did not issue or that is
// malformed or expired.
var ErrInvalid = errors.New("invalid access token")

// Claims is the content of an access token (RFC 9068 §2.2). Two private claims make it revocable without storing it:
// gid in a user's token, cep in a client credentials token.
type Claims struct {
	Issuer    string       `json:"iss"`
	Subject   string       `json:"sub"`
	Audience  jwt.Audience `json:"aud"` // never empty
	ClientID  string       `json:"client_id"`
	Scope     string       `json:"scope,omitempty"` // space-separated
	JTI       string       `json:"jti"`
	IssuedAt  int64        `json:"iat"` // Unix seconds
	ExpiresAt int64        `json:"exp"`
	AuthTime  int64        `json:"auth_time,omitempty"` // when the user signed in; 0 in a client credentials token
	ACR       string       `json:"acr,omitempty"`
	AMR       []string     `json:"amr,omitempty"`
	Groups    []string     `json:"groups,omitzero"` // of the user (RFC 9068 §2.2.3.1); nil: not intended for the APIs

	GrantID     string `json:"gid,omitempty"` // of a user's token
	ClientEpoch int64  `json:"-"`             // cep: the epoch of the client, in a client credentials token
}

// payload is the JSON form of Claims. cep can be 0, so a pointer distinguishes that from a token without it.
type payload struct {
	*Claims
	ClientEpoch *int64 `json:"cep,omitempty"`
}

// Key is a key pair that signs with ES256, or only its public key.
type Key struct {
	ID      string
	Public  *ecdsa.PublicKey
	private *ecdsa.PrivateKey
	header  string // the encoded JOSE header, including its dot
}

// NewKey returns a Key that signs. It returns an error for another curve than P-256.
func NewKey(id string, private *ecdsa.PrivateKey) (*Key, error) {
	if private.Curve != elliptic.P256() {
		return nil, errors.New("ES256 requires a P-256 key")
	}
	header, err := jwt.ES256Header(id, Type)
	if err != nil {
		return nil, err
	}
	return &Key{ID: id, Public: &private.PublicKey, private: private, header: header}, nil
}

// JWK returns the public key as a member of a JWKS (RFC 7517).
func (k *Key) JWK() jose.JSONWebKey {
	return jose.JSONWebKey{Key: crypto.PublicKey(k.Public), KeyID: k.ID, Algorithm: string(jose.ES256), Use: "sig"}
}

// Sign returns the compact serialization of c. The signature is not made by go-jose because that takes twice the
// allocations (BenchmarkSign).
func (k *Key) Sign(c *Claims) (string, error) {
	if len(c.Audience) == 0 || c.Issuer == "" || c.Subject == "" || c.ClientID == "" || c.JTI == "" {
		return "", errors.New("an access token requires iss, sub, aud, client_id and jti")
	}
	p := payload{Claims: c}
	if c.GrantID == "" {
		p.ClientEpoch = &c.ClientEpoch
	}
	encoded, err := json.Marshal(p)
	if err != nil {
		return "", err
	}
	return jwt.SignES256(k.private, k.header, encoded)
}

// Parse returns the claims of a token that issuer signed with one of the keys. find returns the key with an id, or nil.
// Parse does not check the times, see CheckTimes. It returns ErrInvalid for any other token.
func Parse(token, issuer string, find func(kid string) *Key) (*Claims, error) {
	jws, err := jwt.ParseCompact(token, MaxSize, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	header := jws.Signatures[0].Protected
	if typ, ok := header.ExtraHeaders[jose.HeaderType].(string); !ok || typ != Type {
		return nil, fmt.Errorf("%w: typ is not %s", ErrInvalid, Type)
	}
	key := find(header.KeyID)
	if key == nil {
		return nil, fmt.Errorf("%w: no key has this kid", ErrInvalid)
	}
	verified, err := jws.Verify(key.Public)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	p := payload{Claims: &Claims{}}
	if err := json.Unmarshal(verified, &p); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	c := p.Claims
	if (c.GrantID == "") == (p.ClientEpoch == nil) {
		return nil, fmt.Errorf("%w: it must have either gid or cep", ErrInvalid)
	}
	if p.ClientEpoch != nil {
		c.ClientEpoch = *p.ClientEpoch
	}
	if c.Issuer != issuer || c.Subject == "" || c.ClientID == "" || c.JTI == "" || len(c.Audience) == 0 {
		return nil, fmt.Errorf("%w: a claim is missing, or iss is not this server", ErrInvalid)
	}
	return c, nil
}

// CheckTimes returns ErrInvalid unless the token is valid at now: not expired, and not issued in the future.
func (c *Claims) CheckTimes(now time.Time) error {
	if now.Unix() >= c.ExpiresAt || c.IssuedAt > now.Add(leeway).Unix() {
		return fmt.Errorf("%w: expired or not yet valid", ErrInvalid)
	}
	return nil
}
