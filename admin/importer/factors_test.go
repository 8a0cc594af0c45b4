package importer_test

import (
	"crypto/pbkdf2"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/admin/importer"
	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity"
	"gatehouse/identity/passkey"
	"gatehouse/identity/passkey/passkeytest"
	"gatehouse/identity/totp"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

// exported is a credential in a realm file.
type exported struct {
	Type           string `json:"type"`
	UserLabel      string `json:"userLabel"`
	CreatedDate    int64  `json:"createdDate"`
	SecretData     string `json:"secretData"`
	CredentialData string `json:"credentialData"`
}

func encodeJSON(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	storagetest.Must(t, err)
	return string(b)
}

func exportedPassword(t *testing.T, password string) exported {
	t.Helper()
	sum, err := pbkdf2.Key(sha256.New, password, []byte("salt of 16 bytes"), 1000, 32)
	storagetest.Must(t, err)
	return exported{
		Type:           "password",
		SecretData:     encodeJSON(t, map[string]any{"value": sum, "salt": []byte("salt of 16 bytes")}),
		CredentialData: `{"hashIterations":1000,"algorithm":"pbkdf2-sha256"}`,
	}
}

func exportedOTP(secret, data string) exported {
	return exported{Type: "otp", SecretData: `{"value":"` + secret + `"}`, CredentialData: data}
}

// exportedWebAuthn returns a credential of an authenticator as Keycloak stores it.
func exportedWebAuthn(t *testing.T, kind, sub string, a *passkeytest.Authenticator) exported {
	t.Helper()
	id, key := a.CreateElsewhere([]byte(sub))
	return exported{Type: kind, UserLabel: "Blue key", CreatedDate: 1740654903754, SecretData: "{}",
		CredentialData: encodeJSON(t, map[string]any{
			"aaguid": "00000000-0000-0000-0000-000000000000", "credentialId": base64.StdEncoding.EncodeToString(id),
			"counter": 0, "credentialPublicKey": base64.RawURLEncoding.EncodeToString(key),
			"attestationStatementFormat": "none", "transports": []string{"usb", "pigeon"},
		})}
}

// writeUsers writes a realm file with the credentials of users, by their ids.
func writeUsers(t *testing.T, realm map[string]any, credentials map[string][]exported) string {
	t.Helper()
	var users []any
	for id, list := range credentials {
		name := "user" + id[:1]
		users = append(users, map[string]any{
			"id": id, "username": name, "email": name + "@example.com", "enabled": true, "credentials": list,
		})
	}
	realm["realm"], realm["users"] = "corp", users
	path := filepath.Join(t.TempDir(), "realm.json")
	storagetest.Must(t, os.WriteFile(path, []byte(encodeJSON(t, realm)), 0o600))
	return path
}

const (
	withTOTP    = "2a117809-8285-4718-a131-bd61fb57cd1f"
	withPasskey = "9d0c4a3e-6a4b-4a39-9d8d-0e7f2a6d5c11"
	defaultOTP  = `{"subType":"totp","digits":6,"counter":0,"period":30,"algorithm":"HmacSHA1"}`
)

// TestImportedUserSignsInWithPasswordAndTOTP imports users of Keycloak, who sign in with the password and a code of the
// authenticator that they have, over HTTP. A second import changes nothing (PE53, PE57).
func TestImportedUserSignsInWithPasswordAndTOTP(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{})
		const base32, long = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP", "3c4d5e6f-6a4b-4a39-9d8d-0e7f2a6d5c22"
		path := writeUsers(t, map[string]any{}, map[string][]exported{
			withTOTP: {exportedPassword(t, servertest.Password), exportedOTP("DJmQfC73VGFhw7D4QJ8A", defaultOTP)},
			long: {exportedPassword(t, servertest.Password), exportedOTP(base32,
				`{"subType":"totp","digits":8,"period":60,"algorithm":"HmacSHA256","secretEncoding":"BASE32"}`)},
		})
		for _, want := range []int64{2, 0} {
			report, err := importer.New(s.Store, importer.Options{}).Run(t.Context(), "keycloak", path)
			storagetest.Must(t, err)
			report.Finish()
			if report.Users.Created != want || report.Factors[importer.FactorTOTP] != want || len(report.Losses) > 0 {
				t.Errorf("import = %+v, want %d users with a TOTP authenticator and no losses", report, want)
			}
		}
		for name, key := range map[string]totp.Key{
			"user2": {Secret: []byte("DJmQfC73VGFhw7D4QJ8A"), Algorithm: "SHA1", Digits: 6, Period: 30 * time.Second},
			"user3": {
				Secret: []byte("Hello!\xde\xad\xbe\xefHello!\xde\xad\xbe\xef"), Algorithm: "SHA256", Digits: 8,
				Period: time.Minute,
			},
		} {
			b := s.Browser()
			factor := b.BeginSignIn(b.Open("/login"), name)
			if p := b.SubmitFactor(factor, "000000"); p.Status != http.StatusUnauthorized {
				t.Errorf("an incorrect code of %s: %d, want 401", name, p.Status)
			}
			p := b.SubmitFactor(factor, key.Code(key.Step(s.Clock.Now())))
			if p = b.Follow(p); p.Status != http.StatusOK || strings.Contains(p.URL, "/login") {
				t.Errorf("the code of %s: %d %s %s, want the user signed in", name, p.Status, p.URL, p.Text())
			}
		}
		stored, err := s.Store.TOTP(t.Context(), withTOTP)
		if err != nil || strings.Contains(string(stored.Sealed), "DJmQfC73") {
			t.Errorf("stored TOTP = %+v, %v, want it sealed", stored, err)
		}
	})
}

