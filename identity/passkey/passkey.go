// Package passkey runs the ceremonies of WebAuthn: it builds the options for the browser and verifies what it returns.
// Challenges are stateless: each is bound to a browser by a MAC and expires. That a challenge is used once, which user
// signs in and how often a browser may fail is decided by identity.
package passkey

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"
	"github.com/google/uuid"

	"gatehouse/storage"
)

// Options are the settings of this package.
type Options struct {
	Issuer         *url.URL
	RPID           string   // the host of the issuer, or a parent domain; "" for the host
	Name           string   // of this service, for authenticators
	RelatedOrigins []string // other origins that may use the passkeys
	AllowedAAGUIDs []string // empty: all
	RefuseCounter  bool     // refuse a signature counter that does not increase
	// Metadata returns the metadata that a new passkey must have an attestation for. nil: attestations are not requested.
	Metadata func() (*Metadata, error)
	Key      []byte // of challenges
	Now      func() time.Time
}

// RelyingParty verifies passkeys for one RP ID.
type RelyingParty struct {
	options  Options
	config   webauthn.Config
	webauthn *webauthn.WebAuthn
}

// ErrUnavailable is returned by New when the host of the issuer is an IP address, which cannot have passkeys.
var ErrUnavailable = errors.New("passkeys need an issuer with a domain name")

// New returns the relying party of an issuer. It returns ErrUnavailable, or another error for an invalid setting.
func New(o Options) (*RelyingParty, error) {
	host := o.Issuer.Hostname()
	if net.ParseIP(host) != nil {
		return nil, ErrUnavailable
	}
	if o.RPID == "" {
		o.RPID = host
	}
	if host != o.RPID && !strings.HasSuffix(host, "."+o.RPID) {
		return nil, fmt.Errorf("the RP ID %q is neither the host of the issuer, %s, nor a parent domain of it", o.RPID, host)
	}
	origins := append([]string{o.Issuer.Scheme + "://" + o.Issuer.Host}, o.RelatedOrigins...)
	config := webauthn.Config{
		RPID: o.RPID, RPDisplayName: o.Name, RPOrigins: origins,
		// Clients may return results of extensions that were not requested (WebAuthn §7.1).
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	}
	w, err := webauthn.New(&config)
	if err != nil {
		return nil, err
	}
	return &RelyingParty{options: o, config: config, webauthn: w}, nil
}

// RPID returns the RP ID.
func (p *RelyingParty) RPID() string { return p.options.RPID }

// WellKnown returns the document with the origins that may use the passkeys (WebAuthn Level 3 §5.11), or nil when
// there are no others.
func (p *RelyingParty) WellKnown() []byte {
	if len(p.options.RelatedOrigins) == 0 {
		return nil
	}
	origins := append([]string{p.options.Issuer.Scheme + "://" + p.options.Issuer.Host}, p.options.RelatedOrigins...)
	out, _ := json.Marshal(map[string][]string{"origins": origins}) // strings always marshal
	return out
}

// algorithms are the supported COSE algorithms, the preferred first: ES256, EdDSA, RS256.
var algorithms = []int64{-7, -8, -257}

type descriptor struct {
	Type       string   `json:"type"`
	ID         string   `json:"id"`
	Transports []string `json:"transports,omitempty"`
}

