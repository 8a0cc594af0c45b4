package jwt_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/oauth/jwt"
)

func newKey(t testing.TB, id, alg string) *jwt.Key {
	t.Helper()
	private, err := jwt.Generate(alg)
	if err != nil {
		t.Fatal(err)
	}
	k, err := jwt.NewKey(id, alg, private)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func findIn(keys ...jose.JSONWebKey) func(string, string) ([]jose.JSONWebKey, error) {
	return func(string, string) ([]jose.JSONWebKey, error) { return keys, nil }
}

func TestSignedTokenVerifies(t *testing.T) {
	t.Parallel()
	for _, alg := range jwt.Algorithms {
		k, other := newKey(t, "1", alg), newKey(t, "1", alg)
		for _, typ := range []string{"", jwt.TypeJWT, jwt.TypeLogout} {
			token, err := k.Sign(typ, map[string]string{"iss": "x"})
			if err != nil {
				t.Fatal(err)
			}
			got, err := jwt.Parse(token, jwt.Algorithms, findIn(k.JWK()))
			if err != nil || got.Type != typ || got.KeyID != "1" || string(got.Payload) != `{"iss":"x"}` {
				t.Errorf("Parse of an %s token with typ %q = %+v, %v, want the typ, the kid 1 and the signed payload",
					alg, typ, got, err)
			}
			for name, err := range map[string]error{
				"another key":       parse(token, jwt.Algorithms, other.JWK()),
				"another algorithm": parse(token, algorithmsExcept(alg), k.JWK()),
				"no key":            parse(token, jwt.Algorithms),
				"cut":               parse(token[:len(token)-2], jwt.Algorithms, k.JWK()),
				"a key for encryption": parse(token, jwt.Algorithms, func() jose.JSONWebKey {
					j := k.JWK()
					j.Use = "enc"
					return j
				}()),
				"unsigned": parse(unsigned(token), jwt.Algorithms, k.JWK()),
			} {
				if !errors.Is(err, jwt.ErrInvalid) {
					t.Errorf("Parse of an %s token, %s: error %v, want ErrInvalid", alg, name, err)
				}
			}
		}
		if _, err := k.Sign("at+jwt", map[string]string{}); err == nil {
			t.Error("Sign with the typ at+jwt returned no error")
		}
	}
}

// unsigned returns the token with alg none and without its signature.
func unsigned(token string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + strings.Split(token, ".")[1] + "."
}

func parse(token string, algs []string, keys ...jose.JSONWebKey) error {
	_, err := jwt.Parse(token, algs, findIn(keys...))
	return err
}

func algorithmsExcept(alg string) []string {
	var out []string
	for _, a := range jwt.Algorithms {
		if a != alg {
			out = append(out, a)
		}
	}
	return out
}

func TestKeyMustMatchAlgorithm(t *testing.T) {
	t.Parallel()
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err == nil {
		if _, err := jwt.NewKey("1", jwt.RS256, small); err == nil {
			t.Error("NewKey with an RSA key of 1024 bits returned no error")
		}
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := jwt.NewKey("1", jwt.ES256, p384); err == nil {
		t.Error("NewKey with a P-384 key for ES256 returned no error")
	}
	if _, err := jwt.Generate("none"); err == nil {
		t.Error("Generate(none) returned no error")
	}
}

func TestParseJWKSRefusesPrivateKeys(t *testing.T) {
	t.Parallel()
	k := newKey(t, "1", jwt.ES256)
	public, err := json.Marshal(k.JWK())
	if err != nil {
		t.Fatal(err)
	}
	private, err := jwt.Generate(jwt.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := json.Marshal(jose.JSONWebKey{Key: private, KeyID: "2"})
	if err != nil {
		t.Fatal(err)
	}
	keys, err := jwt.ParseJWKS(
		jwks(string(public), `{"kty":"new","x":1}`, `{"kty":"EC","crv":"P-521","x":"AA","y":"AA"}`))
	if err != nil || len(keys) != 1 || keys[0].KeyID != "1" {
		t.Errorf("ParseJWKS with one supported key = %v, %v, want that key", keys, err)
	}
	for _, invalid := range []string{
		"", "[]", "{}", `{"keys":{}}`, `{"keys":["x"]}`, `{"keys":[` + string(secret) + `]}`,
		`{"keys":[{"kty":"oct","k":"AAAA"}]}`,
	} {
		if keys, err := jwt.ParseJWKS([]byte(invalid)); err == nil {
			t.Errorf("ParseJWKS(%s) = %v, want an error", invalid, keys)
		}
	}
}

// FuzzParse checks that a token is accepted only with the payload that was signed: the fuzzer has no key.
func FuzzParse(f *testing.F) {
	k := newKey(f, "1", jwt.ES256)
	valid, err := k.Sign(jwt.TypeJWT, map[string]string{"iss": "x"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(valid)
	f.Add("a.b.c")
	f.Add(strings.Repeat(".", 100))
	f.Fuzz(func(t *testing.T, token string) {
		jwt.UnverifiedIssuer(token)
		got, err := jwt.Parse(token, jwt.Algorithms, findIn(k.JWK()))
		if err != nil {
			return
		}
		if string(got.Payload) != `{"iss":"x"}` {
			t.Errorf("Parse(%q) has the payload %s, want the signed one", token, got.Payload)
		}
	})
}

// FuzzParseJWKS checks that no JWKS with a private key is accepted.
func FuzzParseJWKS(f *testing.F) {
	f.Add(jwks(ecKey))
	f.Add(jwks(`{"kty":"oct","k":"AA"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		keys, err := jwt.ParseJWKS(raw)
		for _, k := range keys {
			if err == nil && !k.IsPublic() {
				t.Errorf("ParseJWKS(%s) returned a private key, want an error", raw)
			}
		}
	})
}
