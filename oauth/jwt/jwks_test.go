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

// ecKey is the public key of RFC 7515, appendix A.3.1.
const ecKey = `{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",` +
	`"y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}`

// jwks returns a JWKS of the keys, which are JSON.
func jwks(keys ...string) []byte { return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`) }

func TestExpensiveKeysAreRefused(t *testing.T) {
	t.Parallel()
	common := big.NewInt(65537)
	overflowing := new(big.Int).Add(new(big.Int).Lsh(big.NewInt(1), 64), common)
	for name, x := range map[string]struct {
		key  string
		want int
	}{
		"2048 bits":                           {rsaKey("1", 2048, common), 1},
		"4096 bits":                           {rsaKey("1", 4096, common), 1},
		"exponent 3":                          {rsaKey("1", 2048, big.NewInt(3)), 1},
		"exponent with a leading zero":        {strings.Replace(rsaKey("1", 2048, common), `"AQAB"`, `"AAEAAQ"`, 1), 1},
		"exponent 2^17":                       {rsaKey("1", 2048, big.NewInt(1<<17)), 1},
		"exponent over 2^17":                  {rsaKey("1", 2048, big.NewInt(1<<17+1)), 0},
		"exponent 1":                          {rsaKey("1", 2048, big.NewInt(1)), 0},
		"exponent 2^31-1":                     {rsaKey("1", 2048, big.NewInt(1<<31-1)), 0},
		"an exponent that overflows to 65537": {rsaKey("1", 2048, overflowing), 0},
		"4097 bits":                           {rsaKey("1", 4097, common), 0},
		"16384 bits":                          {rsaKey("1", 16384, common), 0},
		"2047 bits":                           {rsaKey("1", 2047, common), 0},
	} {
		if keys, err := jwt.ParseJWKS(jwks(x.key)); err != nil || len(keys) != x.want {
			t.Errorf("ParseJWKS of an RSA key with %s = %d keys, %v, want %d", name, len(keys), err, x.want)
		}
	}
	many := make([]string, jwt.MaxKeys+1)
	for i := range many {
		many[i] = rsaKey(fmt.Sprint(i), 2048, common)
	}
	if keys, err := jwt.ParseJWKS(jwks(many[:jwt.MaxKeys]...)); err != nil || len(keys) != jwt.MaxKeys {
		t.Errorf("ParseJWKS of 16 keys = %d keys, %v, want all", len(keys), err)
	}
	const message = "has more than 16 keys"
	var refused jwt.JWKSError
	keys, err := jwt.ParseJWKS(jwks(many...))
	if !errors.As(err, &refused) || keys != nil || refused.Error() != message {
		t.Errorf("ParseJWKS of 17 keys = %d keys, %v, want a JWKSError: %s", len(keys), err, message)
	}
	for i := range many {
		many[i] = `{"kty":"new"}`
	}
	if keys, err := jwt.ParseJWKS(jwks(many...)); err == nil {
		t.Errorf("ParseJWKS of 17 unsupported keys = %d keys, want an error", len(keys))
	}
}

func TestCertificatesInKeysAreNotParsed(t *testing.T) {
	t.Parallel()
	members := `{"x5c":["` + base64.StdEncoding.EncodeToString([]byte("no certificate")) + `"],"x5t":7,`
	key := strings.Replace(rsaKey("1", 2048, big.NewInt(65537)), `{`, members, 1)
	if keys, err := jwt.ParseJWKS(jwks(key)); err != nil || len(keys) != 1 || len(keys[0].Certificates) != 0 {
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
			t.Fatalf("the key is a %T, want an RSA public key", other.Key)
		}
		others = append(others, other)
	}
	if err := parse(token, jwt.Algorithms, append(others[1:], k.JWK())...); err != nil {
		t.Errorf("Parse with 4 candidates: error %v, want none", err)
	}
	err = parse(token, jwt.Algorithms, append(others, k.JWK())...)
	if !errors.Is(err, jwt.ErrTooManyCandidates) || !errors.Is(err, jwt.ErrInvalid) {
		t.Errorf("Parse with 5 candidates: error %v, want ErrTooManyCandidates, which is an ErrInvalid", err)
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
