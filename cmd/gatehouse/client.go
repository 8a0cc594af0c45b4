package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/admin"
	"gatehouse/display"
	"gatehouse/oauth/client"
	"gatehouse/storage"
)

// clientArgument describes ID in the help.
const clientArgument = "ID is a client_id, or the name of a client that an operator registered when no other has it."

func (p *program) clientCommand() *cobra.Command {
	return group("client", "Manage clients", "",
		p.clientCreate(), p.clientList(), p.clientShow(), p.clientUpdate(), p.clientVouch(), p.clientRefreshDocument(),
		p.clientDisable(), p.clientEnable(),
		p.clientDelete(), p.clientRotate(), p.clientRevoke())
}

func (p *program) clientCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create", Short: "Register a client",
		Long: "Register a client from RFC 7591 metadata or flags and print the RFC 7591 response, the\n" +
			"client_secret only this once. Scopes that do not exist yet are registered. The members jwks,\n" +
			"request_uris, sector_identifier_uri, userinfo_signed_response_alg, request_object_signing_alg,\n" +
			"default_max_age and others have no flag; use --metadata.\n\n" +
			"With --id-url, register the client of the client ID metadata document at that URL in advance; the URL\n" +
			"is its client_id. The document is fetched now. What the flags and the metadata set takes precedence over\n" +
			"it, even after it changes. It does not need to be in GATEHOUSE_CLIENT_DOCUMENT_HOSTS. If the client\n" +
			"exists already, users stay connected, but removing scopes, resources or audiences revokes its tokens.",
		Example: "  gatehouse client create --name Notes --redirect-uri https://notes.example/callback " +
			"--grant-type authorization_code --grant-type refresh_token --scope 'notes.read offline_access'\n" +
			"  gatehouse client create --name 'Nightly report' --grant-type client_credentials --scope reports.read\n" +
			"  gatehouse client create --metadata client.json\n" +
			"  gatehouse client create --id-url https://app.example/client.json --scope 'notes.read offline_access'",
		Args: exactArgs(),
	}
	metadata := p.addMetadataFlags(cmd)
	idURL := cmd.Flags().String(idURLFlag, "", "the URL of its client ID metadata document, which is its client_id")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		raw, err := metadata()
		if err != nil {
			return err
		}
		set := cmd.Flags().Changed
		if !set("metadata") && !set("redirect-uri") && !set("grant-type") && !set(idURLFlag) {
			return usageError{errors.New("--redirect-uri is required for a client that signs users in; " +
				"for a service without users pass --grant-type client_credentials")}
		}
		m, err := client.ParseMetadata(raw)
		if err != nil {
			return operatorError(err, "client")
		}
		p.reportIgnored(raw)
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			var info client.Information
			var newScopes []string
			if set(idURLFlag) {
				info, newScopes, err = a.CreateClientFromDocument(ctx, *idURL, raw)
			} else {
				info, newScopes, err = a.CreateClient(ctx, m)
			}
			if errors.Is(err, storage.ErrConflict) {
				return fmt.Errorf("client %s is already registered; change it with `gatehouse client update`", *idURL)
			}
			if err != nil {
				return operatorError(err, "client")
			}
			if err := p.printJSON(info); err != nil { // first, because the secret is shown only this once
				return err
			}
			p.reportNewScopes(newScopes)
			return p.warnAboutClient(ctx, a, info)
		})
	}
	return cmd
}

// reportIgnored reports members that have no effect: one of them may be misspelt.
func (p *program) reportIgnored(metadata []byte) {
	if unknown := client.UnknownMembers(metadata); len(unknown) > 0 {
		p.notice("ignored unknown client metadata: " + display.Escape(strings.Join(unknown, ", ")))
	}
}

func (p *program) clientList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List clients by name", Args: exactArgs(),
		Long: "List clients, sorted by name, or with --search by the word that was found.",
		Example: "  gatehouse client list --limit 50\n" +
			"  gatehouse client list --search shop",
	}
	list := listFlags(cmd, "the name or owner, or in the client_id")
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			clients, err := a.Clients(ctx, *list)
			if err != nil {
				return err
			}
			defer p.reportNextPage(clients.Next)
			infos := []client.Information{}
			var rows [][]string
			for _, c := range clients.Items {
				infos = append(infos, client.InformationOf(&c))
				rows = append(rows, []string{
					c.ID, c.Name, c.AuthMethod, c.GrantTypes.String(), c.Scopes.String(), registeredBy(c), enabled(c.DisabledAt),
				})
			}
			if *asJSON {
				return p.printJSON(infos)
			}
			return p.table(emptyList(list, "clients", "there are no clients; register one with `gatehouse client create`"),
				[]string{"client_id", "name", "auth method", "grant types", "scopes", "registered by", "state"}, rows)
		})
	}
	return cmd
}

