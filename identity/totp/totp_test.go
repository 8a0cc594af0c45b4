package totp

import (
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"
)

// rfcKey returns the key of the test vectors: the digits 1 to 0, repeated to the length of the hash.
func rfcKey(algorithm string, size int) Key {
	secret := []byte(strings.Repeat("1234567890", 7)[:size])
	return Key{Secret: secret, Algorithm: algorithm, Digits: 8, Period: 30 * time.Second}
}

// TestCodesMatchPublishedVectors computes the test vectors of RFC 6238, appendix B.
func TestCodesMatchPublishedVectors(t *testing.T) {
	t.Parallel()
	keys := []Key{rfcKey("SHA1", 20), rfcKey("SHA256", 32), rfcKey("SHA512", 64)}
	for _, v := range []struct {
		at    int64
		codes []string
	}{
		{59, []string{"94287082", "46119246", "90693936"}},
		{1111111109, []string{"07081804", "68084774", "25091201"}},
		{1111111111, []string{"14050471", "67062674", "99943326"}},
		{1234567890, []string{"89005924", "91819424", "93441116"}},
		{2000000000, []string{"69279037", "90698825", "38618901"}},
		{20000000000, []string{"65353130", "77737706", "47863826"}},
	} {
		for i, k := range keys {
			if got := k.Code(k.Step(time.Unix(v.at, 0))); got != v.codes[i] {
				t.Errorf("%s at %d: code %s, want %s", k.Algorithm, v.at, got, v.codes[i])
			}
		}
	}
}

// TestStepsBeforeAndAfter accepts codes of one step before and after, and no others (PE12).
func TestStepsBeforeAndAfter(t *testing.T) {
	t.Parallel()
	k, now := New(), time.Unix(1_800_000_010, 0)
	current := k.Step(now)
	for d := int64(-3); d <= 3; d++ {
		step, ok := k.Verify(k.Code(current+d), now)
		if want := d >= -1 && d <= 1; ok != want || ok && step != current+d {
			t.Errorf("the code of step %+d: Verify = %d, %t, want %t", d, step-current, ok, want)
		}
	}
	code := k.Code(current)
	for code, want := range map[string]bool{
		code: true, code[:3] + " " + code[3:]: true, "": false, code[:5]: false, code + "0": false, "abcdef": false,
	} {
		if _, ok := k.Verify(code, now); ok != want {
			t.Errorf("Verify(%q) = %t, want %t", code, ok, want)
		}
	}
	if last := k.ExpiresAt(current); last.Before(now) {
		t.Errorf("the current step expires at %s, want later than %s", last, now)
	}
	if _, ok := k.Verify(code, k.ExpiresAt(current)); ok {
		t.Error("a code is valid when its step has expired")
	}
	if _, ok := k.Verify(code, k.ExpiresAt(current).Add(-time.Second)); !ok {
		t.Error("a code is invalid before its step has expired")
	}
}

// TestURI has the secret of 160 bits, and the names of the issuer and account (PE11).
func TestURI(t *testing.T) {
	t.Parallel()
	k := New()
	if len(k.Secret) != 20 || k.Check() != nil {
		t.Errorf("a new key has %d bytes, %v, want 20", len(k.Secret), k.Check())
	}
	uri, err := url.Parse(k.URI("Example: Inc.", "müller+1@example.com"))
	if err != nil || uri.Scheme != "otpauth" || uri.Host != "totp" || uri.Path != "/Example Inc.:müller+1@example.com" {
		t.Errorf("URI = %v, %v, want the issuer and the account", uri, err)
	}
	q := uri.Query()
	if q.Get("secret") != strings.ReplaceAll(k.Text(), " ", "") || len(q.Get("secret")) != 32 ||
		q.Get("issuer") != "Example Inc." || q.Get("algorithm") != "SHA1" || q.Get("digits") != "6" ||
		q.Get("period") != "30" || strings.Contains(uri.RawQuery, "+") {
		t.Errorf("the parameters are %v, want the secret and the defaults", q)
	}
	qr, err := NewQR(uri.String())
	if err != nil || qr.Size < 21+8 || !regexp.MustCompile(`^(M\d+ \d+h\d+v1h-\d+z)+$`).MatchString(qr.Path) {
		t.Errorf("NewQR = %+v, %v, want a path", qr, err)
	}
	if _, err := NewQR(strings.Repeat("x", 5000)); err == nil {
		t.Error("NewQR of a long URI = nil, want an error")
	}
}

// FuzzVerify enters codes at random times: a code is accepted only if it is that of its step, which is near.
func FuzzVerify(f *testing.F) {
	k := rfcKey("SHA1", 20)
	f.Add("94287082", int64(59))
	f.Fuzz(func(t *testing.T, code string, at int64) {
		at &= 1<<40 - 1
		step, ok := k.Verify(code, time.Unix(at, 0))
		if ok && (k.Code(step) != strings.ReplaceAll(code, " ", "") || step < k.Step(time.Unix(at, 0))-1 ||
			step > k.Step(time.Unix(at, 0))+1) {
			t.Errorf("Verify(%q, %d) = %d, %t", code, at, step, ok)
		}
	})
}
