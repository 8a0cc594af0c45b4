package oauth_test

import (
	"flag"
	"os"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
)

var update = flag.Bool("update", false, "rewrite golden files")

const conformanceIntroduction = `# Conformance

<!-- Generated from the tables in oauth/*_test.go by "make golden"; do not edit. -->

Each row is a black-box test over HTTP, which ` + "`make test`" + ` runs on PostgreSQL and on SQLite. The first letter
of its number is the subject: P OAuth 2.0, C OpenID Connect, N consent, L logout, R registration, M registration
management, K client assertions, J request objects, D protection against abuse, A published vulnerabilities, G review
findings, U what users see, MC clients of today, PE users, GX authentication levels. Under each heading is the command
that runs one of them. Departures from a specification are in [divergences.md](divergences.md).
`

// conformance lists the tables of requirements in the order of the document.
var conformance = []struct {
	title string
	test  string // the name of the test that runs the table
	table []servertest.Requirement
}{
	{"Authorization endpoint", "TestAuthorizationEndpoint", authorizationEndpoint},
	{"Codes and PKCE", "TestCodes", codes},
	{"Token endpoint", "TestTokenEndpoint", tokenEndpoint},
	{"Refresh", "TestRefresh", refresh},
	{"Access tokens", "TestAccessTokens", accessTokens},
	{"Formats of access tokens", "TestTokenFormats", tokenFormats},
	{"Introspection", "TestIntrospection", introspection},
	{"Revocation", "TestRevocation", revocation},
	{"Metadata and keys", "TestMetadataAndKeys", metadataAndKeys},
	{"OpenID Connect", "TestOpenIDCore", openidCore},
	{"OpenID Connect: requests and users", "TestOpenIDRequests", openidRequests},
	{"Consent", "TestConsent", consents},
	{"Logout", "TestLogout", logout},
	{"Registration", "TestRegistration", registration},
	{"Registration management", "TestRegistrationManagement", management},
	{"Client assertions", "TestAssertions", assertions},
	{"Request objects", "TestRequestObjects", requestObjects},
	{"Current clients", "TestCurrentClients", currentClients},
	{"Groups", "TestGroups", groupRequirements},
	{"Claims of groups", "TestGroupClaims", groupClaims},
	{"Roles", "TestRoles", roleRequirements},
	{"Attributes of users", "TestAttributes", attributeRequirements},
	{"Step-up authentication", "TestStepUp", stepUp},
	{"Account pages", "TestAccountPages", accountPageRequirements},
	{"Client ID metadata documents", "TestClientDocuments", clientDocuments},
	{"Housekeeping", "TestHousekeeping", housekeeping},
	{"Protection against abuse", "TestAbuseProtection", abuseProtection},
	{"Published vulnerabilities", "TestAdvisories", advisories},
	{"Findings of reviews", "TestRobustness", robustness},
	{"Names and destinations that users see", "TestDisplayedNames", displayedNames},
}

// TestConformanceDocument checks that docs/conformance.md matches the tables of requirements; -update writes it.
func TestConformanceDocument(t *testing.T) {
	t.Parallel()
	want := conformanceIntroduction
	seen := map[string]bool{}
	for _, part := range conformance {
		want += servertest.Markdown(part.title, part.test, part.table)
		for _, r := range part.table {
			if seen[r.ID] || r.Spec == "" || r.Text == "" {
				t.Errorf("requirement %q is a duplicate, or has no source or description", r.ID)
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
		t.Errorf("%s does not match the tables; run `make golden` (%v)", file, err)
	}
}
