package main

import (
	"testing"

	"gatehouse/storage"
)

func TestEveryProfileClaimHasFlag(t *testing.T) {
	t.Parallel()
	flags := (&program{}).userCreate().Flags()
	for _, claim := range storage.ProfileClaims() {
		if flags.Lookup(flagOfClaim(claim)) == nil {
			t.Errorf("user create has no flag for the claim %s", claim)
		}
	}
}
