package main

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/storage"
)

func TestEveryProfileClaimHasFlag(t *testing.T) {
	t.Parallel()
	var got []string
	for _, m := range profileMembers {
		got = append(got, claimOfFlag(m.flag))
	}
	slices.Sort(got)
	if diff := cmp.Diff(storage.ProfileClaims(), got); diff != "" {
		t.Errorf("claims of the flags (-want +got):\n%s", diff)
	}
}
