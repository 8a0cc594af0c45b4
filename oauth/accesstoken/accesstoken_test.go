package accesstoken_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/jwt"
)

func newKey(t testing.TB) *accesstoken.Key {
	t.Helper()
	private, err := jwt.Generate(jwt.ES256)
	if err != nil {
		t.Fatal(err)
	}
	k, err := accesstoken.NewKey("a-kid", jwt.ES256, private)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var now = time.Unix(1_800_000_000, 0)

func userClaims() *accesstoken.Claims {
	return &accesstoken.Claims{
		Issuer: "https://id.example", Subject: "süb \"quoted\" \\ \u2028",
		Audience: []string{"https://a.example", "https://b.example"},
		ClientID: "client", Scope: "read write", JTI: "jti", IssuedAt: now.Unix(), ExpiresAt: now.Unix() + 60,
		AuthTime: now.Unix() - 5, ACR: "1", AMR: []string{"pwd"}, GrantID: "grant",
	}
}

// clientClaims are those of a client credentials token.
func clientClaims(epoch int64) *accesstoken.Claims {
	return &accesstoken.Claims{
		Issuer: "https://id.example", Subject: "m", Audience: []string{"https://id.example?a&b=<c>"}, ClientID: "m", JTI: "x",
		IssuedAt: now.Unix(), ExpiresAt: now.Unix() + 60, ClientEpoch: epoch,
	}
}

// verify is Parse and CheckTimes, as for introspection.
func verify(token, issuer string, find func(kid string) *accesstoken.Key, at time.Time) (*accesstoken.Claims, error) {
	c, err := accesstoken.Parse(token, issuer, find)
	if err != nil {
		return nil, err
	}
	return c, c.CheckTimes(at)
}

func TestSignedClaimsAreReadBack(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	for _, want := range []*accesstoken.Claims{userClaims(), clientClaims(7), clientClaims(0)} {
		token, err := k.Sign(accesstoken.Type, want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := verify(token, "https://id.example", func(string) *accesstoken.Key { return k }, now)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("verify of a signed token (-want +got):\n%s", diff)
		}
		jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := jws.Verify(k.Public)
		if err != nil {
			t.Fatal(err)
		}
		var claims map[string]any
		if err := json.Unmarshal(payload, &claims); err != nil || claims["sub"] != want.Subject {
			t.Errorf("go-jose reads %s (%v), want sub %q", payload, err, want.Subject)
		}
		if _, isList := claims["aud"].([]any); isList != (len(want.Audience) > 1) {
			t.Errorf("aud = %v, want a list only for several audiences", claims["aud"])
		}
		if epoch, has := claims["cep"]; has == (want.GrantID != "") {
			t.Errorf("cep = %v with gid %q, want exactly one of them", epoch, want.GrantID)
		}
	}
}

func TestInvalidTokensAreRefused(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	check := func(token, issuer string, at time.Time) error {
		_, err := verify(token, issuer, func(kid string) *accesstoken.Key {
			if kid == "a-kid" {
				return k
			}
			return nil
		}, at)
		return err
	}
	valid, err := k.Sign(accesstoken.Type, userClaims())
	if err != nil {
		t.Fatal(err)
	}
	if err := check(valid, "https://id.example", now); err != nil {
		t.Fatal(err)
	}
	future := userClaims()
	future.IssuedAt += 61 // one second more than the leeway
	early, err := k.Sign(accesstoken.Type, future)
	if err != nil {
		t.Fatal(err)
	}
	foreign, err := newKey(t).Sign(accesstoken.Type, userClaims())
	if err != nil {
		t.Fatal(err)
	}
	const issuer = "https://id.example"
	for name, err := range map[string]error{
		"expired":                  check(valid, issuer, now.Add(time.Minute)),
		"of another issuer":        check(valid, "https://other.example", now),
		"from the future":          check(early, issuer, now),
		"too large":                check(valid+strings.Repeat("A", accesstoken.MaxSize), issuer, now),
		"empty":                    check("", issuer, now),
		"followed by a line break": check(valid+"\n", issuer, now),
		"changed at its end":       check(valid[:len(valid)-1]+string(valid[len(valid)-1]+1), issuer, now),
		"signed by another key":    check(foreign, issuer, now),
	} {
		if !errors.Is(err, accesstoken.ErrInvalid) {
			t.Errorf("verify of a token that is %s: error %v, want ErrInvalid", name, err)
		}
	}
	withoutAudience := &accesstoken.Claims{Issuer: "i", Subject: "s", ClientID: "c", JTI: "j"}
	if _, err := k.Sign(accesstoken.Type, withoutAudience); err == nil {
		t.Error("Sign without aud returned no error")
	}
}

// TestTypeJWTIsDistinguishedByTokenUse checks what a header must have, with signatures of the key itself.
func TestTypeJWTIsDistinguishedByTokenUse(t *testing.T) {
	t.Parallel()
	for _, algorithm := range []string{jwt.ES256, jwt.EdDSA} { // fast to generate
		private, err := jwt.Generate(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		k, err := accesstoken.NewKey("a-kid", algorithm, private)
		if err != nil {
			t.Fatal(err)
		}
		payload, err := json.Marshal(userClaims())
		if err != nil {
			t.Fatal(err)
		}
		check := func(token string) error {
			_, err := verify(token, "https://id.example", func(string) *accesstoken.Key { return k }, now)
			return err
		}
		for _, typ := range accesstoken.Types {
			token, err := k.Sign(typ, userClaims())
			if err != nil {
				t.Fatal(err)
			}
			if err := check(token); err != nil {
				t.Errorf("verify of a token with typ %s and alg %s: %v, want no error", typ, algorithm, err)
			}
		}
		for _, header := range []jwt.Header{
			{}, {TokenUse: "access"}, {Type: "JWT"}, {Type: "JWT", TokenUse: "id"}, {Type: "jwt", TokenUse: "access"},
			{Type: "at+jwt", TokenUse: "access"}, {Type: "application/at+jwt"}, {Type: "logout+jwt", TokenUse: "access"},
		} {
			header.Algorithm, header.KeyID = algorithm, "a-kid"
			signer, err := jwt.NewSigner(private, header)
			if err != nil {
				t.Fatal(err)
			}
			token, err := signer.Sign(payload)
			if err != nil {
				t.Fatal(err)
			}
			if err := check(token); !errors.Is(err, accesstoken.ErrInvalid) {
				t.Errorf("verify of a token with the header %+v: error %v, want ErrInvalid", header, err)
			}
		}
	}
	if _, err := newKey(t).Sign("logout+jwt", userClaims()); err == nil {
		t.Error("Sign with the typ logout+jwt returned no error")
	}
}

// TestAlgorithmMustBeTheOneOfTheKey checks that an RSA key for one algorithm does not verify the other.
func TestAlgorithmMustBeTheOneOfTheKey(t *testing.T) {
	t.Parallel()
	private, err := jwt.Generate(jwt.RS256)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := accesstoken.NewKey("a-kid", jwt.RS256, private)
	if err != nil {
		t.Fatal(err)
	}
	ps, err := accesstoken.NewKey("a-kid", jwt.PS256, private)
	if err != nil {
		t.Fatal(err)
	}
	token, err := ps.Sign(accesstoken.Type, userClaims())
	if err != nil {
		t.Fatal(err)
	}
	_, err = verify(token, "https://id.example", func(string) *accesstoken.Key { return rs }, now)
	if !errors.Is(err, accesstoken.ErrInvalid) {
		t.Errorf("verify of a PS256 token with a key for RS256: error %v, want ErrInvalid", err)
	}
}

// FuzzVerify checks that no string except the signed one verifies.
func FuzzVerify(f *testing.F) {
	k := newKey(f)
	valid, err := k.Sign(accesstoken.Type, userClaims())
	if err != nil {
		f.Fatal(err)
	}
	seeds := []string{valid, valid[:len(valid)-1], valid + "=", "..", strings.Replace(valid, ".", "..", 1), "{}"}
	for _, s := range seeds {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		c, err := verify(token, "https://id.example", func(string) *accesstoken.Key { return k }, now)
		if err == nil && token != valid {
			t.Errorf("verify(%q) = %v, want ErrInvalid", token, c)
		}
	})
}
