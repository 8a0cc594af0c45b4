package passkey

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-webauthn/webauthn/metadata"
	"github.com/go-webauthn/webauthn/metadata/providers/memory"
)

// metadataHost is the name in the certificate with which the FIDO Alliance signs. Its root is one of many websites.
const metadataHost = "mds.fidoalliance.org"

// Metadata is what the FIDO Metadata Service publishes about models of authenticators: the certificates that sign their
// attestations, and which models are revoked (FIDO Metadata Service 3 §3.1).
type Metadata struct {
	provider   metadata.Provider
	nextUpdate time.Time
	models     int
}

// The reasons for which metadata is not used.
var (
	ErrMetadataInvalid = errors.New("the FIDO metadata is not valid")
	ErrMetadataExpired = errors.New("the FIDO metadata has expired; download it again from https://mds3.fidoalliance.org")
)

// Models returns how many models of authenticators the metadata has.
func (m *Metadata) Models() int { return m.models }

// Expiry returns the day from which on newer metadata exists.
func (m *Metadata) Expiry() time.Time { return m.nextUpdate }

// CheckExpiry returns ErrMetadataExpired from the day on at which newer metadata exists: a model that was revoked since
// is not in this one.
func (m *Metadata) CheckExpiry(now time.Time) error {
	if !now.Before(m.nextUpdate) {
		return fmt.Errorf("%w: its next update was on %s", ErrMetadataExpired, m.nextUpdate.Format(time.DateOnly))
	}
	return nil
}

// ParseMetadata verifies and parses a file of the FIDO Metadata Service, a JWS with the certificates of its signer
// (FIDO Metadata Service 3 §3.2). root is the PEM certificate that the signer's must chain to, or nil for that of the
// FIDO Alliance. It returns ErrMetadataInvalid. Nothing is requested from the network, so a revoked certificate of the
// signer is accepted until it expires. now is also the clock of reports about models.
func ParseMetadata(file, root []byte, now func() time.Time) (*Metadata, error) {
	payload, err := verifyMetadata(bytes.TrimSpace(file), root, now())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMetadataInvalid, err)
	}
	// Entries are parsed one by one: a model with content that this version does not support is as one that is missing.
	var document struct {
		NextUpdate string            `json:"nextUpdate"`
		Entries    []json.RawMessage `json:"entries"`
	}
	if err := json.Unmarshal(payload, &document); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMetadataInvalid, err)
	}
	next, err := time.Parse(time.DateOnly, document.NextUpdate)
	if err != nil {
		return nil, fmt.Errorf("%w: nextUpdate: %w", ErrMetadataInvalid, err)
	}
	var all metadata.Metadata
	for _, raw := range document.Entries {
		if e, ok := parseModel(raw); ok {
			all.Parsed.Entries = append(all.Parsed.Entries, e)
		}
	}
	if len(all.Parsed.Entries) == 0 {
		return nil, fmt.Errorf("%w: it has no models of authenticators", ErrMetadataInvalid)
	}
	provider, err := memory.New(
		memory.WithMetadata(all.ToMap()), memory.WithMetadataKeyIdentifiers(all.ToKeyIdentifierMap()),
		memory.WithValidateEntryKeyIdentifier(true), // security keys of U2F have no AAGUID
	)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMetadataInvalid, err)
	}
	extended, ok := provider.(metadata.ExtendedProvider)
	if !ok {
		return nil, fmt.Errorf("%w: %T", ErrMetadataInvalid, provider) // impossible
	}
	return &Metadata{models{extended, now}, next, len(all.Parsed.Entries)}, nil
}

// verifyMetadata returns the payload of a signed file.
func verifyMetadata(file, root []byte, now time.Time) ([]byte, error) {
	options := x509.VerifyOptions{
		Roots: x509.NewCertPool(), CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	}
	anchor, err := metadataRoot(root)
	if err != nil {
		return nil, err
	}
	options.Roots.AddCert(anchor)
	if root == nil {
		options.DNSName = metadataHost
	}
	signed, err := jose.ParseSignedCompact(string(file), []jose.SignatureAlgorithm{jose.RS256, jose.ES256})
	if err != nil {
		return nil, errors.New("it is not a JWS signed with RS256 or ES256")
	}
	chains, err := signed.Signatures[0].Protected.Certificates(options)
	if err != nil {
		return nil, fmt.Errorf("the certificate of its signer: %w", err)
	}
	payload, err := signed.Verify(chains[0][0].PublicKey)
	if err != nil {
		return nil, errors.New("its signature is incorrect")
	}
	return payload, nil
}

func metadataRoot(file []byte) (*x509.Certificate, error) {
	if file == nil {
		der, err := base64.StdEncoding.DecodeString(metadata.ProductionMDSRoot)
		if err != nil {
			return nil, err
		}
		return x509.ParseCertificate(der)
	}
	block, _ := pem.Decode(file)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("the root is not a certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

// parseModel parses an entry. Images are most of the file and not used.
func parseModel(raw []byte) (metadata.Entry, bool) {
	var e metadata.EntryJSON
	if err := json.Unmarshal(raw, &e); err != nil {
		return metadata.Entry{}, false
	}
	s := &e.MetadataStatement
	s.Icon, s.IconDark, s.ProviderLogoLight, s.ProviderLogoDark = "", "", "", ""
	s.TcDisplayPNGCharacteristics = nil
	out, err := e.Parse()
	return out, err == nil
}

// models are the models of authenticators with an injected clock for the reports about them.
type models struct {
	metadata.ExtendedProvider

	now func() time.Time
}

// ValidateStatusReports returns an error if the model is revoked, retired or compromised.
func (m models) ValidateStatusReports(_ context.Context, reports []metadata.StatusReport) error {
	return metadata.ValidateStatusReportsAt(reports, nil, metadata.DefaultUndesiredAuthenticatorStatuses(), m.now())
}
