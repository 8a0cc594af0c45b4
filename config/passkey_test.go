package config_test

import (
	"strings"
	"testing"
)

// TestInvalidPasskeySettingsAreRefused covers the settings of PE7 and PE9: browsers read five origins, of which one is
// the issuer's, and only of https.
func TestInvalidPasskeySettingsAreRefused(t *testing.T) {
	t.Parallel()
	const four = "https://a.example, https://b.example,https://c.example,https://d.example:8443"
	for name, values := range map[string]map[string]string{
		"ORIGINS": {
			four: "", four + ",https://e.example": "5 origins are more than 4",
			"http://a.example": "is not an origin", "https://a.example/": "is not an origin", "a.example": "is not an origin",
			"https://A.example": "is not an origin", "https://user@a.example": "is not an origin",
			"https://a.example?x": "is not an origin",
		},
		"RP_ID": {
			"example.com": "", "id.example.com": "", "example.org": "GATEHOUSE_PASSKEY_RP_ID", "com": "GATEHOUSE_PASSKEY_RP_ID",
			"Example.com": "is not a domain", "https://example.com": "is not a domain", "ample.com": "GATEHOUSE_PASSKEY_RP_ID",
		},
		"AAGUIDS": {
			"EE882879-721c-4913-9775-3dfcce97072a": "", "ee882879": "is not an AAGUID",
			"ee882879-721c-4913-9775-3dfcce97072a,x": "is not an AAGUID",
		},
		"COUNTER": {"refuse": "", "ignore": "write log or refuse"},
	} {
		for value, want := range values {
			setting := "GATEHOUSE_PASSKEY_" + name
			c, _, err := load(map[string]string{
				"GATEHOUSE_ISSUER": "https://id.example.com", "GATEHOUSE_TRUSTED_PROXIES": "127.0.0.1", setting: value,
			}, nil)
			if want == "" && err == nil && len(c.Passkeys.Origins) != strings.Count(value, "https://") {
				t.Errorf("%s=%s has the origins %q", setting, value, c.Passkeys.Origins)
			}
			if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
				t.Errorf("%s=%s: %v, want %q", setting, value, err, want)
			}
		}
	}
}