// withPasskeys returns an importer's options with passkeys of id.example.com.
func (f fixture) withPasskeys(t *testing.T) (*identity.Users, importer.Options) {
	t.Helper()
	issuer, err := url.Parse("https://id.example.com")
	storagetest.Must(t, err)
	rp, err := passkey.New(passkey.Options{Issuer: issuer, Name: "Gatehouse", Key: f.Vault.Key("passkey"), Now: f.Now})
	storagetest.Must(t, err)
	users := identity.New(f.Store, identity.Options{
		SessionIdleTTL: time.Hour, SessionMaxTTL: time.Hour, PasswordMinLength: 10, Concurrency: 1, Passkeys: rp,
	})
	return users, importer.Options{Users: users}
}

// TestImportedPasskeySignsIn imports WebAuthn credentials of Keycloak: a passkey signs in, a security key does not
// without a password, and whether a passkey is synced is decided by its first use (PE53).
func TestImportedPasskeySignsIn(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		f := newFixture(t, db)
		users, o := f.withPasskeys(t)
		const origin, rpID = "https://id.example.com", "id.example.com"
		synced, hardware := passkeytest.New(t, origin, rpID), passkeytest.New(t, origin, rpID)
		second := passkeytest.New(t, origin, rpID)
		synced.Synced = true
		path := writeUsers(t, map[string]any{"webAuthnPolicyRpId": rpID, "webAuthnPolicyPasswordlessRpId": rpID},
			map[string][]exported{withPasskey: {
				exportedWebAuthn(t, "webauthn-passwordless", withPasskey, synced),
				exportedWebAuthn(t, "webauthn-passwordless", withPasskey, hardware),
				exportedWebAuthn(t, "webauthn", withPasskey, second),
			}})
		dry := o
		dry.DryRun = true
		f.run(t, "keycloak", dry, path)
		report := f.run(t, "keycloak", o, path)
		if report.Factors[importer.FactorPasskey] != 2 || report.Factors[importer.FactorSecurityKey] != 1 {
			t.Errorf("factors = %v, losses = %v, want two passkeys and a security key", report.Factors, report.Losses)
		}
		if again := f.run(t, "keycloak", o, path); again.Users.Unchanged != 1 {
			t.Errorf("second import = %+v, want the user unchanged", again.Users)
		}
		r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
		for _, c := range []struct {
			a   *passkeytest.Authenticator
			acr string
		}{
			{synced, identity.ACRPasskey}, {synced, identity.ACRPasskey}, {hardware, identity.ACRHardwarePasskey}, {second, ""},
		} {
			response := c.a.Get(users.PasskeyRequest([]byte("browser")))
			u, how, err := users.SignInWithPasskey(t.Context(), []byte("browser"), users.Device(r), response)
			if how.ACR != c.acr || (err == nil) != (c.acr != "") || err == nil && u.ID != withPasskey {
				t.Errorf("sign-in with a passkey = %s, %q, %v, want the acr %q", u.ID, how.ACR, err, c.acr)
			}
		}
		hardware.Synced = true // which the flags of an authenticator never do (WebAuthn §6.1.3)
		response := hardware.Get(users.PasskeyRequest([]byte("browser")))
		if _, _, err := users.SignInWithPasskey(t.Context(), []byte("browser"), users.Device(r), response); err == nil {
			t.Error("a passkey that was in hardware and is synced now signs in, want it refused")
		}
		rows, err := f.Audit.Rows(t.Context(), audit.Filter{Event: audit.UserImported, UserID: withPasskey, Limit: 2})
		if err != nil || len(rows) != 1 || rows[0].Detail != `{"passkeys":3,"source":"keycloak:corp"}` {
			t.Errorf("audit rows = %+v, %v, want one with the passkeys", rows, err)
		}
	})
}

