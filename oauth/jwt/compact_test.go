package jwt_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/oauth/jwt"
)

// variants returns other strings that a lenient decoder decodes to the same token.
func variants(token string) map[string]string {
	out := map[string]string{
		"a line break at the end":    token + "\n",
		"a space at the start":       " " + token,
		"a line break in the middle": token[:20] + "\r\n" + token[20:],
		"a tab in the signature":     token[:len(token)-3] + "\t" + token[len(token)-3:],
		"padding":                    token + "==",
		"a fourth part":              token + ".",
		"a no-break space":           token + "\u00a0",
	}
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	parts := strings.Split(token, ".")
	for i, part := range parts {
		if len(part)%4 == 0 {
			continue
		}
		for _, c := range alphabet {
			changed := part[:len(part)-1] + string(c)
			a, err := base64.RawURLEncoding.DecodeString(changed)
			b, _ := base64.RawURLEncoding.DecodeString(part)
			if changed == part || err != nil || string(a) != string(b) {
				continue
			}
			other := append([]string{}, parts...)
			other[i] = changed
			out["last character of part "+string(rune('0'+i))+" "+string(c)] = strings.Join(other, ".")
		}
	}
	return out
}

func TestTokenHasOneEncoding(t *testing.T) {
	t.Parallel()
	for _, alg := range jwt.Algorithms {
		k := newKey(t, "kid1", alg)
		token, err := k.Sign(jwt.TypeJWT, map[string]string{"iss": "xy"})
		if err != nil {
			t.Fatal(err)
		}
		others := variants(token)
		if len(others) < 10 {
			t.Fatalf("%s: only %d variants to test, want at least 10", alg, len(others))
		}
		for name, other := range others {
			if err := parse(other, jwt.Algorithms, k.JWK()); !errors.Is(err, jwt.ErrInvalid) {
				t.Errorf("Parse of an %s token with %s: error %v, want ErrInvalid", alg, name, err)
			}
			if got := jwt.UnverifiedIssuer(other); got != "" {
				t.Errorf("UnverifiedIssuer of an %s token with %s = %q, want none", alg, name, got)
			}
		}
		if err := parse(token, jwt.Algorithms, k.JWK()); err != nil {
			t.Errorf("Parse of an %s token: error %v, want none", alg, err)
		}
	}
}

func TestExtensionHeaderIsRefused(t *testing.T) {
	t.Parallel()
	private, err := jwt.Generate(jwt.EdDSA)
	if err != nil {
		t.Fatal(err)
	}
	key := jose.JSONWebKey{Key: private, KeyID: "1"}
	for name, more := range map[string]map[jose.HeaderKey]any{
		"b64":        {"b64": true},
		"crit":       {"crit": []string{"b64"}, "b64": true},
		"typ number": {"typ": 7},
		"typ empty":  {"typ": ""},
		"typ list":   {"typ": []string{"JWT"}},
		"large":      {"x": strings.Repeat("x", 8<<10)},
	} {
		signingKey := jose.SigningKey{Algorithm: jose.EdDSA, Key: key}
		signer, err := jose.NewSigner(signingKey, &jose.SignerOptions{ExtraHeaders: more})
		if err != nil {
			t.Fatal(err)
		}
		jws, err := signer.Sign([]byte(`{"iss":"x"}`))
		if err != nil {
			t.Fatal(err)
		}
		token, err := jws.CompactSerialize()
		if err != nil {
			t.Fatal(err)
		}
		if err := parse(token, jwt.Algorithms, key.Public()); !errors.Is(err, jwt.ErrInvalid) {
			t.Errorf("Parse of a token with the header %s: error %v, want ErrInvalid", name, err)
		}
	}
}

func TestKeyHasOneEncoding(t *testing.T) {
	t.Parallel()
	if keys, err := jwt.ParseJWKS(jwks(ecKey)); err != nil || len(keys) != 1 {
		t.Fatalf("ParseJWKS of a canonical key = %v, %v, want 1 key", keys, err)
	}
	for _, change := range []string{`vRVEV"`, `vRVEU="`, `vRVEU\n"`} {
		changed := strings.Replace(ecKey, `vRVEU"`, change, 1)
		if !json.Valid([]byte(changed)) {
			t.Fatalf("%s is not JSON, so the test proves nothing", changed)
		}
		if keys, _ := jwt.ParseJWKS(jwks(changed)); len(keys) != 0 {
			t.Errorf("ParseJWKS of %s = %v, want no key", changed, keys)
		}
	}
}
