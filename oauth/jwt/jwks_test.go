package jwt_test

import (
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/oauth/jwt"
)

// rsaKey returns a JWK with a modulus of that many bits. It is not a real key and cannot verify.
func rsaKey(id string, bits int, exponent *big.Int) string {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	n.SetBit(n, 0, 1)
	enc := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"kty":"RSA","kid":%q,"n":%q,"e":%q}`, id, enc(n.Bytes()), enc(exponent.Bytes()))
}

func set(keys ...string) []byte { return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`) }

func TestExpensiveKeysAreRefused(t *testing.T) {
	t.Parallel()
	common := big.NewInt(65537)
	for name, x := range map[string]struct {
		key string
		ok  bool
	}{
		"2048 bits": {rsaKey("1", 2048, common), true}, "4096 bits": {rsaKey("1", 4096, common), true},
		"exponent 3":                          {rsaKey("1", 2048, big.NewInt(3)), true},
		"exponent with a leading zero":        {strings.Replace(rsaKey("1", 2048, common), `"AQAB"`, `"AAEAAQ"`, 1), true},
		"exponent 2^17":                       {rsaKey("1", 2048, big.NewInt(1<<17)), true},
		"exponent over 2^17":                  {rsaKey("1", 2048, big.NewInt(1<<17+1)), false},
		"exponent 1":                          {rsaKey("1", 2048, big.NewInt(1)), false},
		"exponent 2^31-1":                     {rsaKey("1", 2048, big.NewInt(1<<31-1)), false},
		"an exponent that overflows to 65537": {rsaKey("1", 2048, new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 64), common)), false},
		"4097 bits":                           {rsaKey("1", 4097, common), false},
		"16384 bits":                          {rsaKey("1", 16384, common), false}, "2047 bits": {rsaKey("1", 2047, common), false},
	} {
		keys, err := jwt.ParseJWKS(set(x.key))
		if err != nil || (len(keys) == 1) != x.ok {
			t.Errorf("ParseJWKS of an RSA key with %s = %d keys, %v, want it supported: %t", name, len(keys), err, x.ok)
		}
	}
	many := make([]string, jwt.MaxKeys+1)
	for i := range many {
		many[i] = rsaKey(fmt.Sprint(i), 2048, common)
	}
	if keys, err := jwt.ParseJWKS(set(many[:jwt.MaxKeys]...)); err != nil || len(keys) != jwt.MaxKeys {
		t.Errorf("ParseJWKS = %d keys, %v", len(keys), err)
	}
	var refused jwt.JWKSError
	if keys, err := jwt.ParseJWKS(set(many...)); !errors.As(err, &refused) || keys != nil ||
		refused.Error() != "has more than 16 keys" {
		t.Errorf("ParseJWKS = %d keys, %v", len(keys), err)
	}
	for i := range many {
		many[i] = `{"kty":"new"}`
	}
	if _, err := jwt.ParseJWKS(set(many...)); err == nil {
		t.Error("ParseJWKS of 17 unsupported keys returned no error, want one")
	}
}

func TestCertificatesInKeysAreNotParsed(t *testing.T) {
	t.Parallel()
	key := strings.Replace(
		rsaKey("1", 2048, big.NewInt(65537)),
		`{`,
		`{"x5c":["`+base64.StdEncoding.EncodeToString([]byte("no certificate"))+`"],"x5t":7,`,
		1,
	)
	if keys, err := jwt.ParseJWKS(set(key)); err != nil || len(keys) != 1 || len(keys[0].Certificates) != 0 {
		t.Errorf("ParseJWKS of a key with certificate members = %v, %v, want the key without a certificate", keys, err)
	}
}

func TestCandidateKeysAreLimited(t *testing.T) {
	t.Parallel()
	k := newKey(t, "", jwt.RS256)
	named := newKey(t, "5", jwt.RS256)
	token, err := k.Sign(jwt.TypeJWT, map[string]string{"iss": "x"})
	if err != nil {
		t.Fatal(err)
	}
	withID, err := named.Sign(jwt.TypeJWT, map[string]string{"iss": "x"})
	if err != nil {
		t.Fatal(err)
	}
	var others []jose.JSONWebKey
	for i := range jwt.MaxCandidates {
		var other jose.JSONWebKey
		if err := json.Unmarshal([]byte(rsaKey(fmt.Sprint(i), 2048, big.NewInt(65537))), &other); err != nil {
			t.Fatal(err)
		}
		if _, ok := other.Key.(*rsa.PublicKey); !ok {
			t.Fatalf("%T", other.Key)
		}
		others = append(others, other)
	}
	if err := parse(token, jwt.Algorithms, append(others[1:], k.JWK())...); err != nil {
		t.Errorf("Parse with 4 candidates: error %v, want none", err)
	}
	if err := parse(token, jwt.Algorithms, append(others, k.JWK())...); !errors.Is(err, jwt.ErrTooManyCandidates) ||
		!errors.Is(err, jwt.ErrInvalid) {
		t.Errorf("Parse with 5 candidates: error %v, want ErrTooManyCandidates", err)
	}
	if err := parse(withID, jwt.Algorithms, append(others, named.JWK())...); err != nil {
		t.Errorf("Parse with 5 keys, one with the kid: error %v, want none", err)
	}
	same := make([]jose.JSONWebKey, 0, len(others)+1)
	for _, other := range others {
		other.KeyID = "5"
		same = append(same, other)
	}
	if err := parse(withID, jwt.Algorithms, append(same, named.JWK())...); !errors.Is(err, jwt.ErrTooManyCandidates) {
		t.Errorf("Parse with 5 keys of one kid: error %v, want ErrTooManyCandidates", err)
	}
}
