package passkey

import (
	"errors"
	"fmt"
	"slices"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/protocol/webauthncose"
	"github.com/google/uuid"

	"gatehouse/storage"
)

// Imported returns a passkey of another system with the same RP ID as it is stored. It returns an error when its public
// key or the model of its authenticator is not accepted. Its attestation was verified by the other system, if at all.
func (p *RelyingParty) Imported(key storage.Passkey) (storage.Passkey, error) {
	parsed, err := webauthncose.ParsePublicKey(key.PublicKey)
	if err != nil {
		return key, errors.New("the public key is not valid")
	}
	if alg := coseAlgorithm(parsed); !slices.Contains(algorithms, alg) {
		return key, fmt.Errorf("the algorithm %d of the public key is not supported", alg)
	}
	if id, err := uuid.Parse(key.AAGUID); err == nil && id != uuid.Nil {
		key.AAGUID = id.String()
	} else {
		key.AAGUID = ""
	}
	if allowed := p.options.AllowedAAGUIDs; len(allowed) > 0 && !slices.Contains(allowed, key.AAGUID) {
		return key, ErrModelRefused
	}
	var reported []protocol.AuthenticatorTransport
	for _, t := range key.Transports {
		reported = append(reported, protocol.AuthenticatorTransport(t))
	}
	key.Transports = transports(reported)
	key.Attestation, key.BackupEligible, key.BackedUp = storage.AttestationImported, true, false
	key.Discoverable, key.UserVerified = !key.SecondFactor, !key.SecondFactor
	return key, nil
}

// coseAlgorithm returns the COSE algorithm of a public key, or 0.
func coseAlgorithm(key any) int64 {
	switch k := key.(type) {
	case webauthncose.EC2PublicKeyData:
		return k.Algorithm
	case webauthncose.OKPPublicKeyData:
		return k.Algorithm
	case webauthncose.RSAPublicKeyData:
		return k.Algorithm
	}
	return 0
}

// CompleteImported sets whether an imported passkey can be synced, as its authenticator reports at the first use. The
// assertion must be verified with it afterwards.
func (a *Assertion) CompleteImported(key *storage.Passkey) {
	if key.BackupUnknown() {
		key.BackupEligible = a.parsed.Response.AuthenticatorData.Flags.HasBackupEligible()
	}
}
