package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gatehouse/oauth/granttype"
)

// A metadataFlag is a flag for a member of the client metadata.
type metadataFlag struct {
	flag, member, usage string
	kind                flagKind
}

type flagKind int

const (
	textFlag  flagKind = iota
	listFlag           // repeated for several values
	wordsFlag          // repeated, or with commas, for several values
	boolFlag
	lifetimeFlag // a duration, which the server parses
)

var metadataFlags = []metadataFlag{
	{"name", "client_name", "the name that users see", textFlag},
	{"uri", "client_uri", "the client's home page", textFlag},
	{"owner", "gatehouse_owner", "who is responsible for the client; users see it", textFlag},
	{"redirect-uri", "redirect_uris", "where authorization responses may be sent (repeat for several)", listFlag},
	{"grant-type", "grant_types", strings.Join(granttype.All(), ", ") + " (repeat for several)", wordsFlag},
	{"auth-method", "token_endpoint_auth_method",
		"client_secret_basic, client_secret_post, private_key_jwt or none (a public client)", textFlag},
	{"jwks-uri", "jwks_uri", "URL of the client's public keys", textFlag},
	{"logo-uri", "logo_uri", "its logo: PNG, JPEG, GIF or WebP", textFlag},
	{"post-logout-redirect-uri", "post_logout_redirect_uris", "where a sign-out may lead (repeat for several)", listFlag},
	{"backchannel-logout-uri", "backchannel_logout_uri", "where logout tokens are sent when a session ends", textFlag},
	{"initiate-login-uri", "initiate_login_uri", "where a sign-in from the account page begins", textFlag},
	{"id-token-alg", "id_token_signed_response_alg", "RS256 (default), PS256, ES256 or EdDSA", textFlag},
	{"subject-type", "subject_type", "public (default) or pairwise: the kind of sub that it gets", textFlag},
	{"require-signed-request-object", "require_signed_request_object",
		"refuse its authorization requests unless they are signed request objects (RFC 9101)", boolFlag},
	{"token-endpoint-audience", "gatehouse_token_endpoint_audience",
		"its assertions may have the token endpoint as aud instead of the issuer", boolFlag},
	{"id-token-claims", "gatehouse_id_token_claims",
		"also put the claims of its scopes into ID tokens, for libraries that do not read userinfo", boolFlag},
	{"scope", "scope", "scopes the client may request, separated by spaces", textFlag},
	{"default-scope", "gatehouse_default_scopes",
		"scopes when it requests none (default: all except offline_access)", wordsFlag},
	{"optional-scope", "gatehouse_optional_scopes", "scopes that a user may deselect", wordsFlag},
	{"optional-scopes-selected", "gatehouse_optional_scopes_selected",
		"they are selected initially (default true; false for clients that you did not register)", boolFlag},
	{"allowed-network", "gatehouse_allowed_networks",
		"CIDR or address it may authenticate from (repeat for several; they replace the earlier ones; any: no restriction)",
		wordsFlag},
	{"claim-group", "gatehouse_claim_groups",
		"groups that it gets, of those of a user; team-* is every group that begins with team- (repeat for several; " +
			"any: all of them)", wordsFlag},
	{"groups-claim-name", "gatehouse_groups_claim_name", "the name of the claim of groups (default groups)", textFlag},
	{"groups-prefix", "gatehouse_groups_prefix", "what the names of groups begin with in the claim, like oidc:", textFlag},
	{"required-group", "gatehouse_required_groups",
		"only users in one of these groups have access (repeat for several; any: no restriction)", wordsFlag},
	{"required-acr", "gatehouse_required_acr",
		"users must sign in with a second factor (mfa; printed as its acr, 2) or a passkey (phr); none: no restriction",
		textFlag},
	{"audience", "gatehouse_audience", "aud of its tokens when no resource applies", listFlag},
	{"default-resource", "gatehouse_default_resource", "resource of requests that name none", textFlag},
	{"resource", "gatehouse_resources", "resources it may request (default: those of its scopes)", listFlag},
	{"contact", "contacts", "email address of a responsible contact", wordsFlag},
	{"policy-uri", "policy_uri", "its privacy policy", textFlag},
	{"tos-uri", "tos_uri", "its terms of service", textFlag},
	{"require-pkce", "gatehouse_require_pkce", "PKCE is required (default true)", boolFlag},
	{"vouch", "gatehouse_vouched",
		"you have checked a client that you did not register; users are no longer warned", boolFlag},
	{"skip-consent", "gatehouse_skip_consent", "skip the consent page (for your own apps)", boolFlag},
	{"refresh-rotation", "gatehouse_refresh_rotation", "refresh tokens rotate (default true)", boolFlag},
	{"access-ttl", "gatehouse_access_token_ttl", "lifetime of its access tokens, like 5m", lifetimeFlag},
	{"refresh-idle", "gatehouse_refresh_idle_ttl", "how long its refresh tokens may be unused, like 30d", lifetimeFlag},
	{"refresh-max", "gatehouse_refresh_max_ttl", "maximum lifetime of its grants, like 90d", lifetimeFlag},
	{"refresh-grace", "gatehouse_refresh_grace",
		"how long a refresh whose response was lost can be retried, 10m at most, 0s to turn it off", lifetimeFlag},
}

