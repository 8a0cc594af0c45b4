package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/display"
	"gatehouse/oauth/client"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/audit"
)

func (a *app) clientCommand() *cobra.Command {
	return a.group("client", "Manage apps and machine clients", "",
		a.clientCreate(), a.clientList(), a.clientShow(), a.clientUpdate(), a.clientState(true), a.clientState(false),
		a.clientDelete(), a.clientRotate(), a.clientRevoke())
}

// A metadataFlag is a member of the client metadata as a flag, for people.
type metadataFlag struct {
	flag, member, usage string
	kind                string // "text", "list", "words" (commas too), "bool" or "duration"
}

var metadataFlags = []metadataFlag{
	{"name", "client_name", "the name people see", "text"},
	{"uri", "client_uri", "the app's home page", "text"},
	{"owner", "gatehouse_owner", "who answers for the app, shown to people", "text"},
	{"redirect-uri", "redirect_uris", "where answers may be sent (repeat for several)", "list"},
	{"grant-type", "grant_types", "authorization_code, refresh_token, client_credentials (repeat for several)", "words"},
	{"auth-method", "token_endpoint_auth_method", "client_secret_basic, client_secret_post, private_key_jwt or none (a public client)", "text"},
	{"jwks-uri", "jwks_uri", "where the client publishes its public keys", "text"},
	{"logo-uri", "logo_uri", "its logo: PNG, JPEG, GIF or WebP", "text"},
	{"post-logout-redirect-uri", "post_logout_redirect_uris", "where a sign-out may lead (repeat for several)", "list"},
	{"backchannel-logout-uri", "backchannel_logout_uri", "where it is told that a session is over", "text"},
	{"initiate-login-uri", "initiate_login_uri", "where it begins a sign-in when a person opens it from their account page", "text"},
	{"id-token-alg", "id_token_signed_response_alg", "RS256 (default), PS256, ES256 or EdDSA", "text"},
	{"subject-type", "subject_type", "public (default) or pairwise: what it knows people as", "text"},
	{"require-signed-request-object", "require_signed_request_object", "refuse its authorization requests unless they are signed request objects (RFC 9101)", "bool"},
	{"token-endpoint-audience", "gatehouse_token_endpoint_audience", "its assertions may name the token endpoint as aud instead of the issuer", "bool"},
	{"id-token-claims", "gatehouse_id_token_claims", "put the claims of its scopes into ID tokens too, for libraries that read nothing else", "bool"},
	{"scope", "scope", "scopes the client may ask for, with spaces between", "text"},
	{"default-scope", "gatehouse_default_scopes", "scopes it gets when it asks for none (default: all but offline_access)", "words"},
	{"optional-scope", "gatehouse_optional_scopes", "scopes a person may untick", "words"},
	{"optional-scopes-selected", "gatehouse_optional_scopes_selected", "they are initially ticked (default true; false for a self-registered client)", "bool"},
	{"allowed-network", "gatehouse_allowed_networks", "CIDR or address it may authenticate from (repeat for several; they replace those before; any: from anywhere)", "words"},
	{"audience", "gatehouse_audience", "aud of its tokens when no resource applies", "list"},
	{"resource", "gatehouse_resources", "resources it may ask for (default: those of its scopes)", "list"},
	{"contact", "contacts", "e-mail address of a person responsible", "words"},
	{"policy-uri", "policy_uri", "its privacy policy", "text"},
	{"tos-uri", "tos_uri", "its terms of service", "text"},
	{"require-pkce", "gatehouse_require_pkce", "PKCE is required (default true)", "bool"},
	{"skip-consent", "gatehouse_skip_consent", "do not ask people (an app of your own)", "bool"},
	{"refresh-rotation", "gatehouse_refresh_rotation", "refresh tokens rotate (default true)", "bool"},
	{"access-ttl", "gatehouse_access_token_ttl", "lifetime of its access tokens, like 5m", "duration"},
	{"refresh-idle", "gatehouse_refresh_idle_ttl", "how long its refresh tokens may be unused, like 30d", "duration"},
	{"refresh-max", "gatehouse_refresh_max_ttl", "how long its grants last at most, like 90d", "duration"},
	{"refresh-grace", "gatehouse_refresh_grace", "how long a refresh whose response was lost can be retried, 10m at most, 0s to turn it off", "duration"},
}

