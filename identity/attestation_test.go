package identity_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"gatehouse/identity"
	"gatehouse/identity/passkey"
	"gatehouse/identity/passkey/passkeytest"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// The models of authenticators in the metadata of the tests, and one that is not in it.
var (
	certified  = uuid.MustParse("11111111-1111-1111-1111-111111111111")
	revoked    = uuid.MustParse("22222222-2222-2222-2222-222222222222")
	selfSigned = uuid.MustParse("33333333-3333-3333-3333-333333333333")
	unlisted   = uuid.MustParse("44444444-4444-4444-4444-444444444444")
)

// attestingUsers is a store that requires attestations of models in the metadata of the vendor, for a month.
func attestingUsers(t *testing.T, db string, v *passkeytest.Vendor) *passkeyUsers {
	t.Helper()
	return newPasskeyUsers(t, db, func(o *passkey.Options) {
		file := v.Metadata(o.Now().AddDate(0, 1, 0).Format(time.DateOnly),
			passkeytest.Model{AAGUID: certified, Status: "FIDO_CERTIFIED_L1"},
			passkeytest.Model{AAGUID: revoked, Status: "REVOKED"},
			passkeytest.Model{AAGUID: selfSigned, Status: "NOT_FIDO_CERTIFIED", Type: "basic_surrogate"})
		metadata, err := passkey.ParseMetadata(file, v.Root(), o.Now)
		storagetest.Must(t, err)
		if metadata.Models() != 3 { // entries that are not supported are omitted
			t.Errorf("the metadata has %d models, want 3", metadata.Models())
		}
		o.Metadata = func() (*passkey.Metadata, error) { return metadata, nil }
	})
}

// TestAttestationProvesModel creates passkeys and security keys with the attestation that the metadata of the FIDO
// Metadata Service requires, and tries others (PE9).
func TestAttestationProvesModel(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		vendor := passkeytest.NewVendor(t)
		p := attestingUsers(t, db, vendor)
		authenticator := func(model uuid.UUID, attest func(a *passkeytest.Authenticator)) *passkeytest.Authenticator {
			a := passkeytest.New(t, origin, "id.example.com")
			a.AAGUID = model
			if attest != nil {
				attest(a)
			}
			return a
		}
		good := authenticator(certified, vendor.Attest)
		storagetest.Must(t, p.add(t, good, ""))
		list, err := p.Passkeys(t.Context(), p.signedIn.User.ID)
		if err != nil || len(list) != 1 || list[0].Attestation != "packed" || list[0].AAGUID != certified.String() {
			t.Fatalf("the passkeys are %+v, %v, want one of the certified model", list, err)
		}
		_, err = p.signIn(t.Context(), "b", good.Get(p.PasskeyRequest([]byte("b"))))
		storagetest.Must(t, err)
		refused := map[string]*passkeytest.Authenticator{
			"no attestation":                     authenticator(certified, nil),
			"self attestation":                   authenticator(certified, (*passkeytest.Authenticator).AttestItself),
			"a model that has self attestation":  authenticator(selfSigned, (*passkeytest.Authenticator).AttestItself),
			"a model that is not in the file":    authenticator(unlisted, vendor.Attest),
			"a revoked model":                    authenticator(revoked, vendor.Attest),
			"the certificate of another vendor":  authenticator(certified, passkeytest.NewVendor(t).Attest),
			"the certificate of another model":   authenticator(unlisted, vendor.Attest),
			"no model":                           authenticator(uuid.Nil, vendor.Attest),
			"a certificate without its attester": authenticator(certified, vendor.AttestFalsely),
		}
		refused["the certificate of another model"].AAGUID = certified
		for why, a := range refused {
			if err := p.add(t, a, ""); !errors.Is(err, identity.ErrPasskeyModel) {
				t.Errorf("%s: %v, want ErrPasskeyModel", why, err)
			}
		}
		_, options, err := p.PasskeyCreation(t.Context(), p.signedIn)
		storagetest.Must(t, err)
		if got := passkeytest.ParseOptions(t, options).Attestation; got != "direct" {
			t.Errorf("the attestation that is requested is %q, want direct", got)
		}
		_, err = p.AddSecurityKey(t.Context(), p.signedIn, "", authenticator(certified, nil).Create(options))
		if !errors.Is(err, identity.ErrPasskeyModel) {
			t.Errorf("a security key without attestation: %v, want ErrPasskeyModel", err)
		}
		p.wantRefusals(t, len(refused)+1)
		p.clock.Advance(31 * 24 * time.Hour)
		p.signedIn = browser{}.start(t, p.Users, p.signedIn.User)
		if err := p.add(t, authenticator(certified, vendor.Attest), ""); !errors.Is(err, identity.ErrPasskeyUnverified) ||
			!errors.Is(err, passkey.ErrMetadataExpired) {
			t.Errorf("with metadata that has expired: %v, want ErrPasskeyUnverified", err)
		}
		_, err = p.signIn(t.Context(), "b", good.Get(p.PasskeyRequest([]byte("b"))))
		storagetest.Must(t, err)
	})
}

