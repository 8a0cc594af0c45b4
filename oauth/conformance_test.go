package oauth_test

import (
	"flag"
	"os"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
)

var update = flag.Bool("update", false, "rewrite golden files")

// TestConformanceDocument keeps docs/conformance.md in step with the tables of requirements.
func TestConformanceDocument(t *testing.T) {
	t.Parallel()
	want := "# Conformance\n\n<!-- Generated from the tables in oauth/*_test.go by `make golden`; do not edit. -->\n\n" +
		"Each line is a black-box test over HTTP, run on PostgreSQL and on SQLite by `make test`. Departures are in\n[divergences.md](divergences.md).\n"
	seen := map[string]bool{}
	for _, part := range []struct {
		title string
		table []servertest.Requirement
	}{
		{"Authorization endpoint", authorizationEndpoint}, {"Codes and PKCE", codes}, {"Token endpoint", tokenEndpoint},
		{"Refresh", refresh}, {"Access tokens", accessTokens}, {"Introspection", introspection}, {"Revocation", revocation},
		{"Metadata and keys", metadataAndKeys}, {"OpenID Connect", openidCore}, {"OpenID Connect: requests and people", openidRequests}, {"Consent", consents}, {"Logout", logout}, {"Registration", registration}, {"Registration management", management},
		{"Client assertions", assertions}, {"Request objects", requestObjects}, {"Housekeeping", housekeeping}, {"Defence", defence}, {"Published flaws, never repeated", advisories}, {"Found in review, never again", robustness}, {"Names and destinations that users see", deception},
	} {
		want += servertest.Markdown(part.title, part.table)
		for _, r := range part.table {
			if seen[r.ID] || r.Spec == "" || r.Text == "" {
				t.Errorf("requirement %q is there twice, or says nothing", r.ID)
			}
			seen[r.ID] = true
		}
	}
	const file = "../docs/conformance.md"
	if *update {
		if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what the tables say; run `make golden` (%v)", file, err)
	}
}
