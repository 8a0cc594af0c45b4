package importer

import (
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"gatehouse/identity"
	"gatehouse/storage"
)

// The types of Keycloak's credentials.
const (
	keycloakPassword      = "password"
	keycloakOTP           = "otp"
	keycloakSecurityKey   = "webauthn"
	keycloakPasskey       = "webauthn-passwordless"
	keycloakRecoveryCodes = "recovery-authn-codes"
)

const (
	// maxImportedPasskeys is how many WebAuthn credentials a user can have.
	maxImportedPasskeys = 20
	// maxCredentialID is the largest size of the id of a WebAuthn credential (WebAuthn Level 3 §4).
	maxCredentialID = 1023 // bytes
	// maxPublicKey is more than the largest COSE key, that of RSA with 4096 bits.
	maxPublicKey = 2 << 10 // bytes
	// maxTOTPSecret is more than the block of SHA-512, above which a secret gains nothing.
	maxTOTPSecret = 256 // bytes
)

// keycloakRPIDs are the RP IDs of a realm's WebAuthn credentials; empty for the host of Keycloak.
type keycloakRPIDs struct{ securityKey, passkey string }

// addCredential adds a credential to a user, or reports why it is lost.
func (im *Importer) addCredential(realm *keycloakRealm, u *user, c keycloakSecret) {
	var err error
	switch c.Type {
	case keycloakPassword:
		u.hash, u.hashError = c.password()
	case keycloakOTP:
		if u.totp != nil {
			im.report.lose("TOTP authenticator besides the first one of a user")
			return
		}
		if u.totp, err = c.totp(); err != nil {
			u.lostFactor = true
			im.report.lose("TOTP authenticator: %v", err)
		}
	case keycloakSecurityKey, keycloakPasskey:
		if err = im.addPasskey(realm, u, c); err != nil {
			u.lostFactor = u.lostFactor || c.Type == keycloakSecurityKey
			im.report.lose("WebAuthn credential: %v", err)
		}
	case keycloakRecoveryCodes:
		im.report.lose("recovery codes (users can create new ones)")
	default:
		u.lostFactor = true // what it may be
		im.report.lose("credential of the type %.40s", c.Type)
	}
}

// totp returns the TOTP authenticator of a credential.
func (c keycloakSecret) totp() (*storage.TOTPSecret, error) {
	var secret struct {
		Value string `json:"value"`
	}
	var data struct {
		SubType   string `json:"subType"`
		Digits    int64  `json:"digits"`
		Period    int64  `json:"period"`
		Algorithm string `json:"algorithm"`
		Encoding  string `json:"secretEncoding"`
	}
	if json.Unmarshal([]byte(c.SecretData), &secret) != nil || json.Unmarshal([]byte(c.CredentialData), &data) != nil {
		return nil, errors.New("the credential is not valid JSON")
	}
	if data.SubType != "totp" {
		return nil, fmt.Errorf("the kind %.40q (codes by a counter) is not supported", data.SubType)
	}
	t := &storage.TOTPSecret{
		Secret: []byte(secret.Value), Digits: data.Digits, Period: data.Period,
		Algorithm: strings.TrimPrefix(data.Algorithm, "Hmac"),
	}
	switch strings.ToUpper(data.Encoding) {
	case "": // the characters are the secret
	case "BASE32":
		var err error
		value := strings.ToUpper(strings.TrimRight(secret.Value, "="))
		if t.Secret, err = base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(value); err != nil {
			return nil, errors.New("the secret is not valid base32")
		}
	default:
		return nil, fmt.Errorf("the encoding %.40q of the secret is not supported", data.Encoding)
	}
	if len(t.Secret) > maxTOTPSecret {
		return nil, fmt.Errorf("the secret has more than %d bytes", maxTOTPSecret)
	}
	return t, identity.CheckTOTP(*t)
}

// addPasskey adds a WebAuthn credential to a user. Keycloak's user handle is the id of the user.
func (im *Importer) addPasskey(realm *keycloakRealm, u *user, c keycloakSecret) error {
	users, rpID := im.options.Users, realm.rpIDs.passkey
	if c.Type == keycloakSecurityKey {
		rpID = realm.rpIDs.securityKey
	}
	if rpID == "" {
		rpID = im.options.RPID
	}
	switch {
	case users == nil || !users.HasPasskeys():
		return errors.New("this issuer has no passkeys")
	case rpID == "":
		return errors.New("the realm has no RP ID, so it is the host of Keycloak; --rp-id sets it")
	case rpID != users.PasskeyRPID():
		return fmt.Errorf("the RP ID is %.100q, and that of this issuer is %q (GATEHOUSE_PASSKEY_RP_ID)", rpID,
			users.PasskeyRPID())
	case len(u.passkeys) >= maxImportedPasskeys:
		return fmt.Errorf("a user can have %d", maxImportedPasskeys)
	case !strings.EqualFold(identity.ImportedSub(u.id), u.id):
		return errors.New("the id of the user, which is the user handle, is not a UUID")
	}
	var data struct {
		AAGUID     string   `json:"aaguid"`
		ID         string   `json:"credentialId"`
		Counter    uint32   `json:"counter"`
		PublicKey  string   `json:"credentialPublicKey"`
		Transports []string `json:"transports"`
	}
	if json.Unmarshal([]byte(c.CredentialData), &data) != nil {
		return errors.New("the credential is not valid JSON")
	}
	id, err := decodeBase64(data.ID)
	if err != nil || len(id) == 0 || len(id) > maxCredentialID {
		return errors.New("the credential id is not valid")
	}
	key, err := decodeBase64(data.PublicKey)
	if err != nil || len(key) > maxPublicKey {
		return errors.New("the public key is not valid")
	}
	now := im.store.Now()
	p := storage.Passkey{
		ID: uuid.NewString(), CredentialID: id, PublicKey: key, SignCount: int64(data.Counter), AAGUID: data.AAGUID,
		Transports: data.Transports, Name: c.UserLabel, SecondFactor: c.Type == keycloakSecurityKey, CreatedAt: now,
	}
	if p, err = users.ImportedPasskey(p); err != nil {
		return err
	}
	if c.CreatedDate > 0 && time.UnixMilli(c.CreatedDate).Before(now) {
		p.CreatedAt = time.UnixMilli(c.CreatedDate)
	}
	u.passkeys = append(u.passkeys, p)
	return nil
}