// TestFactorsThatAreLostAreReported imports factors that Gatehouse cannot verify, and a credential that another user
// has (PE53, PE57).
func TestFactorsThatAreLostAreReported(t *testing.T) {
	t.Parallel()
	f := newFixture(t, storagetest.URL(t, storage.SQLite))
	_, o := f.withPasskeys(t)
	a := passkeytest.New(t, "https://id.example.com", "id.example.com")
	valid := exportedWebAuthn(t, "webauthn-passwordless", withPasskey, a)
	changed := func(old, replacement string) exported {
		c := valid
		c.CredentialData = strings.Replace(c.CredentialData, old, replacement, 1)
		return c
	}
	rpID := map[string]any{"webAuthnPolicyPasswordlessRpId": "id.example.com"}
	otp := exportedOTP("DJmQfC73VGFhw7D4QJ8A", defaultOTP)
	otpWith := func(old, replacement string) exported {
		return exportedOTP("DJmQfC73VGFhw7D4QJ8A", strings.Replace(defaultOTP, old, replacement, 1))
	}
	const authenticator, webAuthn = "TOTP authenticator: ", "WebAuthn credential: "
	for _, c := range []struct {
		realm       map[string]any
		credentials []exported
		want        string
	}{
		{nil, []exported{otpWith("totp", "hotp")}, authenticator + `the kind "hotp"`},
		{nil, []exported{otpWith("SHA1", "MD5")}, authenticator + `the algorithm "MD5"`},
		{nil, []exported{otpWith(`s":6`, `s":10`)}, authenticator + "10 digits"},
		{nil, []exported{otpWith("30", "9300000000")}, authenticator + "a period of"},
		{nil, []exported{exportedOTP("short", defaultOTP)}, authenticator + "a secret of 5 bytes"},
		{nil, []exported{exportedOTP(strings.Repeat("x", 300), defaultOTP)}, authenticator + "the secret has more"},
		{nil, []exported{exportedOTP("x", "{")}, authenticator + "the credential is not valid JSON"},
		{nil, []exported{otp, otp}, "TOTP authenticator besides the first"},
		{nil, []exported{{Type: "recovery-authn-codes"}}, "recovery codes (users can create new ones)"},
		{nil, []exported{{Type: "kerberos"}}, "credential of the type kerberos"},
		{nil, []exported{valid}, webAuthn + "the realm has no RP ID"},
		{map[string]any{"webAuthnPolicyPasswordlessRpId": "sso.example.com"}, []exported{valid},
			webAuthn + `the RP ID is "sso.example.com"`},
		{rpID, []exported{changed("credentialPublicKey", "other")}, webAuthn + "the public key is not valid"},
		{rpID, []exported{changed("credentialId\":\"", "credentialId\":\"!")}, webAuthn + "the credential id is not valid"},
		{rpID, []exported{{Type: valid.Type, CredentialData: "["}}, webAuthn + "the credential is not valid JSON"},
	} {
		realm := map[string]any{}
		for k, v := range c.realm {
			realm[k] = v
		}
		dry := o
		dry.DryRun = true
		report := f.run(t, "keycloak", dry, writeUsers(t, realm, map[string][]exported{withPasskey: c.credentials}))
		if report.Users.Created != 1 || len(report.Losses) != 1 || !strings.HasPrefix(report.Losses[0].What, c.want) {
			t.Errorf("import of %.200v = %+v, want the user and the loss %q", c.credentials, report, c.want)
		}
	}
	o.RPID = "id.example.com"
	report := f.run(t, "keycloak", o, writeUsers(t, map[string]any{}, map[string][]exported{
		withPasskey: {valid}, withTOTP: {valid},
	}))
	if report.Users.Created != 1 || len(report.Problems) != 1 ||
		!strings.HasSuffix(report.Problems[0].Reason, "is that of another user") {
		t.Errorf("import of two users with one credential = %s, want one of them refused", fmt.Sprint(report))
	}
}