// wantRefusals fails the test unless n refused passkeys are in the audit log, each with its cause.
func (p *passkeyUsers) wantRefusals(t *testing.T, n int) {
	t.Helper()
	storagetest.Eventually(t, "refused passkeys are in the audit log", func() bool {
		rows, err := p.store.Audit.CountRows(t.Context(), audit.Filter{Event: audit.PasskeyRefused})
		return err == nil && rows == int64(n)
	})
}

// TestCreationChallengeIsBoundAndUsedOnce responds to the creation of a passkey again, too late, and in another
// session (PE1). The default requests no attestation (PE9).
func TestCreationChallengeIsBoundAndUsedOnce(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		p := newPasskeyUsers(t, db, nil)
		a := passkeytest.New(t, origin, "id.example.com")
		create := func() string {
			options, _, err := p.PasskeyCreation(t.Context(), p.signedIn)
			storagetest.Must(t, err)
			return options
		}
		o := passkeytest.ParseOptions(t, create())
		if handle, user := o.User.ID, p.signedIn.User.ID; o.Attestation != "none" || handle == user || len(handle) != 43 {
			t.Errorf("creation options with the attestation %q and the handle %q, want none and 32 bytes", o.Attestation, handle)
		}
		used := create()
		storagetest.Must(t, p.AddPasskey(t.Context(), p.signedIn, "", a.Create(used)))
		other := passkeytest.New(t, origin, "id.example.com")
		foreign := browser{}.start(t, p.Users, p.signedIn.User)
		expired := create()
		tries := map[string]error{
			"a replayed challenge":                       p.AddPasskey(t.Context(), p.signedIn, "", other.Create(used)),
			"a challenge of another session of the user": p.AddPasskey(t.Context(), foreign, "", other.Create(create())),
			"a challenge of a sign-in": p.AddPasskey(
				t.Context(), p.signedIn, "", other.Create(withHandle(p.PasskeyRequest([]byte("b")), o.User.ID))),
		}
		p.clock.Advance(5 * time.Minute)
		tries["an expired challenge"] = p.AddPasskey(t.Context(), p.signedIn, "", other.Create(expired))
		for why, err := range tries {
			if !errors.As(err, new(*identity.PasskeyError)) {
				t.Errorf("%s: %v, want a *PasskeyError", why, err)
			}
		}
		p.wantRefusals(t, len(tries))
		list, err := p.Passkeys(t.Context(), p.signedIn.User.ID)
		if err != nil || len(list) != 1 {
			t.Errorf("the user has %d passkeys, %v, want 1", len(list), err)
		}
	})
}

// withHandle returns request options that also have the user of creation options.
func withHandle(options, handle string) string {
	return strings.Replace(options, "{", `{"user":{"id":"`+handle+`"},`, 1)
}