// metadataChoices are the values of flags that shells complete.
var metadataChoices = map[string][]string{
	"auth-method":  {"client_secret_basic", "client_secret_post", "private_key_jwt", "none"},
	"id-token-alg": {"RS256", "PS256", "ES256", "EdDSA"},
	"subject-type": {"public", "pairwise"},
	"grant-type":   granttype.All(),
	"required-acr": {"none", "mfa", "phr"},
}

// idURLFlag is a flag of `client create` with which no metadata is needed.
const idURLFlag = "id-url"

// addMetadataFlags adds --metadata and a flag for each member of metadataFlags. The function that it returns combines
// them into one JSON object.
func (p *program) addMetadataFlags(cmd *cobra.Command) func() ([]byte, error) {
	file := cmd.Flags().String("metadata", "", "RFC 7591 client metadata as JSON: a file, or - for standard input")
	for _, f := range metadataFlags {
		switch f.kind {
		case listFlag:
			cmd.Flags().StringArray(f.flag, nil, f.usage)
		case wordsFlag:
			cmd.Flags().StringSlice(f.flag, nil, f.usage)
		case boolFlag:
			cmd.Flags().Bool(f.flag, false, f.usage)
		default:
			cmd.Flags().String(f.flag, "", f.usage)
		}
	}
	for flag, values := range metadataChoices {
		complete := cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)
		_ = cmd.RegisterFlagCompletionFunc(flag, complete) // it fails only without the flag
	}
	return func() ([]byte, error) {
		members, err := p.readMetadata(*file)
		if err != nil {
			return nil, err
		}
		for _, f := range metadataFlags {
			if cmd.Flags().Changed(f.flag) {
				members[f.member] = flagValue(cmd.Flags(), f)
			}
		}
		if err := checkRestrictions(members); err != nil {
			return nil, err
		}
		if len(members) == 0 && !cmd.Flags().Changed(idURLFlag) {
			return nil, usageError{fmt.Errorf("no client metadata given; pass flags or --metadata; see `%s --help`",
				cmd.CommandPath())}
		}
		return json.Marshal(members)
	}
}

// readMetadata reads the members of a file, none when there is no file name.
func (p *program) readMetadata(file string) (map[string]any, error) {
	members := map[string]any{}
	if file == "" {
		return members, nil
	}
	var b []byte
	var err error
	if file == "-" {
		b, err = io.ReadAll(io.LimitReader(p.stdin, 1<<20))
	} else {
		b, err = os.ReadFile(file)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot read the metadata: %w", err)
	}
	if err := json.Unmarshal(b, &members); err != nil {
		return nil, fmt.Errorf("the metadata is not a JSON object: %w", err)
	}
	return members, nil
}

// checkRestrictions replaces the value any of a list that restricts a client by null and refuses an empty one, because
// an unset shell variable must not remove the restriction.
func checkRestrictions(members map[string]any) error {
	for _, f := range []struct{ flag, member, item string }{
		{"allowed-network", "gatehouse_allowed_networks", "a network"},
		{"claim-group", "gatehouse_claim_groups", "a group"},
		{"required-group", "gatehouse_required_groups", "a group"},
	} {
		list, ok := members[f.member].([]string)
		switch {
		case !ok:
		case len(list) == 0 || slices.Contains(list, ""):
			return usageError{fmt.Errorf("--%s is empty; pass %s, or any for no restriction", f.flag, f.item)}
		case len(list) == 1 && list[0] == "any":
			members[f.member] = nil
		}
	}
	return nil
}

func flagValue(flags *pflag.FlagSet, f metadataFlag) any {
	switch f.kind {
	case listFlag:
		v, _ := flags.GetStringArray(f.flag) // the flag is there, with this type
		return v
	case wordsFlag:
		v, _ := flags.GetStringSlice(f.flag)
		return v
	case boolFlag:
		v, _ := flags.GetBool(f.flag)
		return v
	}
	v, _ := flags.GetString(f.flag)
	return v
}
