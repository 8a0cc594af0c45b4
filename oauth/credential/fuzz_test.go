package credential_test

import (
	"testing"

	"gatehouse/oauth/credential"
)

// FuzzValid checks that a valid credential has one kind and one environment, and that any change makes it invalid.
func FuzzValid(f *testing.F) {
	live := credential.Format{Env: "live"}
	for _, k := range []credential.Kind{credential.Code, credential.RefreshToken, credential.ClientSecret} {
		f.Add(live.New(k), uint8(20), uint8(1))
	}
	f.Add("gate_rt_live_", uint8(0), uint8(0))
	f.Fuzz(func(t *testing.T, s string, at, by uint8) {
		kinds := 0
		for _, k := range []credential.Kind{
			credential.Code, credential.RefreshToken, credential.ClientSecret, credential.RegistrationAccess,
			credential.InitialAccess,
		} {
			if live.Valid(k, s) {
				kinds++
			}
			if (credential.Format{Env: "test"}).Valid(k, s) && live.Valid(k, s) {
				t.Errorf("%q is valid in two environments, want at most one", s)
			}
		}
		if kinds > 1 {
			t.Errorf("%q is valid as %d kinds, want at most one", s, kinds)
		}
		if !live.Valid(credential.RefreshToken, s) || by == 0 {
			return
		}
		if name := live.GrantName(s); len(name) != 21 {
			t.Errorf("GrantName(%q) = %q, want 21 characters", s, name)
		}
		changed := []byte(s)
		changed[int(at)%len(s)] ^= by
		if live.Valid(credential.RefreshToken, string(changed)) {
			t.Errorf("Valid(%q) = true after a change of %q, want false", changed, s)
		}
	})
}
