// Package passkeytest is an authenticator in software, with which tests create and use passkeys as a browser does. It
// makes whatever the test wants, also what an authenticator never sends. Nothing is verified here.
package passkeytest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// Authenticator has one passkey.
type Authenticator struct {
	Origin, RPID string
	AAGUID       [16]byte
	Counter      uint32 // of the next use; 0: the authenticator has none
	NoUV, Synced bool
	NoBackup     bool // a passkey that can be synced, but is not now

	t           testing.TB
	key         *ecdsa.PrivateKey
	id          []byte
	handle      []byte
	attestation *attestation // nil: none
}

// New returns an authenticator in a browser that is at an origin.
func New(t testing.TB, origin, rpID string) *Authenticator {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a := &Authenticator{Origin: origin, RPID: rpID, t: t, key: key, id: make([]byte, 32)}
	_, _ = rand.Read(a.id)
	return a
}

// Options are what the tests read of creation and request options.
type Options struct {
	Challenge string `json:"challenge"`
	User      struct {
		ID, Name string
	} `json:"user"`
	ExcludeCredentials []struct{ ID string } `json:"excludeCredentials"`
	AllowCredentials   []struct{ ID string } `json:"allowCredentials"`
	RPID               string                `json:"rpId"`
	Attestation        string                `json:"attestation"`
}

// ParseOptions parses options.
func ParseOptions(t testing.TB, options string) (o Options) {
	t.Helper()
	if err := json.Unmarshal([]byte(options), &o); err != nil {
		t.Fatalf("options %q: %v", options, err)
	}
	return o
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// SetHandle replaces the user handle that Get reports.
func (a *Authenticator) SetHandle(handle []byte) { a.handle = handle }

func (a *Authenticator) clientData(ceremony, challenge string) []byte {
	out, err := json.Marshal(map[string]any{
		"type": ceremony, "challenge": challenge, "origin": a.Origin, "crossOrigin": false,
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

// The flags of WebAuthn §6.1.
const (
	flagUP = 1 << 0
	flagUV = 1 << 2
	flagBE = 1 << 3
	flagBS = 1 << 4
	flagAT = 1 << 6
)

func (a *Authenticator) authenticatorData(more byte) []byte {
	rp := sha256.Sum256([]byte(a.RPID))
	flags := flagUP | more
	if !a.NoUV {
		flags |= flagUV
	}
	if a.Synced {
		flags |= flagBE | flagBS
	}
	if a.NoBackup {
		flags &^= flagBS
	}
	return binary.BigEndian.AppendUint32(append(rp[:], flags), a.Counter)
}

// Create returns the response to creation options, as JSON.
func (a *Authenticator) Create(options string) []byte {
	a.t.Helper()
	o := ParseOptions(a.t, options)
	handle, err := base64.RawURLEncoding.DecodeString(o.User.ID)
	if err != nil {
		a.t.Fatal(err)
	}
	a.handle = handle
	point, err := a.key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		a.t.Fatal(err)
	}
	public := a.cose(point)
	data := append(a.authenticatorData(flagAT), a.AAGUID[:]...)
	data = binary.BigEndian.AppendUint16(data, uint16(len(a.id))) //nolint:gosec // 32
	data = append(append(data, a.id...), public...)
	client := a.clientData("webauthn.create", o.Challenge)
	format, statement := a.statement(data, client)
	object := a.marshal(map[string]any{"fmt": format, "attStmt": statement, "authData": data})
	return a.response(map[string]any{
		"clientDataJSON": encode(client), "attestationObject": encode(object),
		"transports": []string{"internal"},
	}, map[string]any{"credProps": map[string]any{"rk": true}})
}

func (a *Authenticator) cose(point []byte) []byte {
	return a.marshal(map[int]any{1: 2, 3: -7, -1: 1, -2: point[1:33], -3: point[33:]})
}

// CreateElsewhere returns the credential id and COSE public key of a passkey with a user handle that another server
// created.
func (a *Authenticator) CreateElsewhere(handle []byte) (id, publicKey []byte) {
	a.t.Helper()
	a.handle = handle
	point, err := a.key.PublicKey.Bytes()
	if err != nil {
		a.t.Fatal(err)
	}
	return a.id, a.cose(point)
}

// Get returns the response to request options, as JSON.
func (a *Authenticator) Get(options string) []byte {
	a.t.Helper()
	o := ParseOptions(a.t, options)
	client, data := a.clientData("webauthn.get", o.Challenge), a.authenticatorData(0)
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(append(append([]byte{}, data...), hash[:]...))
	signature, err := ecdsa.SignASN1(rand.Reader, a.key, digest[:])
	if err != nil {
		a.t.Fatal(err)
	}
	return a.response(map[string]any{
		"clientDataJSON": encode(client), "authenticatorData": encode(data), "signature": encode(signature),
		"userHandle": encode(a.handle),
	}, map[string]any{})
}

func (a *Authenticator) marshal(v any) []byte {
	out, err := cbor.Marshal(v)
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}

func (a *Authenticator) response(response, extensions map[string]any) []byte {
	out, err := json.Marshal(map[string]any{
		"id": encode(a.id), "rawId": encode(a.id), "type": "public-key", "response": response,
		"authenticatorAttachment": "platform", "clientExtensionResults": extensions,
	})
	if err != nil {
		a.t.Fatal(err)
	}
	return out
}