// addMetadataFlags adds --metadata and a flag per member, and returns a function that gathers them into one JSON object.
func (a *app) addMetadataFlags(cmd *cobra.Command) func() ([]byte, error) {
	defer func() {
		for flag, values := range map[string][]string{"auth-method": {"client_secret_basic", "client_secret_post", "private_key_jwt", "none"}, "id-token-alg": {"RS256", "PS256", "ES256", "EdDSA"}, "subject-type": {"public", "pairwise"}, "grant-type": {"authorization_code", "refresh_token", "client_credentials"}} {
			_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)) // the flags are there
		}
	}()
	file := cmd.Flags().String("metadata", "", "RFC 7591 client metadata as JSON: a file, or - for standard input")
	for _, f := range metadataFlags {
		switch f.kind {
		case "list":
			cmd.Flags().StringArray(f.flag, nil, f.usage)
		case "words":
			cmd.Flags().StringSlice(f.flag, nil, f.usage)
		case "bool":
			cmd.Flags().Bool(f.flag, false, f.usage)
		default:
			cmd.Flags().String(f.flag, "", f.usage)
		}
	}
	return func() ([]byte, error) {
		members := map[string]any{}
		if *file != "" {
			b, err := a.readFile(*file)
			if err != nil {
				return nil, fmt.Errorf("cannot read the metadata: %w", err)
			}
			if err := json.Unmarshal(b, &members); err != nil {
				return nil, fmt.Errorf("the metadata is not a JSON object: %w", err)
			}
		}
		for _, f := range metadataFlags {
			if cmd.Flags().Changed(f.flag) {
				members[f.member] = flagValue(cmd.Flags(), f)
			}
		}
		if list, ok := members["gatehouse_allowed_networks"].([]string); ok {
			switch { // an unset variable must not open a client to the world
			case len(list) == 0 || slices.Contains(list, ""):
				return nil, usageError{errors.New("--allowed-network is empty; write a network, or any to let the client come from anywhere")}
			case len(list) == 1 && list[0] == "any":
				members["gatehouse_allowed_networks"] = nil
			}
		}
		if len(members) == 0 {
			return nil, usageError{fmt.Errorf("no client metadata given; pass flags or --metadata; see `%s --help`", cmd.CommandPath())}
		}
		return json.Marshal(members)
	}
}

func flagValue(flags *pflag.FlagSet, f metadataFlag) any {
	switch f.kind {
	case "list":
		v, _ := flags.GetStringArray(f.flag)
		return v
	case "words":
		v, _ := flags.GetStringSlice(f.flag)
		return v
	case "bool":
		v, _ := flags.GetBool(f.flag)
		return v
	}
	v, _ := flags.GetString(f.flag)
	return v
}

func (a *app) readFile(name string) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(io.LimitReader(a.stdin, 1<<20))
	}
	return os.ReadFile(name)
}

// tellIgnored says which members mean nothing here: one of them may be misspelt.
func (a *app) tellIgnored(raw []byte) {
	if unknown := client.UnknownMembers(raw); len(unknown) > 0 {
		fmt.Fprintf(a.stderr, "gatehouse: ignored unknown client metadata: %s\n", display.Escape(strings.Join(unknown, ", ")))
	}
}

// tellAdded says which scopes were registered by the way.
func (a *app) tellAdded(added []string) {
	if len(added) > 0 {
		fmt.Fprintf(a.stderr, "gatehouse: registered new scopes: %s; describe them for people with `gatehouse scope update NAME --description …`\n", strings.Join(added, ", "))
	}
}

func (a *app) clientCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "Register a client",
		Long: "Register a client from RFC 7591 metadata or flags and print the RFC 7591 response, the client_secret this once.\n" +
			"Scopes that do not exist yet are registered. Only --metadata has jwks, request_uris, sector_identifier_uri, userinfo_signed_response_alg,\n" +
			"request_object_signing_alg, default_max_age and the other members of RFC 7591 and OpenID Connect that have no flag.",
		Example: "  gatehouse client create --name Notes --redirect-uri https://notes.example/callback --grant-type authorization_code --grant-type refresh_token --scope 'notes.read offline_access'\n" +
			"  gatehouse client create --name 'Nightly report' --grant-type client_credentials --scope reports.read\n" +
			"  gatehouse client create --metadata client.json",
		Args: exactArgs(),
	}
	gather := a.addMetadataFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		raw, err := gather()
		if err != nil {
			return err
		}
		if set := cmd.Flags().Changed; !set("metadata") && !set("redirect-uri") && !set("grant-type") {
			return usageError{errors.New("--redirect-uri is required for an app that signs users in; " +
				"for a service without users pass --grant-type client_credentials")}
		}
		m, err := client.ParseMetadata(raw)
		if err != nil {
			return operatorError(err, "client")
		}
		a.tellIgnored(raw)
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			info, added, err := s.OAuth.Clients.Create(ctx, m)
			if err != nil {
				return operatorError(err, "client")
			}
			if err := a.printJSON(info); err != nil { // first: the secret is shown this once
				return err
			}
			a.tellAdded(added)
			return a.tellOdd(ctx, s, info)
		})
	}
	return cmd
}

