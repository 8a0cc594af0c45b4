package accesstoken_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/google/go-cmp/cmp"

	"gatehouse/oauth/accesstoken"
)

func newKey(t testing.TB) *accesstoken.Key {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := accesstoken.NewKey("a-kid", private)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

var now = time.Unix(1_800_000_000, 0)

func person() *accesstoken.Claims {
	return &accesstoken.Claims{
		Issuer: "https://id.example", Subject: "süb \"quoted\" \\ \u2028", Audience: []string{"https://a.example", "https://b.example"}, ClientID: "client", Scope: "read write",
		JTI: "jti", IssuedAt: now.Unix(), ExpiresAt: now.Unix() + 60, AuthTime: now.Unix() - 5, ACR: "1", AMR: []string{"pwd"}, GrantID: "grant",
	}
}

func TestWhatIsSignedIsReadBackByUsAndByGoJose(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	machine := &accesstoken.Claims{Issuer: "https://id.example", Subject: "m", Audience: []string{"https://id.example"}, ClientID: "m", JTI: "x", IssuedAt: now.Unix(), ExpiresAt: now.Unix() + 60, ClientEpoch: 7}
	for _, want := range []*accesstoken.Claims{person(), machine} {
		token, err := k.Sign(want)
		if err != nil {
			t.Fatal(err)
		}
		got, err := accesstoken.Verify(token, "https://id.example", func(string) *accesstoken.Key { return k }, now)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		jws, err := jose.ParseSignedCompact(token, []jose.SignatureAlgorithm{jose.ES256})
		if err != nil {
			t.Fatal(err)
		}
		payload, err := jws.Verify(k.JWK())
		if err != nil {
			t.Fatal(err)
		}
		var claims map[string]any
		if err := json.Unmarshal(payload, &claims); err != nil || claims["sub"] != want.Subject {
			t.Errorf("%v %s", err, payload)
		}
	}
}

func TestVerifyRefuses(t *testing.T) {
	t.Parallel()
	k := newKey(t)
	verify := func(token, issuer string, at time.Time) error {
		_, err := accesstoken.Verify(token, issuer, func(kid string) *accesstoken.Key {
			if kid == "a-kid" {
				return k
			}
			return nil
		}, at)
		return err
	}
	good, err := k.Sign(person())
	if err != nil {
		t.Fatal(err)
	}
	if err := verify(good, "https://id.example", now); err != nil {
		t.Fatal(err)
	}
	future := person()
	future.IssuedAt += 61 // one second more than the leeway
	early, err := k.Sign(future)
	if err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"expired": verify(good, "https://id.example", now.Add(time.Minute)), "other issuer": verify(good, "https://other.example", now),
		"from the future": verify(early, "https://id.example", now), "too large": verify(good+strings.Repeat("A", accesstoken.MaxSize), "https://id.example", now),
		"empty": verify("", "https://id.example", now), "a line break": verify(good+"\n", "https://id.example", now),
		"another last character": verify(good[:len(good)-1]+string(good[len(good)-1]+1), "https://id.example", now), "another key": func() error {
			other, _ := newKey(t).Sign(person())
			return verify(other, "https://id.example", now)
		}(),
	} {
		if !errors.Is(err, accesstoken.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := k.Sign(&accesstoken.Claims{Issuer: "i", Subject: "s", ClientID: "c", JTI: "j"}); err == nil {
		t.Error("a token without aud was signed")
	}
}

// FuzzVerify: no string but the one that was signed verifies.
func FuzzVerify(f *testing.F) {
	k := newKey(f)
	good, err := k.Sign(person())
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{good, good[:len(good)-1], good + "=", "..", strings.Replace(good, ".", "..", 1), "{}"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, token string) {
		c, err := accesstoken.Verify(token, "https://id.example", func(string) *accesstoken.Key { return k }, now)
		if err == nil && token != good {
			t.Errorf("%q verifies as %v", token, c)
		}
	})
}
