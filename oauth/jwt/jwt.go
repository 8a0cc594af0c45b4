// Package jwt signs the JWTs that relying parties read (ID tokens, logout tokens, signed userinfo) and verifies those
// that clients sign (assertions, request objects). It decides which algorithms are supported and which keys may verify
// a token. The meaning of the claims and the choice of keys are left to the callers. Access tokens have their own
// package.
package jwt

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-jose/go-jose/v4"
)

// The supported algorithms (RFC 7518 §3.1, RFC 8037 §3.1). All are asymmetric.
const (
	RS256 = string(jose.RS256)
	PS256 = string(jose.PS256)
	ES256 = string(jose.ES256)
	EdDSA = string(jose.EdDSA) // Ed25519
)

// Algorithms lists the supported algorithms, starting with the one that every relying party supports.
var Algorithms = []string{RS256, PS256, ES256, EdDSA}

// MaxSize is the maximum size in bytes of a token that Parse accepts.
const MaxSize = 32 << 10

// MaxCandidates is the maximum number of keys that are tried for one token.
const MaxCandidates = 4

// ErrInvalid is returned, wrapped with the reason for the log, for a token that is malformed or is not signed by one of
// the expected keys with one of the expected algorithms.
var ErrInvalid = errors.New("invalid JWT")

// ErrTooManyCandidates is an ErrInvalid. It is returned for a token with more than MaxCandidates candidate keys:
// without a kid, or with a kid that several keys have.
var ErrTooManyCandidates = fmt.Errorf("%w: more than %d keys are candidates", ErrInvalid, MaxCandidates)

// Token is a JWT whose signature is valid.
type Token struct {
	Type    string // the typ header, "" when there is none
	KeyID   string
	Payload []byte // a JSON object
	// TokenUse is a private header parameter (RFC 7515 §4.3) of the tokens of this server that have the same type as
	// tokens of another kind. No client and no claim can set it. "" when there is none.
	TokenUse string
}

// HeaderTokenUse is the name of the header parameter in Token.TokenUse.
const HeaderTokenUse jose.HeaderKey = "token_use"

// HasType reports whether the typ header is one of the types, in any case and with or without the prefix application/
// (RFC 7515 §4.1.9). The type "" matches a token without typ.
func (t Token) HasType(types ...string) bool {
	plain := strings.ToLower(t.Type)
	if media, ok := strings.CutPrefix(plain, "application/"); ok && media != "" {
		plain = media
	}
	return slices.ContainsFunc(types, func(one string) bool { return strings.ToLower(one) == plain })
}

// Parse verifies a compact JWT that is signed with one of the algorithms by one of the keys that find returns for its
// key id and algorithm. If the token has a key id, only keys with that id are tried; otherwise all that match its
// algorithm are, up to MaxCandidates. Parse returns ErrInvalid or the error of find.
func Parse(token string, algorithms []string, find func(kid, alg string) ([]jose.JSONWebKey, error)) (Token, error) {
	allowed := make([]jose.SignatureAlgorithm, 0, len(algorithms))
	for _, alg := range algorithms {
		allowed = append(allowed, jose.SignatureAlgorithm(alg))
	}
	jws, err := ParseCompact(token, MaxSize, allowed)
	if err != nil {
		return Token{}, err
	}
	header := jws.Signatures[0].Protected
	var typ string
	if v, ok := header.ExtraHeaders[jose.HeaderType]; ok {
		if typ, _ = v.(string); typ == "" { // which must not be handled like a header without typ
			return Token{}, fmt.Errorf("%w: typ is not a string", ErrInvalid)
		}
	}
	keys, err := find(header.KeyID, header.Algorithm)
	if err != nil {
		return Token{}, err
	}
	keys, err = candidates(keys, header.KeyID, header.Algorithm)
	if err != nil {
		return Token{}, err
	}
	for _, key := range keys {
		payload, err := jws.Verify(key.Key)
		if err != nil {
			continue
		}
		if err := checkPayload(payload); err != nil {
			return Token{}, err
		}
		use, _ := header.ExtraHeaders[HeaderTokenUse].(string)
		return Token{Type: typ, KeyID: header.KeyID, Payload: payload, TokenUse: use}, nil
	}
	return Token{}, fmt.Errorf("%w: no key matches, or the signature is invalid", ErrInvalid)
}

// candidates returns the keys that may have signed a token. It returns ErrTooManyCandidates if they exceed
// MaxCandidates.
func candidates(keys []jose.JSONWebKey, kid, alg string) ([]jose.JSONWebKey, error) {
	matching := make([]jose.JSONWebKey, 0, MaxCandidates)
	for _, key := range keys {
		if !isCandidate(key, kid, alg) {
			continue
		}
		if len(matching) == MaxCandidates {
			return nil, ErrTooManyCandidates
		}
		matching = append(matching, key)
	}
	return matching, nil
}

func isCandidate(key jose.JSONWebKey, kid, alg string) bool {
	return (kid == "" || key.KeyID == kid) && (key.Use == "" || key.Use == "sig") &&
		(key.Algorithm == "" || key.Algorithm == alg) && isKeyFor(key.Key, alg)
}

// checkPayload returns ErrInvalid unless the payload is a JSON object in UTF-8 within the limits.
func checkPayload(payload []byte) error {
	if err := CheckJSONLimits(payload, maxMembers); err != nil {
		return fmt.Errorf("%w: the payload %w", ErrInvalid, err)
	}
	var object map[string]json.RawMessage
	if err := json.Unmarshal(payload, &object); err != nil || object == nil || !utf8.Valid(payload) {
		return fmt.Errorf("%w: the payload is not a JSON object in UTF-8", ErrInvalid)
	}
	return nil
}

// UnverifiedIssuer returns the iss of a JWT without verifying its signature, so that the caller can find the keys that
// verify it. It returns "" if there is none.
func UnverifiedIssuer(token string) string {
	_, encoded, err := split(token, MaxSize)
	if err != nil {
		return ""
	}
	payload, err := DecodeBase64(encoded)
	var claims struct {
		Issuer string `json:"iss"`
	}
	if err != nil || CheckJSONLimits(payload, maxMembers) != nil || json.Unmarshal(payload, &claims) != nil {
		return ""
	}
	return claims.Issuer
}
