package jwt

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

// maxHeader is the largest encoded JOSE header in bytes. Real headers have less than 200, with a certificate chain
// 6000.
const maxHeader = 8 << 10

// maxMembers is the maximum number of members of an object or array in a header, payload or JWKS.
const maxMembers = 100

// ParseCompact parses a JWS in the compact serialization, of at most maxSize bytes and with one of the algorithms. It
// does not verify the signature. Every token has exactly one encoding: three parts of base64url without padding, line
// breaks or other characters, each of which ends in the canonical character (RFC 7515 §2, RFC 4648 §3.5). go-jose
// ignores white space and the unused bits of the last character. ParseCompact returns ErrInvalid.
func ParseCompact(token string, maxSize int, algorithms []jose.SignatureAlgorithm) (*jose.JSONWebSignature, error) {
	header, _, err := split(token, maxSize)
	if err != nil {
		return nil, err
	}
	if len(header) > maxHeader {
		return nil, fmt.Errorf("%w: the header is larger than %d bytes", ErrInvalid, maxHeader)
	}
	if raw, err := base64.RawURLEncoding.DecodeString(header); err != nil || CheckJSONLimits(raw, maxMembers) != nil {
		return nil, fmt.Errorf("%w: the header has too many members", ErrInvalid)
	}
	jws, err := jose.ParseSignedCompact(token, algorithms)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	extra := jws.Signatures[0].Protected.ExtraHeaders
	// No extension is supported, and RFC 7797 §7 forbids b64 in a JWT.
	for _, name := range []jose.HeaderKey{"crit", "b64"} {
		if extra[name] != nil {
			return nil, fmt.Errorf("%w: the header has %s", ErrInvalid, name)
		}
	}
	return jws, nil
}

// split returns the encoded header and payload of a compact JWS whose three parts are canonical base64url.
func split(token string, maxSize int) (header, payload string, err error) {
	if len(token) > maxSize {
		return "", "", fmt.Errorf("%w: too large", ErrInvalid)
	}
	header, rest, ok := strings.Cut(token, ".")
	payload, signature, ok2 := strings.Cut(rest, ".")
	if !ok || !ok2 || header == "" || payload == "" || signature == "" {
		return "", "", fmt.Errorf("%w: not three parts", ErrInvalid)
	}
	if !IsCanonicalBase64(header) || !IsCanonicalBase64(payload) || !IsCanonicalBase64(signature) {
		return "", "", fmt.Errorf("%w: not canonical base64url", ErrInvalid)
	}
	return header, payload, nil
}

// IsCanonicalBase64 reports whether s is a canonical base64url encoding without padding: it has only characters of the
// alphabet, and the unused bits of the last character are zero (RFC 4648 §3.5).
func IsCanonicalBase64(s string) bool {
	last := byte(0)
	for i := range len(s) {
		switch c := s[i]; {
		case c >= 'A' && c <= 'Z':
			last = c - 'A'
		case c >= 'a' && c <= 'z':
			last = c - 'a' + 26
		case c >= '0' && c <= '9':
			last = c - '0' + 52
		case c == '-':
			last = 62
		case c == '_':
			last = 63
		default:
			return false
		}
	}
	switch len(s) % 4 {
	case 1:
		return false
	case 2:
		return last&0xf == 0
	case 3:
		return last&0x3 == 0
	}
	return true
}

// DecodeBase64 decodes canonical base64url without padding. It returns an error for any other encoding.
func DecodeBase64(s string) ([]byte, error) {
	if !IsCanonicalBase64(s) {
		return nil, errors.New("not canonical base64url")
	}
	return base64.RawURLEncoding.DecodeString(s)
}
