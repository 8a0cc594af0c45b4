package identity

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/storage"
)

// FuzzKey checks that normalizing a normalized name does not change it.
func FuzzKey(f *testing.F) {
	for _, s := range []string{"alice", "ALICE", "ａｌｉｃｅ", "a@Example.COM", "İ", "ǅ", "\u212b", " x ", ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, name string) {
		k, err := key(name)
		if err != nil {
			return
		}
		if again, err := key(k); err != nil || again != k {
			t.Errorf("key(%q) = %q, and key of that = %q, %v, want it unchanged", name, k, again, err)
		}
	})
}

// FuzzProfile checks that an accepted profile is accepted again without a change.
func FuzzProfile(f *testing.F) {
	f.Add("Alice", "https://a.example", "1990-02-30", "Europe/Berlin", "de-CH", "+491234")
	f.Add("\u202e", "javascript:x", "0000-12-31", "../etc", "xx-", "")
	f.Fuzz(func(t *testing.T, name, website, birthdate, zone, locale, phone string) {
		p := storage.Profile{Website: website, Birthdate: birthdate, Zoneinfo: zone, Locale: locale, PhoneNumber: phone}
		if checkProfile(name, &p) != nil {
			return
		}
		again := p
		if err := checkProfile(name, &again); err != nil || again != p {
			t.Errorf("checkProfile changes %+v to %+v, %v, want no change", p, again, err)
		}
		if strings.HasPrefix(strings.ToLower(strings.TrimSpace(p.Website)), "javascript:") {
			t.Errorf("checkProfile accepts the website %q", p.Website)
		}
	})
}

// FuzzDeviceCookie checks that an invented cookie identifies no user.
func FuzzDeviceCookie(f *testing.F) {
	f.Add(strings.Repeat("a", 43) + ".mark")
	f.Add("....")
	f.Fuzz(func(t *testing.T, value string) {
		p := &Users{}
		r := &http.Request{Header: http.Header{}}
		r.AddCookie(&http.Cookie{Name: "gatehouse_device", Value: value})
		d := p.Device(r)
		d.mac = func(parts ...string) string { return "the mac of " + strings.Join(parts, ".") }
		if d.hasSignedIn(storage.User{ID: "user", Epoch: 1}) {
			t.Errorf("the device cookie %q identifies a user", value)
		}
	})
}
