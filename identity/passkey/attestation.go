package passkey

import (
	"errors"
	"fmt"

	"github.com/go-webauthn/webauthn/metadata"
	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
)

// ErrModelRefused is returned for a passkey of an authenticator whose model is not allowed, or not proven by an
// attestation when that is required.
var ErrModelRefused = errors.New("the model of the authenticator is not allowed")

// ErrNoMetadata is returned when an attestation is required and there is no valid metadata to verify it.
var ErrNoMetadata = errors.New("the attestation of the authenticator cannot be verified")

// attestation returns the attestation conveyance preference (WebAuthn §5.4.7). The default is none: the model of an
// authenticator is nothing that this server needs to learn.
func (p *RelyingParty) attestation() protocol.ConveyancePreference {
	if p.options.Metadata == nil {
		return protocol.PreferNoAttestation
	}
	return protocol.PreferDirectAttestation
}

// createCredential verifies a new passkey, and its attestation if that is required (WebAuthn §7.1, steps 21 to 24).
func (p *RelyingParty) createCredential(
	user owner, session webauthn.SessionData, parsed *protocol.ParsedCredentialCreationData,
) (*webauthn.Credential, error) {
	if p.options.Metadata == nil {
		c, err := p.webauthn.CreateCredential(user, session, parsed)
		return c, cause(err)
	}
	known, err := p.options.Metadata()
	if err == nil {
		err = known.CheckExpiry(p.options.Now())
	}
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoMetadata, err)
	}
	config := p.config
	config.MDS = known.provider
	verifier, err := webauthn.New(&config)
	if err != nil {
		return nil, err
	}
	c, err := verifier.CreateCredential(user, session, parsed)
	var failed *protocol.Error
	switch {
	case errors.As(err, &failed) && failed.Type == protocol.ErrInvalidAttestation.Type,
		errors.As(err, &failed) && failed.Type == protocol.ErrAttestationCertificate.Type:
		return nil, fmt.Errorf("%w: %w", ErrModelRefused, cause(err))
	case err != nil:
		return nil, cause(err)
	}
	// The library accepts a passkey without attestation, and one that is signed by its own key, which proves nothing.
	switch t := metadata.AuthenticatorAttestationType(c.AttestationType); t {
	case metadata.BasicFull, metadata.AttCA, metadata.AnonCA:
		return c, nil
	default:
		return nil, fmt.Errorf("%w: its attestation has the type %q", ErrModelRefused, t)
	}
}