func registeredBy(c storage.Client) string {
	switch {
	case c.Preregistered:
		return "operator"
	case c.IsDocument():
		return "document"
	case c.IsSelfRegistered():
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

func (p *program) clientShow() *cobra.Command {
	cmd := &cobra.Command{
		Use: "show ID", Short: "Show a client as JSON", Args: exactArgs("ID"),
		Long: "Show a client as JSON. " + clientArgument,
	}
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.withClient(cmd, args[0], func(_ context.Context, _ *admin.Admin, c *storage.Client) error {
			return p.printJSON(client.InformationOf(c))
		})
	}
	return cmd
}

// withClient finds the client of a command.
func (p *program) withClient(
	cmd *cobra.Command, idOrName string, fn func(ctx context.Context, a *admin.Admin, c *storage.Client) error,
) error {
	return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
		c, err := a.Client(ctx, idOrName)
		if err != nil {
			return operatorError(err, "client "+idOrName)
		}
		return fn(ctx, a, c)
	})
}

func (p *program) clientUpdate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "update ID", Short: "Change a client",
		Long: "Change the members that the flags or the metadata have; null in the metadata removes a member. Removing\n" +
			"scopes, resources or audiences revokes all tokens and grants of the client.\n" +
			"For a client with a client ID metadata document, the values that you set take precedence over the\n" +
			"document; null in the metadata restores the value of the document.\n" +
			clientArgument,
		Args: exactArgs("ID"),
	}
	metadata := p.addMetadataFlags(cmd)
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		patch, err := metadata()
		if err != nil {
			return err
		}
		return p.withClient(cmd, args[0], func(ctx context.Context, a *admin.Admin, c *storage.Client) error {
			info, newScopes, err := a.UpdateClient(ctx, c.ID, patch)
			if err != nil {
				return operatorError(err, "client "+args[0])
			}
			p.reportIgnored(patch)
			p.reportNewScopes(newScopes)
			p.reportRemovedScopes(c.Scopes, info.Scope)
			if info.Document && restoresMember(patch) {
				p.notice("values of the document apply when it is next fetched; to fetch it now: " +
					"gatehouse client refresh-document " + info.ClientID)
			}
			return p.printJSON(info)
		})
	}
	return cmd
}

// clientChange describes a command that changes one client.
type clientChange struct {
	use, short, long string
	done             string                         // printed afterwards; %s is the client_id
	question         string                         // prompted before; %s is the client; "" does not prompt
	describe         func(c *storage.Client) string // printed before the question; nil: nothing
	change           func(a *admin.Admin, ctx context.Context, id string) error
}

func (p *program) clientChangeCommand(c clientChange) *cobra.Command {
	if c.long == "" {
		c.long = c.short + "."
	}
	cmd := &cobra.Command{Use: c.use + " ID", Short: c.short, Args: exactArgs("ID")}
	cmd.Long = strings.ReplaceAll(c.long+" "+clientArgument, "\n ", "\n")
	yes := new(bool)
	if c.question != "" {
		yes = yesFlag(cmd)
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.withClient(cmd, args[0], func(ctx context.Context, a *admin.Admin, found *storage.Client) error {
			if c.describe != nil {
				p.notice(c.describe(found))
			}
			if c.question != "" {
				if err := p.confirm(*yes, fmt.Sprintf(c.question, fmt.Sprintf("%s (%q)", found.ID, found.Name))); err != nil {
					return err
				}
			}
			if err := c.change(a, ctx, found.ID); err != nil {
				return operatorError(err, "client "+found.ID)
			}
			_, err := fmt.Fprintf(p.stdout, c.done+"\n", found.ID)
			return err
		})
	}
	return cmd
}

func (p *program) clientVouch() *cobra.Command {
	return p.clientChangeCommand(clientChange{
		use: "vouch", short: "Mark a client that you did not register as verified",
		long: "State that you have verified a client that registered itself or uses a client ID metadata document:\n" +
			"the consent page and the account page no longer warn users of it. This ends when the client\n" +
			"changes its name, pages, logo or authentication method, or adds a redirect URI. Undo it with\n" +
			"`client update ID --vouch=false`.\n",
		question: "Stop warning users of client %s?",
		describe: func(c *storage.Client) string {
			return fmt.Sprintf("the client calls itself %s and redirects users to %s", display.Escape(c.Name),
				display.Escape(strings.Join(c.RedirectURIs, ", ")))
		},
		done: "client %s is marked as verified", change: (*admin.Admin).VouchForClient,
	})
}

