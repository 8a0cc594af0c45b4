// Package accesstoken signs and verifies JWT access tokens (RFC 9068). A token is self-contained: signing and verifying
// need no database. Whether a token is revoked and which keys exist is left to the callers.
package accesstoken

import (
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/oauth/jwt"
)

// Type is the typ header of access tokens (RFC 9068 §2.1). No other JWT that Gatehouse signs has it, so that none is
// accepted as an access token.
const Type = "at+jwt"

// Types lists the typ headers that access tokens can have. APIs whose library refuses Type accept jwt.TypeJWT, which ID
// tokens have too. Those access tokens have the header parameter token_use, which distinguishes them.
var Types = []string{Type, jwt.TypeJWT}

// useAccess is the token_use of access tokens with the type JWT.
const useAccess = "access"

// Format is what APIs can choose about their access tokens.
type Format struct {
	Type      string // one of Types
	Algorithm string // one of jwt.Algorithms
}

// DefaultFormat is the format of access tokens for APIs that have chosen none.
var DefaultFormat = Format{Type: Type, Algorithm: jwt.ES256}

// tokenUse returns the value of token_use in access tokens with the type.
func tokenUse(typ string) string {
	if typ == jwt.TypeJWT {
		return useAccess
	}
	return ""
}

// IsAccessToken reports whether a JWT that this server signed is an access token, by its header.
func IsAccessToken(t jwt.Token) bool { return t.HasType(Type) || t.TokenUse != "" }

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
	Roles     []string     `json:"roles,omitzero"`  // of the user or client at the API; nil: there are none

	GrantID     string `json:"gid,omitempty"` // of a user's token
	ClientEpoch int64  `json:"-"`             // cep: the epoch of the client, in a client credentials token
}

// payload is the JSON form of Claims. cep can be 0, so a pointer distinguishes that from a token without it.
type payload struct {
	*Claims
	ClientEpoch *int64 `json:"cep,omitempty"`
}

// Key is a key pair that signs access tokens with one algorithm.
type Key struct {
	ID, Algorithm string
	Public        crypto.PublicKey
	signers       map[string]*jwt.Signer // by typ
}

// NewKey returns a Key that signs. It returns an error if the private key does not match the algorithm.
func NewKey(id, algorithm string, private crypto.Signer) (*Key, error) {
	k := &Key{ID: id, Algorithm: algorithm, Public: private.Public(), signers: map[string]*jwt.Signer{}}
	for _, typ := range Types {
		header := jwt.Header{Algorithm: algorithm, KeyID: id, Type: typ, TokenUse: tokenUse(typ)}
		signer, err := jwt.NewSigner(private, header)
		if err != nil {
			return nil, err
		}
		k.signers[typ] = signer
	}
	return k, nil
}

// Sign returns the compact serialization of c with the type, one of Types.
func (k *Key) Sign(typ string, c *Claims) (string, error) {
	signer := k.signers[typ]
	if signer == nil {
		return "", fmt.Errorf("unsupported typ %q", typ)
	}
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
	return signer.Sign(encoded)
}

// algorithms are those that access tokens can be signed with.
var algorithms = []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.PS256, jose.EdDSA}

// Parse returns the claims of a token that issuer signed with one of the keys. find returns the key with an id, or nil.
// Parse does not check the times, see CheckTimes. It returns ErrInvalid for any other token, such as an ID token.
func Parse(token, issuer string, find func(kid string) *Key) (*Claims, error) {
	jws, err := jwt.ParseCompact(token, MaxSize, algorithms)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	header := jws.Signatures[0].Protected
	if err := checkType(header); err != nil {
		return nil, err
	}
	key := find(header.KeyID)
	if key == nil || key.Algorithm != header.Algorithm {
		return nil, fmt.Errorf("%w: no key has this kid and alg", ErrInvalid)
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

// checkType returns ErrInvalid unless the header is one that Sign sets.
func checkType(header jose.Header) error {
	typ, ok := header.ExtraHeaders[jose.HeaderType].(string)
	if !ok || !slices.Contains(Types, typ) {
		return fmt.Errorf("%w: typ is none of %q", ErrInvalid, Types)
	}
	use := header.ExtraHeaders[jwt.HeaderTokenUse]
	if want := tokenUse(typ); want == "" && use != nil || want != "" && use != want {
		return fmt.Errorf("%w: token_use does not match typ", ErrInvalid)
	}
	return nil
}

// CheckTimes returns ErrInvalid unless the token is valid at now: not expired, and not issued in the future.
func (c *Claims) CheckTimes(now time.Time) error {
	if now.Unix() >= c.ExpiresAt || c.IssuedAt > now.Add(leeway).Unix() {
		return fmt.Errorf("%w: expired or not yet valid", ErrInvalid)
	}
	return nil
}
