package passkey_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse/identity/passkey"
	"gatehouse/identity/passkey/passkeytest"
)

// TestMetadataIsVerified reads metadata that its root signed, and refuses what differs in one thing (PE9).
func TestMetadataIsVerified(t *testing.T) {
	t.Parallel()
	now := func() time.Time { return time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC) }
	vendor := passkeytest.NewVendor(t)
	model := passkeytest.Model{AAGUID: [16]byte{1}, Status: "FIDO_CERTIFIED"}
	file := vendor.Metadata("2026-12-01", model)
	m, err := passkey.ParseMetadata(append(file, '\n'), vendor.Root(), now)
	if err != nil || m.Models() != 1 || m.CheckExpiry(now()) != nil {
		t.Fatalf("valid metadata: %v, want one model", err)
	}
	if err := m.CheckExpiry(now().Add(12 * time.Hour)); !errors.Is(err, passkey.ErrMetadataExpired) {
		t.Errorf("on the day of the next update: %v, want ErrMetadataExpired", err)
	}
	parts := bytes.Split(file, []byte("."))
	header, err := base64.RawURLEncoding.DecodeString(string(parts[0]))
	if err != nil {
		t.Fatal(err)
	}
	change := func(part int, with []byte) []byte {
		changed := bytes.Split(file, []byte("."))
		changed[part] = []byte(base64.RawURLEncoding.EncodeToString(with))
		return bytes.Join(changed, []byte("."))
	}
	another := passkeytest.NewVendor(t).Root()
	late := func() time.Time { return time.Date(2101, 1, 1, 0, 0, 0, 0, time.UTC) }
	bare := []byte(`{"alg":"ES256"}`)
	none := []byte(`{"alg":"none"` + strings.TrimPrefix(string(header), `{"alg":"ES256"`))
	for why, try := range map[string]struct {
		file, root []byte
		now        func() time.Time
		want       string
	}{
		"an altered payload":            {change(1, []byte(`{"entries":[]}`)), vendor.Root(), now, "signature is incorrect"},
		"no signature":                  {change(2, nil), vendor.Root(), now, "signature is incorrect"},
		"the algorithm none":            {change(0, none), vendor.Root(), now, "not a JWS"},
		"no certificate":                {change(0, bare), vendor.Root(), now, "certificate of its signer"},
		"another root":                  {file, another, now, "certificate of its signer"},
		"the root of the FIDO Alliance": {file, nil, now, "certificate of its signer"},
		"an expired certificate":        {file, vendor.Root(), late, "certificate of its signer"},
		"a root that is no PEM":         {file, []byte("x"), now, "not a certificate"},
		"no models":                     {vendor.Metadata("2026-12-01"), vendor.Root(), now, "no models"},
		"an invalid date":               {vendor.Metadata("soon", model), vendor.Root(), now, "nextUpdate"},
		"a web page":                    {[]byte("<!DOCTYPE html>"), vendor.Root(), now, "not a JWS"},
		"an empty file":                 {nil, vendor.Root(), now, "not a JWS"},
		"a payload that is no JWS":      {parts[1], vendor.Root(), now, "not a JWS"},
	} {
		_, err := passkey.ParseMetadata(try.file, try.root, try.now)
		if !errors.Is(err, passkey.ErrMetadataInvalid) || !strings.Contains(err.Error(), try.want) {
			t.Errorf("%s: %v, want ErrMetadataInvalid with %q", why, err, try.want)
		}
	}
}