// tellOdd points out what is allowed and probably not meant.
func (a *app) tellOdd(ctx context.Context, s *server.Server, info client.Information) error {
	tell := func(text string) { fmt.Fprintln(a.stderr, "gatehouse: "+display.Escape(text)) }
	if info.ClientName == info.ClientID {
		tell("the client has no client_name; people see its client_id")
	}
	if len(info.Scope) == 0 {
		limit := "; as the introspector of an API it needs none"
		if slices.Contains(info.GrantTypes, "authorization_code") {
			limit = " and cannot request any, not even openid"
		}
		tell("the client has no scope" + limit +
			"; to add scopes: gatehouse client update " + info.ClientID + " --scope …")
	}
	if !slices.Contains(info.Scope, protocol.ScopeOpenID) && slices.ContainsFunc(info.Scope, func(name string) bool { return slices.Contains([]string{"profile", "email", "address", "phone"}, name) }) {
		tell("the scopes of a person's claims are of use only with openid among the scopes")
	}
	if slices.Contains(info.Scope, protocol.ScopeOfflineAccess) && !slices.Contains(info.GrantTypes, "refresh_token") {
		tell("offline_access has no effect without the grant type refresh_token")
	}
	if info.Resources == nil {
		return nil
	}
	known, err := s.Store.Resources(ctx)
	for _, id := range *info.Resources {
		if _, ok := known[id]; !ok {
			tell("there is no resource " + id + " yet; register it with `gatehouse resource create`")
		}
	}
	return err
}

func (a *app) clientList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List clients by name", Args: exactArgs()}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			var clients []storage.Client
			err := eachClient(ctx, s.Store, func(c storage.Client) error {
				clients = append(clients, c)
				return nil
			})
			if err != nil {
				return err
			}
			sortByName(clients, func(c storage.Client) (string, string) { return c.Name, c.ID })
			infos := []client.Information{}
			var rows [][]string
			for _, c := range clients {
				infos = append(infos, client.InformationOf(&c))
				rows = append(rows, []string{c.ID, c.Name, c.AuthMethod, c.GrantTypes.String(), c.Scopes.String(), registeredBy(c), enabled(c.DisabledAt)})
			}
			if *asJSON {
				return a.printJSON(infos)
			}
			return a.table("there are no clients; register one with `gatehouse client create`", []string{"client_id", "name", "auth method", "grant types", "scopes", "registered by", "state"}, rows)
		})
	}
	return cmd
}

func registeredBy(c storage.Client) string {
	if c.IsSelfRegistered() {
		return "itself"
	}
	return "operator"
}

func enabled(disabledAt *time.Time) string {
	if disabledAt != nil {
		return "disabled"
	}
	return "enabled"
}

func (a *app) clientShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show a client as JSON", Long: "Show a client as JSON. " + clientArgument, Args: exactArgs("ID"),
	}
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			c, err := findClient(ctx, s.Store, args[0])
			if err != nil {
				return operatorError(err, "client "+args[0])
			}
			return a.printJSON(client.InformationOf(c))
		})
	}
	return cmd
}

func (a *app) clientUpdate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "update ID", Short: "Change a client",
		Long: "Change what the flags or the metadata say; a member that is null in the metadata is taken away. Taking scopes, resources\n" +
			"or audiences from a client makes every token and grant it has useless. " + clientArgument,
		Args: exactArgs("ID"),
	}
	gather := a.addMetadataFlags(cmd)
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		patch, err := gather()
		if err != nil {
			return err
		}
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			c, err := findClient(ctx, s.Store, args[0])
			if err != nil {
				return operatorError(err, "client "+args[0])
			}
			info, added, err := s.OAuth.Clients.Update(ctx, c.ID, patch)
			if err != nil {
				return operatorError(err, "client "+args[0])
			}
			a.tellIgnored(patch)
			a.tellAdded(added)
			return a.printJSON(info)
		})
	}
	return cmd
}

// clientArgument describes ID in the help.
const clientArgument = "ID is a client_id, or the name of a client that an operator registered when no other has it."