func (p *program) clientRefreshDocument() *cobra.Command {
	cmd := &cobra.Command{
		Use: "refresh-document ID", Short: "Fetch the metadata document of a client immediately",
		Long: "Fetch the client ID metadata document of a client that has one, although the stored document may\n" +
			"be current for up to 24 hours. A change of its redirect URIs, authentication method or keys applies\n" +
			"immediately; keys at a jwks_uri are cached as long as their response allows, at most a day. When the\n" +
			"document cannot be used, the client stays as it is. " + clientArgument,
		Args: exactArgs("ID"),
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.withClient(cmd, args[0], func(ctx context.Context, a *admin.Admin, c *storage.Client) error {
			changed, err := a.RefreshClientDocument(ctx, c.ID)
			if err != nil {
				return operatorError(err, "client "+c.ID)
			}
			if len(changed) == 0 {
				_, err = fmt.Fprintf(p.stdout, "the document of client %s is unchanged\n", c.ID)
				return err
			}
			_, err = fmt.Fprintf(p.stdout, "client %s changed: %s\n", c.ID, strings.Join(changed, ", "))
			if slices.Contains(changed, "gatehouse_vouched") {
				p.notice("the client is no longer marked as verified; check it and run `gatehouse client vouch` again")
			}
			return err
		})
	}
	return cmd
}

func (p *program) clientDisable() *cobra.Command {
	return p.clientChangeCommand(clientChange{
		use: "disable", short: "Disable a client and revoke its tokens",
		long: "Refuse the client until `client enable`, and revoke its grants and tokens permanently: enabling\n" +
			"the client does not restore them, and users on its sign-in pages must start again. Its secrets,\n" +
			"its registration access token and consents stay; after a leak of a secret also run `client\n" +
			"rotate-secret ID --overlap 0`.\n",
		done: "client %s is disabled", change: (*admin.Admin).DisableClient,
	})
}

func (p *program) clientEnable() *cobra.Command {
	return p.clientChangeCommand(clientChange{
		use: "enable", short: "Enable a disabled client",
		long: "Accept the client and its secrets again. Grants and tokens from before it was disabled stay revoked.",
		done: "client %s is enabled", change: (*admin.Admin).EnableClient,
	})
}

func (p *program) clientDelete() *cobra.Command {
	return p.clientChangeCommand(clientChange{
		use: "delete", short: "Delete a client with its secrets and consents", done: "client %s is deleted",
		long: "Delete a client with its secrets and consents, and end its tokens. A client with a client ID metadata\n" +
			"document can be deleted only when the settings no longer accept the document; disable it instead.\n",
		question: "Delete client %s with its secrets and consents?", change: (*admin.Admin).DeleteClient,
	})
}

func (p *program) clientRevoke() *cobra.Command {
	return p.clientChangeCommand(clientChange{
		use: "revoke-tokens", short: "Revoke every token and grant of a client",
		long: "Revoke every token and grant of a client. The client stays and can get new ones.",
		done: "every token of client %s is revoked", question: "Revoke every token and grant of client %s?",
		change: (*admin.Admin).RevokeClientTokens,
	})
}

func (p *program) clientRotate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "rotate-secret ID", Short: "Rotate a client's secret",
		Long: "Create a new secret and print it only this once. The earlier ones stay valid for --overlap, so\n" +
			"that the client can change over without downtime. With --overlap 0, for a leak, they expire\n" +
			"immediately, and every token of the client is revoked.\n" + clientArgument,
		Args: exactArgs("ID"),
	}
	overlap := durationFlag(cmd, "overlap", 24*time.Hour, "how long the earlier secrets stay valid, like 12h or 7d")
	yes := yesFlag(cmd)
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *overlap < 0 || *overlap > 90*24*time.Hour {
			return usageError{errors.New("--overlap must be 0 to 90d")}
		}
		return p.withClient(cmd, args[0], func(ctx context.Context, a *admin.Admin, c *storage.Client) error {
			if *overlap == 0 {
				question := fmt.Sprintf("End every secret and token of client %s (%q) now?", c.ID, c.Name)
				if err := p.confirm(*yes, question); err != nil {
					return err
				}
			}
			info, err := a.RotateClientSecret(ctx, c.ID, *overlap)
			if err != nil {
				return operatorError(err, "client "+c.ID)
			}
			return p.printJSON(info)
		})
	}
	return cmd
}