func descriptors(passkeys []storage.Passkey) []descriptor {
	out := []descriptor{}
	for _, p := range passkeys {
		out = append(out, descriptor{"public-key", encode(p.CredentialID), p.Transports})
	}
	return out
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// ceremonyTimeout is how long the browser waits for the user, in milliseconds.
const ceremonyTimeout = int64(challengeTTL / time.Millisecond)

// Creation is the creation of a passkey.
type Creation struct {
	User   storage.User
	Handle []byte // the user handle
	Scope  string // what the challenge is bound to
	// SecurityKey: it is a second factor after a password, and its authenticator need not verify the user.
	SecurityKey bool
}

// ceremony returns the ceremony of the challenge.
func (c Creation) ceremony() string {
	if c.SecurityKey {
		return createKey
	}
	return create
}

// CreationOptions returns the options with which the browser creates a passkey, as JSON (WebAuthn §5.4). existing are
// the user's passkeys, which are not created again on the same authenticator.
func (p *RelyingParty) CreationOptions(c Creation, existing []storage.Passkey) string {
	parameters := []map[string]any{}
	for _, alg := range algorithms {
		parameters = append(parameters, map[string]any{"type": "public-key", "alg": alg})
	}
	options := map[string]any{
		"rp": map[string]any{"id": p.options.RPID, "name": p.options.Name},
		"user": map[string]any{
			"id": encode(c.Handle), "name": c.User.Username, "displayName": displayName(c.User),
		},
		"challenge":        encode(p.newChallenge(c.ceremony(), c.Scope)),
		"pubKeyCredParams": parameters, "timeout": ceremonyTimeout, "excludeCredentials": descriptors(existing),
		"authenticatorSelection": map[string]any{
			"residentKey": "required", "requireResidentKey": true, "userVerification": "required",
		},
		"attestation": p.attestation(), "extensions": map[string]any{"credProps": true},
	}
	if c.SecurityKey {
		options["authenticatorSelection"] = map[string]any{
			"residentKey": "discouraged", "requireResidentKey": false, "userVerification": "preferred",
			"authenticatorAttachment": "cross-platform",
		}
		options["hints"] = []string{"security-key"}
	}
	return marshal(options)
}

// RequestOptions returns the options with which the browser signs any user in, as JSON (WebAuthn §5.5).
func (p *RelyingParty) RequestOptions(scope string) string {
	return marshal(map[string]any{
		"challenge": encode(p.newChallenge(get, scope)), "timeout": ceremonyTimeout, "rpId": p.options.RPID,
		"allowCredentials": []descriptor{}, "userVerification": "required",
	})
}

// SecurityKeyOptions returns the options with which the browser uses one of the security keys of a user as a second
// factor, as JSON (WebAuthn §5.5). The authenticator verifies the user if it can: the password was the first factor.
func (p *RelyingParty) SecurityKeyOptions(keys []storage.Passkey, scope string) string {
	return marshal(map[string]any{
		"challenge": encode(p.newChallenge(getKey, scope)), "timeout": ceremonyTimeout, "rpId": p.options.RPID,
		"allowCredentials": descriptors(keys), "userVerification": "preferred", "hints": []string{"security-key"},
	})
}

func marshal(v any) string {
	out, err := json.Marshal(v)
	if err != nil {
		panic("marshal options: " + err.Error()) // only for types that JSON does not have
	}
	return string(out)
}

// Challenge is a challenge of this server that a browser has returned. It must be used once.
type Challenge struct {
	Value     string
	ExpiresAt time.Time
}

// Register verifies the response of a browser that created a passkey (WebAuthn §7.1). The passkey has no ID and name
// yet. The error has the cause for the log.
func (p *RelyingParty) Register(creation Creation, response []byte) (storage.Passkey, Challenge, error) {
	parsed, err := protocol.ParseCredentialCreationResponseBytes(response)
	if err != nil {
		return storage.Passkey{}, Challenge{}, cause(err)
	}
	challenge, err := p.openChallenge(creation.ceremony(), creation.Scope, parsed.Response.CollectedClientData.Challenge)
	if err != nil {
		return storage.Passkey{}, challenge, err
	}
	session := webauthn.SessionData{
		Challenge: challenge.Value, RelyingPartyID: p.options.RPID, UserID: creation.Handle,
		UserVerification: protocol.VerificationRequired, CredParams: credentialParameters(),
		Extensions: protocol.SessionExtensions{Requested: []string{"credProps"}},
	}
	if creation.SecurityKey {
		session.UserVerification = protocol.VerificationPreferred
	}
	c, err := p.createCredential(owner{handle: creation.Handle, user: creation.User}, session, parsed)
	if err != nil {
		return storage.Passkey{}, challenge, err
	}
	key := storage.Passkey{
		UserID: creation.User.ID, SecondFactor: creation.SecurityKey,
		CredentialID: c.ID, PublicKey: c.PublicKey, SignCount: int64(c.Authenticator.SignCount),
		Transports: transports(c.Transport), Attestation: c.AttestationFormat, UserVerified: c.Flags.UserVerified,
		Discoverable: c.Extensions.RK == nil || *c.Extensions.RK, BackupEligible: c.Flags.BackupEligible,
		BackedUp: c.Flags.BackupState, CreatedAt: p.options.Now(),
	}
	if id, err := uuid.FromBytes(c.Authenticator.AAGUID); err == nil && id != uuid.Nil {
		key.AAGUID = id.String()
	}
	if allowed := p.options.AllowedAAGUIDs; len(allowed) > 0 && !slices.Contains(allowed, key.AAGUID) {
		return key, challenge, fmt.Errorf("%w: AAGUID %q", ErrModelRefused, key.AAGUID)
	}
	if !key.Discoverable && !key.SecondFactor {
		return key, challenge, errors.New("the passkey is not discoverable")
	}
	return key, challenge, nil
}

func credentialParameters() (out []protocol.CredentialParameter) {
	for _, p := range webauthn.CredentialParametersDefault() {
		if slices.Contains(algorithms, int64(p.Algorithm)) {
			out = append(out, p)
		}
	}
	return out
}

// knownTransports are the values of WebAuthn §5.8.4 that are stored; the client may send others.
var knownTransports = []string{"usb", "nfc", "ble", "smart-card", "hybrid", "internal"}

func transports(reported []protocol.AuthenticatorTransport) storage.Strings {
	out := storage.Strings{}
	for _, t := range reported {
		if slices.Contains(knownTransports, string(t)) && !out.Has(string(t)) {
			out = append(out, string(t))
		}
	}
	return out
}

// Assertion is the response of a browser that used a passkey, before it is verified.
type Assertion struct {
	parsed *protocol.ParsedCredentialAssertionData
}

// ParseAssertion parses the response of a browser that used a passkey.
func ParseAssertion(response []byte) (*Assertion, error) {
	parsed, err := protocol.ParseCredentialRequestResponseBytes(response)
	if err != nil {
		return nil, cause(err)
	}
	return &Assertion{parsed}, nil
}

// CredentialID returns the id of the credential.
func (a *Assertion) CredentialID() []byte { return a.parsed.RawID }

// Use is what an authenticator reported when its passkey was used.
type Use struct {
	Challenge Challenge
	SignCount int64 // as reported: whether it increased is decided where it is stored
	BackedUp  bool
}

// Verify verifies an assertion with the passkey that it names and the owner of that (WebAuthn §7.2). The error has the
// cause for the log. The authenticator must have verified the user.
func (p *RelyingParty) Verify(a *Assertion, key storage.Passkey, user storage.User, scope string) (Use, error) {
	challenge, err := p.openChallenge(get, scope, a.parsed.Response.CollectedClientData.Challenge)
	if err != nil {
		return Use{}, err
	}
	session := webauthn.SessionData{
		Challenge: challenge.Value, RelyingPartyID: p.options.RPID, UserVerification: protocol.VerificationRequired,
	}
	find := func([]byte, []byte) (webauthn.User, error) {
		return owner{user.PasskeyHandle, user, []webauthn.Credential{credential(key)}}, nil
	}
	_, c, err := p.webauthn.ValidatePasskeyLogin(find, session, a.parsed)
	if err != nil {
		return Use{}, cause(err)
	}
	return a.use(challenge, c), nil
}

// VerifySecurityKey verifies an assertion with the security key of a user that it names, as Verify does. The
// authenticator need not have verified the user.
func (p *RelyingParty) VerifySecurityKey(
	a *Assertion, key storage.Passkey, user storage.User, scope string,
) (Use, error) {
	challenge, err := p.openChallenge(getKey, scope, a.parsed.Response.CollectedClientData.Challenge)
	if err != nil {
		return Use{}, err
	}
	session := webauthn.SessionData{
		Challenge: challenge.Value, RelyingPartyID: p.options.RPID, UserVerification: protocol.VerificationPreferred,
		UserID: user.PasskeyHandle, AllowedCredentialIDs: [][]byte{key.CredentialID},
	}
	signer := owner{user.PasskeyHandle, user, []webauthn.Credential{credential(key)}}
	c, err := p.webauthn.ValidateLogin(signer, session, a.parsed)
	if err != nil {
		return Use{}, cause(err)
	}
	return a.use(challenge, c), nil
}

func (a *Assertion) use(challenge Challenge, c *webauthn.Credential) Use {
	return Use{
		Challenge: challenge, SignCount: int64(a.parsed.Response.AuthenticatorData.Counter), BackedUp: c.Flags.BackupState,
	}
}

// RefusesCounter reports whether a use with a signature counter that does not increase is refused.
func (p *RelyingParty) RefusesCounter() bool { return p.options.RefuseCounter }

func credential(p storage.Passkey) webauthn.Credential {
	c := webauthn.Credential{ID: p.CredentialID, PublicKey: p.PublicKey, AttestationFormat: p.Attestation}
	c.Flags.BackupEligible, c.Flags.BackupState, c.Flags.UserVerified = p.BackupEligible, p.BackedUp, p.UserVerified
	c.Flags.UserPresent = true
	c.Authenticator.SignCount = uint32(p.SignCount) //nolint:gosec // stored from a uint32
	return c
}

// owner is a user with passkeys.
type owner struct {
	handle      []byte
	user        storage.User
	credentials []webauthn.Credential
}

// WebAuthnID returns the user handle.
func (o owner) WebAuthnID() []byte { return o.handle }

// WebAuthnName returns the username.
func (o owner) WebAuthnName() string { return o.user.Username }

// WebAuthnDisplayName returns the username.
func (o owner) WebAuthnDisplayName() string { return o.user.Username }

// WebAuthnCredentials returns the passkeys.
func (o owner) WebAuthnCredentials() []webauthn.Credential { return o.credentials }

// maxCause is how long the cause of a failure can be: some have what the browser sent.
const maxCause = 300

// cause returns an error of the library with its details, which it omits from the message.
func cause(err error) error {
	var detailed *protocol.Error
	if !errors.As(err, &detailed) {
		return err
	}
	text := detailed.Details
	if detailed.DevInfo != "" {
		text += ": " + detailed.DevInfo
	}
	if len(text) > maxCause {
		text = strings.ToValidUTF8(text[:maxCause], "") + "…"
	}
	return errors.New(text)
}
