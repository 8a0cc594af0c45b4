// Package randx stands in for the part of github.com/ory/x/randx that fosite calls
// (docs/decisions/0001-fosite-without-ory-x.md).
package randx

import (
	"crypto/rand"
	"math/big"
)

// AlphaUpper is the alphabet of fosite's user codes.
var AlphaUpper = []rune("ABCDEFGHIJKLMNOPQRSTUVWXYZ")

// RuneSequence returns n uniformly distributed runes of alphabet, or the error of the random source.
func RuneSequence(n int, alphabet []rune) ([]rune, error) {
	out := make([]rune, n)
	size := big.NewInt(int64(len(alphabet)))
	for i := range out {
		k, err := rand.Int(rand.Reader, size)
		if err != nil {
			return nil, err
		}
		out[i] = alphabet[k.Int64()]
	}
	return out, nil
}
