package passkeytest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/uuid"
)

// Vendor makes authenticators that attest their model with the format packed (WebAuthn §8.2), and signs metadata about
// them as the FIDO Metadata Service does.
type Vendor struct {
	t       testing.TB
	root    *x509.Certificate
	rootKey *ecdsa.PrivateKey
}

// NewVendor returns a vendor with a new root certificate.
func NewVendor(t testing.TB) *Vendor {
	t.Helper()
	v := &Vendor{t: t}
	v.root, v.rootKey = v.certificate(&x509.Certificate{
		Subject: pkix.Name{CommonName: "Root"}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	})
	return v
}

// certificate returns a certificate that the root signed, or a root if there is none.
func (v *Vendor) certificate(template *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	v.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		v.t.Fatal(err)
	}
	template.SerialNumber = big.NewInt(time.Now().UnixNano())
	template.NotBefore = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	template.NotAfter = time.Date(2100, 1, 1, 0, 0, 0, 0, time.UTC)
	parent, signer := v.root, v.rootKey
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		v.t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		v.t.Fatal(err)
	}
	return out, key
}

// Root returns the root certificate in PEM.
func (v *Vendor) Root() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: v.root.Raw})
}

// aaguidExtension is id-fido-gen-ce-aaguid (WebAuthn §8.2.1).
var aaguidExtension = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 45724, 1, 1, 4}

// Attest makes the authenticator attest its model.
func (v *Vendor) Attest(a *Authenticator) {
	v.t.Helper()
	value, err := asn1.Marshal(a.AAGUID[:])
	if err != nil {
		v.t.Fatal(err)
	}
	certificate, key := v.certificate(&x509.Certificate{
		Subject: pkix.Name{
			Country: []string{"SE"}, Organization: []string{"Vendor"}, CommonName: "Attestation",
			OrganizationalUnit: []string{"Authenticator Attestation"},
		},
		BasicConstraintsValid: true, ExtraExtensions: []pkix.Extension{{Id: aaguidExtension, Value: value}},
	})
	a.attestation = &attestation{key, certificate.Raw}
}

// AttestFalsely makes the authenticator show a certificate of the vendor for its model without having its key.
func (v *Vendor) AttestFalsely(a *Authenticator) {
	v.Attest(a)
	a.attestation.key = a.key
}

// attestation is how an authenticator attests its model.
type attestation struct {
	key         crypto.Signer
	certificate []byte // nil: self attestation
}

// AttestItself makes the authenticator sign its attestation with the key of the passkey (WebAuthn §6.5.4).
func (a *Authenticator) AttestItself() { a.attestation = &attestation{key: a.key} }

// statement returns the format and statement of an attestation.
func (a *Authenticator) statement(data, client []byte) (string, map[string]any) {
	if a.attestation == nil {
		return "none", map[string]any{}
	}
	hash := sha256.Sum256(client)
	digest := sha256.Sum256(append(append([]byte{}, data...), hash[:]...))
	signature, err := a.attestation.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err != nil {
		a.t.Fatal(err)
	}
	out := map[string]any{"alg": -7, "sig": signature}
	if a.attestation.certificate != nil {
		out["x5c"] = [][]byte{a.attestation.certificate}
	}
	return "packed", out
}

// Model is a model of authenticators in metadata.
type Model struct {
	AAGUID [16]byte
	Status string // such as FIDO_CERTIFIED_L1
	Type   string // of its attestation; "": basic_full
}

// Metadata returns metadata as the FIDO Metadata Service publishes it (FIDO Metadata Service 3 §3.1.6).
func (v *Vendor) Metadata(nextUpdate string, models ...Model) []byte {
	v.t.Helper()
	signer, key := v.certificate(&x509.Certificate{Subject: pkix.Name{CommonName: "Metadata"}})
	entries := []map[string]any{{"aaid": "4746#3250", "metadataStatement": map[string]any{}}, {"aaguid": 5}}
	for _, m := range models {
		if m.Type == "" {
			m.Type = "basic_full"
		}
		entries = append(entries, map[string]any{
			"aaguid": uuid.UUID(m.AAGUID).String(), "timeOfLastStatusChange": "2020-01-01",
			"statusReports": []map[string]any{{"status": m.Status, "effectiveDate": "2020-01-01"}},
			"metadataStatement": map[string]any{
				"description": "Key", "schema": 3, "icon": "data:image/png;base64,AAAA", "attestationTypes": []string{m.Type},
				"attestationRootCertificates": []string{base64.StdEncoding.EncodeToString(v.root.Raw)},
			},
		})
	}
	payload, err := json.Marshal(map[string]any{"no": 1, "nextUpdate": nextUpdate, "entries": entries})
	if err != nil {
		v.t.Fatal(err)
	}
	chain := []string{base64.StdEncoding.EncodeToString(signer.Raw)}
	options := (&jose.SignerOptions{}).WithHeader("x5c", chain)
	s, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, options)
	if err != nil {
		v.t.Fatal(err)
	}
	signed, err := s.Sign(payload)
	if err != nil {
		v.t.Fatal(err)
	}
	out, err := signed.CompactSerialize()
	if err != nil {
		v.t.Fatal(err)
	}
	return []byte(out)
}
