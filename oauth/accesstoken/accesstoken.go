// Package accesstoken signs and verifies JWT access tokens (RFC 9068). A token is complete in itself: signing and
// verifying ask no database. Whether a token is still alive, and which keys there are, is left to others.
package accesstoken

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/oauth/jwt"
)

// Type is the typ header of every access token (RFC 9068 §2.1). No other JWT of ours has it, so none passes for one.
const Type = "at+jwt"

// MaxSize is the largest token in bytes that Verify looks at.
const MaxSize = 16 << 10

// leeway is the maximum time in the future at which a token of this server may have been issued. It exceeds the
// largest difference between the clocks of two ready processes.
const leeway = time.Minute

// ErrInvalid is returned, wrapped with the reason for the log, for a token that is not ours, not whole or expired.
var ErrInvalid = errors.New("invalid access token")

// Claims is what an access token says (RFC 9068 §2.2), and two claims of ours that make it revocable without storing it.
type Claims struct {
	Issuer    string
	Subject   string
	Audience  []string // never empty
	ClientID  string
	Scope     string // space-separated
	JTI       string
	IssuedAt  int64 // Unix seconds
	ExpiresAt int64
	AuthTime  int64 // when the person signed in; 0 in a machine's token
	ACR       string
	AMR       []string

	GrantID     string // gid: the grant of a person's token
	ClientEpoch int64  // cep: the client's epoch, in a machine's token
}

// Key is a key pair that signs with ES256, or its public half.
type Key struct {
	ID      string
	Public  *ecdsa.PublicKey
	private *ecdsa.PrivateKey
	header  string // the encoded JOSE header with its dot
}

// NewKey returns a key that signs.
func NewKey(id string, private *ecdsa.PrivateKey) (*Key, error) {
	if private.Curve != elliptic.P256() {
		return nil, errors.New("ES256 needs a P-256 key")
	}
	header, err := jwt.ES256Header(id, Type)
	if err != nil {
		return nil, err
	}
	return &Key{ID: id, Public: &private.PublicKey, private: private, header: header}, nil
}

// Sign returns the compact serialization of c.
func (k *Key) Sign(c *Claims) (string, error) {
	if len(c.Audience) == 0 || c.Issuer == "" || c.Subject == "" || c.ClientID == "" || c.JTI == "" {
		return "", errors.New("an access token needs iss, sub, aud, client_id and jti")
	}
	payload := c.append(make([]byte, 0, 512))
	return jwt.SignES256(k.private, k.header, payload)
}

func (c *Claims) append(b []byte) []byte {
	b = appendString(append(b, `{"iss":`...), c.Issuer)
	b = appendString(append(b, `,"sub":`...), c.Subject)
	b = append(b, `,"aud":`...)
	if len(c.Audience) == 1 {
		b = appendString(b, c.Audience[0])
	} else {
		b = appendStrings(b, c.Audience)
	}
	b = appendString(append(b, `,"client_id":`...), c.ClientID)
	if c.Scope != "" {
		b = appendString(append(b, `,"scope":`...), c.Scope)
	}
	b = appendString(append(b, `,"jti":`...), c.JTI)
	b = strconv.AppendInt(append(b, `,"iat":`...), c.IssuedAt, 10)
	b = strconv.AppendInt(append(b, `,"exp":`...), c.ExpiresAt, 10)
	if c.AuthTime != 0 {
		b = strconv.AppendInt(append(b, `,"auth_time":`...), c.AuthTime, 10)
	}
	if c.ACR != "" {
		b = appendString(append(b, `,"acr":`...), c.ACR)
	}
	if len(c.AMR) > 0 {
		b = appendStrings(append(b, `,"amr":`...), c.AMR)
	}
	if c.GrantID != "" {
		b = appendString(append(b, `,"gid":`...), c.GrantID)
	} else {
		b = strconv.AppendInt(append(b, `,"cep":`...), c.ClientEpoch, 10)
	}
	return append(b, '}')
}

func appendStrings(b []byte, list []string) []byte {
	b = append(b, '[')
	for i, s := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendString(b, s)
	}
	return append(b, ']')
}