// findClient returns the client with that id, else the only client of an operator with that name. Self-registered
// clients are not found by name, because third parties choose those names. It returns storage.ErrNotFound when there
// is none.
func findClient(ctx context.Context, store *storage.Store, idOrName string) (*storage.Client, error) {
	c, err := store.Client(ctx, idOrName)
	if !errors.Is(err, storage.ErrNotFound) {
		return c, err
	}
	named, err := store.ClientsByName(ctx, idOrName)
	if err != nil {
		return nil, err
	}
	var own, registered []string // client_ids
	for _, c := range named {
		if c.IsSelfRegistered() {
			registered = append(registered, c.ID)
		} else {
			own = append(own, c.ID)
		}
	}
	switch {
	case len(own) == 1:
		return store.Client(ctx, own[0])
	case len(own) > 1:
		return nil, fmt.Errorf("%d clients are named %q; pass a client_id: %s",
			len(own), idOrName, strings.Join(own, ", "))
	case len(registered) > 0:
		return nil, fmt.Errorf("a self-registered client is not found by its name; pass its client_id: %s",
			strings.Join(registered, ", "))
	}
	return nil, storage.ErrNotFound
}

// clientChange is a command that does one thing to one client.
func (a *app) clientChange(use, short, long, done, question string, change func(ctx context.Context, s *server.Server, id string) error) *cobra.Command {
	if long == "" {
		long = short + "."
	}
	cmd := &cobra.Command{Use: use + " ID", Short: short, Long: long + " " + clientArgument, Args: exactArgs("ID")}
	yes := new(bool)
	if question != "" {
		yes = yesFlag(cmd)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			c, err := findClient(ctx, s.Store, args[0])
			if err != nil {
				return operatorError(err, "client "+args[0])
			}
			if question != "" {
				if err := a.confirm(*yes, fmt.Sprintf(question, fmt.Sprintf("%s (%q)", c.ID, c.Name))); err != nil {
					return err
				}
			}
			if err := change(ctx, s, c.ID); err != nil {
				return operatorError(err, "client "+c.ID)
			}
			_, err = fmt.Fprintf(a.stdout, done+"\n", c.ID)
			return err
		})
	}
	return cmd
}

func (a *app) clientState(disable bool) *cobra.Command {
	if disable {
		return a.clientChange("disable", "Disable a client and revoke its tokens",
			"Refuse the client until `client enable`, and revoke its grants and tokens permanently: enabling the client does not\n"+
				"restore them, and users on its sign-in pages must start again. Its secrets, its registration access token and\n"+
				"consents stay; after a leak of a secret also run `client rotate-secret ID --overlap 0`.",
			"client %s is disabled", "", func(ctx context.Context, s *server.Server, id string) error {
				return s.Store.DisableClient(ctx, id, audit.Event{Type: audit.ClientDisabled})
			})
	}
	return a.clientChange("enable", "Enable a disabled client", "Accept the client and its secrets again. Grants and tokens from before it was disabled stay revoked.", "client %s is enabled", "",
		func(ctx context.Context, s *server.Server, id string) error {
			return s.Store.EnableClient(ctx, id, audit.Event{Type: audit.ClientEnabled})
		})
}

func (a *app) clientDelete() *cobra.Command {
	return a.clientChange("delete", "Delete a client with its secrets and consents", "", "client %s is deleted",
		"Delete client %s with its secrets and consents?", func(ctx context.Context, s *server.Server, id string) error {
			return s.Store.DeleteClient(ctx, id, audit.Event{Type: audit.ClientDeleted})
		})
}

func (a *app) clientRevoke() *cobra.Command {
	return a.clientChange("revoke-tokens", "Make every token and grant a client has useless", "The client itself stays and can get new ones.", "every token of client %s is revoked",
		"Revoke every token and grant of client %s?", func(ctx context.Context, s *server.Server, id string) error {
			return s.Store.RevokeClientTokens(ctx, id, audit.Event{Type: audit.ClientTokensRevoked})
		})
}

func (a *app) clientRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate-secret ID", Short: "Give a client a new secret",
		Long: "Make a new secret and print it this once. The old ones stay valid for --overlap, so that the client can change over without\n" +
			"downtime. With --overlap 0, for a leak, they expire immediately, and every token of the client is revoked.\n" +
			clientArgument,
		Args: exactArgs("ID"),
	}
	overlap := durationFlag(cmd, "overlap", 24*time.Hour, "how long the old secrets stay valid, like 12h or 7d")
	yes := yesFlag(cmd)
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *overlap < 0 || *overlap > 90*24*time.Hour {
			return usageError{errors.New("--overlap must be 0 to 90d")}
		}
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			c, err := findClient(ctx, s.Store, args[0])
			if err != nil {
				return operatorError(err, "client "+args[0])
			}
			if *overlap == 0 {
				question := fmt.Sprintf("End every secret and token of client %s (%q) now?", c.ID, c.Name)
				if err := a.confirm(*yes, question); err != nil {
					return err
				}
			}
			info, err := s.OAuth.Clients.RotateSecret(ctx, c.ID, *overlap)
			if err != nil {
				return operatorError(err, "client "+c.ID)
			}
			return a.printJSON(info)
		})
	}
	return cmd
}
