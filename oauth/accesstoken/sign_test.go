package accesstoken_test

import (
	"encoding/json"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/oauth/accesstoken"
	"gatehouse/oauth/jwt"
)

// BenchmarkSign compares Sign with go-jose, which also encodes the claims with encoding/json.
func BenchmarkSign(b *testing.B) {
	private, err := jwt.Generate(jwt.ES256)
	if err != nil {
		b.Fatal(err)
	}
	k, err := accesstoken.NewKey("a-kid", jwt.ES256, private)
	if err != nil {
		b.Fatal(err)
	}
	c := userClaims()
	b.Run("gatehouse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := k.Sign(accesstoken.Type, c); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("go-jose", func(b *testing.B) {
		signingKey := jose.SigningKey{Algorithm: jose.ES256, Key: jose.JSONWebKey{Key: private, KeyID: k.ID}}
		signer, err := jose.NewSigner(signingKey, (&jose.SignerOptions{}).WithType(accesstoken.Type))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportAllocs()
		for b.Loop() {
			payload, err := json.Marshal(c)
			if err != nil {
				b.Fatal(err)
			}
			jws, err := signer.Sign(payload)
			if err != nil {
				b.Fatal(err)
			}
			if _, err := jws.CompactSerialize(); err != nil {
				b.Fatal(err)
			}
		}
	})
}