// appendString writes s as a JSON string; what is not plain printable ASCII goes through encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
			quoted, err := json.Marshal(s)
			if err != nil {
				quoted = []byte(`""`) // a string always marshals
			}
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// wire is the JSON form of Claims for reading.
type wire struct {
	Iss      string          `json:"iss"`
	Sub      string          `json:"sub"`
	Aud      json.RawMessage `json:"aud"`
	ClientID string          `json:"client_id"`
	Scope    string          `json:"scope"`
	JTI      string          `json:"jti"`
	Iat      int64           `json:"iat"`
	Exp      int64           `json:"exp"`
	AuthTime int64           `json:"auth_time"`
	ACR      string          `json:"acr"`
	AMR      []string        `json:"amr"`
	GID      string          `json:"gid"`
	CEP      *int64          `json:"cep"`
}

// Verify returns the claims of a token that issuer signed with one of the keys and that has not expired at now; find
// returns the key with an id, or nil. Everything else is ErrInvalid.
func Verify(token, issuer string, find func(kid string) *Key, now time.Time) (*Claims, error) {
	c, err := Parse(token, issuer, find)
	if err != nil {
		return nil, err
	}
	if err := c.Current(now); err != nil {
		return nil, err
	}
	return c, nil
}

// Parse returns the claims of a token that issuer signed with one of the keys. It does not check its times. It returns
// ErrInvalid for any other token.
func Parse(token, issuer string, find func(kid string) *Key) (*Claims, error) {
	jws, err := jwt.ParseCompact(token, MaxSize, []jose.SignatureAlgorithm{jose.ES256})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	header := jws.Signatures[0].Protected
	if typ, ok := header.ExtraHeaders[jose.HeaderType].(string); !ok || typ != Type {
		return nil, fmt.Errorf("%w: another type of token", ErrInvalid)
	}
	key := find(header.KeyID)
	if key == nil {
		return nil, fmt.Errorf("%w: unknown key", ErrInvalid)
	}
	payload, err := jws.Verify(key.Public)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	var w wire
	if err := json.Unmarshal(payload, &w); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInvalid, err)
	}
	c := &Claims{
		Issuer: w.Iss, Subject: w.Sub, ClientID: w.ClientID, Scope: w.Scope, JTI: w.JTI, IssuedAt: w.Iat, ExpiresAt: w.Exp,
		AuthTime: w.AuthTime, ACR: w.ACR, AMR: w.AMR, GrantID: w.GID,
	}
	if c.Audience, err = audience(w.Aud); err != nil {
		return nil, err
	}
	if (w.GID == "") == (w.CEP == nil) {
		return nil, fmt.Errorf("%w: neither a person's nor a machine's", ErrInvalid)
	}
	if w.CEP != nil {
		c.ClientEpoch = *w.CEP
	}
	if c.Issuer != issuer || c.Subject == "" || c.ClientID == "" || c.JTI == "" || len(c.Audience) == 0 {
		return nil, fmt.Errorf("%w: a claim is missing or foreign", ErrInvalid)
	}
	return c, nil
}

// Current returns ErrInvalid unless the claims hold at now: not expired, and not issued in the future.
func (c *Claims) Current(now time.Time) error {
	if now.Unix() >= c.ExpiresAt || c.IssuedAt > now.Add(leeway).Unix() {
		return fmt.Errorf("%w: expired or not yet valid", ErrInvalid)
	}
	return nil
}

// audience reads the one-or-many form of aud (RFC 7519 §4.1.3).
func audience(raw json.RawMessage) ([]string, error) {
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, nil
	}
	var many []string
	if err := json.Unmarshal(raw, &many); err != nil {
		return nil, fmt.Errorf("%w: aud", ErrInvalid)
	}
	return many, nil
}

// JWK returns the public half for a key set (RFC 7517).
func (k *Key) JWK() jose.JSONWebKey {
	return jose.JSONWebKey{Key: crypto.PublicKey(k.Public), KeyID: k.ID, Algorithm: string(jose.ES256), Use: "sig"}
}
