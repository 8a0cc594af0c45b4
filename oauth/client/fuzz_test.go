package client

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/oauth/protocol"
)

// FuzzBasic checks that credentials read from an Authorization header are read the same after they are encoded again.
func FuzzBasic(f *testing.F) {
	encoded := "Basic " + base64.StdEncoding.EncodeToString([]byte("a%3Ab:c%00+d"))
	for _, s := range []string{"Basic Z2MxOnNlY3JldA==", "basic  Og==", "Basic %%%", "Bearer x", encoded, ""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		id, secret, ok := parseBasic(header)
		if !ok {
			return
		}
		again := "Basic " + base64.StdEncoding.EncodeToString([]byte(url.QueryEscape(id)+":"+url.QueryEscape(secret)))
		if id2, secret2, ok := parseBasic(again); !ok || id2 != id || secret2 != secret {
			t.Errorf("parseBasic(%q) = %q, %q, want %q, %q", again, id2, secret2, id, secret)
		}
	})
}

// FuzzReadCredentials checks that no request authenticates by two methods, and that every refusal is a protocol error.
func FuzzReadCredentials(f *testing.F) {
	f.Add("Basic Z2MxOnNlY3JldA==", "client_id=gc1&client_secret=x")
	const assertionType = "urn%3Aietf%3Aparams%3Aoauth%3Aclient-assertion-type%3Ajwt-bearer"
	f.Add("", "client_assertion=a.b.c&client_assertion_type="+assertionType)
	f.Add("", "client_id=gc1")
	f.Fuzz(func(t *testing.T, header, body string) {
		form, err := url.ParseQuery(body)
		if err != nil {
			return
		}
		r := &http.Request{Header: http.Header{}}
		if header != "" {
			r.Header.Set("Authorization", header)
		}
		p, err := readCredentials(r, form)
		if err != nil {
			if e := (*protocol.Error)(nil); !errors.As(err, &e) || e.Status() < 400 || e.Status() > 401 {
				t.Errorf("readCredentials: error %v, want a protocol error with status 400 or 401", err)
			}
			return
		}
		hasAssertion := form.Has("client_assertion") || form.Has("client_assertion_type")
		methods := 0
		for _, sent := range []bool{header != "", form.Has("client_secret"), hasAssertion} {
			if sent {
				methods++
			}
		}
		if methods > 1 {
			t.Errorf("readCredentials accepted %s although %d methods were sent, want an error", p.method, methods)
		}
	})
}

// FuzzMetadata checks that valid metadata is the same after it is written and read again, and that invalid metadata is
// refused with a code.
func FuzzMetadata(f *testing.F) {
	for _, s := range []string{
		`{"redirect_uris":["https://a.example/cb"],"scope":"openid profile",` +
			`"grant_types":"authorization_code refresh_token"}`,
		`{"gatehouse_access_token_ttl":"15m","gatehouse_allowed_networks":["10.0.0.0/8","::1"]}`,
		`{"jwks":{"keys":[]}}`, `{"default_max_age":1e400}`, `{"redirect_uris":null}`, `7`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		m, err := ParseMetadata(raw)
		if err == nil {
			err = m.applyDefaultsAndValidate()
		}
		if err != nil {
			if e := (*protocol.Error)(nil); !errors.As(err, &e) || e.Status() != http.StatusBadRequest {
				t.Errorf("metadata %s: error %v, want a protocol error with status 400", raw, err)
			}
			return
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseMetadata(b)
		if err != nil {
			t.Fatalf("ParseMetadata of written metadata %s: %v", b, err)
		}
		if err := again.applyDefaultsAndValidate(); err != nil {
			t.Fatalf("written metadata %s is invalid: %v", b, err)
		}
		if c, err := json.Marshal(again); err != nil || !bytes.Equal(b, c) {
			t.Errorf("metadata written again = %s, %v, want %s", c, err, b)
		}
	})
}

// FuzzNetworks checks that normalized networks stay the same when they are normalized again.
func FuzzNetworks(f *testing.F) {
	for _, s := range []string{"10.0.0.0/8", "::ffff:1.2.3.4", "2001:db8::1", "fe80::1%eth0", "0/0"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		out, err := normalizeNetworks(List{s})
		if err != nil {
			return
		}
		if again, err := normalizeNetworks(out); err != nil || again[0] != out[0] || strings.Contains(out[0], "%") {
			t.Errorf("%q is normalized to %q and then to %q, %v, want no change and no zone", s, out, again, err)
		}
	})
}
