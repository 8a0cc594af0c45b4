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
	"gatehouse/duration"
	"gatehouse/identity"
	"gatehouse/oauth/client"
	"gatehouse/storage"
)

func (p *program) resourceCommand() *cobra.Command {
	return group("resource", "Manage APIs that accept access tokens", "",
		p.resourceCreate(), p.resourceUpdate(), p.resourceList(), p.resourceDelete())
}

// resourceFlags are the properties of a resource as flags.
type resourceFlags struct {
	cmd                   *cobra.Command
	name                  *string
	scopes, introspectors *[]string
	openToApps            *bool
	publishMetadata       *bool
	groupsClaim           *bool
	claimGroups           *[]string
	tokenTyp, tokenAlg    *string
	requiredACR           *string
	maxAuthAge            *string
}

func addResourceFlags(cmd *cobra.Command) resourceFlags {
	return resourceFlags{
		cmd:    cmd,
		name:   cmd.Flags().String("name", "", "the name of the API"),
		scopes: cmd.Flags().StringArray("scope", nil, "a scope of the API (repeat for several)"),
		introspectors: cmd.Flags().StringArray("introspector", nil,
			"client of the API (client_id or name), which may introspect tokens intended for it (repeat for several)"),
		openToApps: cmd.Flags().Bool("open-to-apps", false,
			"clients that registered themselves or use a metadata document may request it and its scopes"),
		publishMetadata: cmd.Flags().Bool("publish-metadata", false,
			"serve the metadata by which clients of the API find this server (RFC 9728)"),
		groupsClaim: cmd.Flags().Bool("groups-claim", false,
			"its access tokens have the groups of the user, as the claim groups (RFC 9068)"),
		claimGroups: cmd.Flags().StringSlice("claim-group", nil,
			"groups that they have, of those of a user; team-* is every group that begins with team- (repeat for "+
				"several; any: all of them)"),
		tokenTyp: cmd.Flags().String("token-typ", "at+jwt",
			"the header typ of its access tokens: at+jwt (RFC 9068), or JWT for libraries that refuse at+jwt"),
		tokenAlg: cmd.Flags().String("token-alg", "ES256",
			"the algorithm that signs its access tokens: ES256, RS256, PS256 or EdDSA"),
		requiredACR: cmd.Flags().String("required-acr", "none",
			"users must sign in with a second factor (mfa; printed as its acr, 2) or a passkey (phr) before a client gets "+
				"its access tokens; none: no restriction"),
		maxAuthAge: cmd.Flags().String("max-auth-age", "0s",
			"maximum age of the sign-in when a client gets its access tokens, like 15m; 0s: no maximum"),
	}
}

// changes returns the properties whose flags were passed.
func (f resourceFlags) changes() (c admin.ResourceChanges, err error) {
	if f.cmd.Flags().Changed("name") {
		if err := checkDisplayable("--name", *f.name); err != nil {
			return c, err
		}
		c.Name = f.name
	}
	if f.cmd.Flags().Changed("open-to-apps") {
		c.OpenToApps = f.openToApps
	}
	if f.cmd.Flags().Changed("publish-metadata") {
		c.PublishMetadata = f.publishMetadata
	}
	if f.cmd.Flags().Changed("groups-claim") {
		c.GroupsClaim = f.groupsClaim
	}
	if f.cmd.Flags().Changed("claim-group") {
		groups := *f.claimGroups
		if len(groups) == 0 || slices.Contains(groups, "") {
			return c, usageError{errors.New("--claim-group is empty; pass a group, or any for all groups")}
		}
		if len(groups) == 1 && groups[0] == "any" {
			groups = []string{}
		}
		c.ClaimGroups = &groups
	}
	if f.cmd.Flags().Changed("token-typ") {
		if err := client.CheckTokenTyp(*f.tokenTyp); err != nil {
			return c, usageError{fmt.Errorf("--token-typ: %w", err)}
		}
		c.TokenTyp = f.tokenTyp
	}
	if f.cmd.Flags().Changed("token-alg") {
		if err := client.CheckTokenAlg(*f.tokenAlg); err != nil {
			return c, usageError{fmt.Errorf("--token-alg: %w", err)}
		}
		c.TokenAlg = f.tokenAlg
	}
	if err := f.signInChanges(&c); err != nil {
		return c, err
	}
	if f.cmd.Flags().Changed("introspector") {
		for _, id := range *f.introspectors {
			if id == "" {
				return c, errors.New("--introspector is empty; pass the client_id of the API")
			}
		}
		c.Introspectors = f.introspectors
	}
	if f.cmd.Flags().Changed("scope") {
		scopes := strings.Fields(strings.Join(*f.scopes, " "))
		c.Scopes = &scopes
	}
	return c, nil
}

// signInChanges sets the requirements on sign-ins whose flags were passed.
func (f resourceFlags) signInChanges(c *admin.ResourceChanges) error {
	if f.cmd.Flags().Changed("required-acr") {
		if _, err := identity.ParseRequiredACR(*f.requiredACR); err != nil {
			return usageError{fmt.Errorf("--required-acr %w", err)}
		}
		c.RequiredACR = f.requiredACR
	}
	if f.cmd.Flags().Changed("max-auth-age") {
		d, err := duration.Parse(*f.maxAuthAge)
		if err != nil || d < 0 || d%time.Second != 0 {
			return usageError{fmt.Errorf("--max-auth-age %q must be a duration of whole seconds, like 15m", *f.maxAuthAge)}
		}
		seconds := int64(d / time.Second)
		c.MaxAuthAge = &seconds
	}
	return nil
}

// resourceError translates the error of a change of a resource into a message for the operator.
func resourceError(err error, identifier string) error {
	if unknown := (*admin.UnknownClientError)(nil); errors.As(err, &unknown) {
		return err
	}
	if unknown := (*admin.UnknownGroupError)(nil); errors.As(err, &unknown) {
		return err
	}
	return operatorError(err, "resource "+identifier)
}

// reportSharedScopes reports which scopes of a resource others also have.
func (p *program) reportSharedScopes(ctx context.Context, a *admin.Admin, r storage.Resource) error {
	shared, err := a.SharedScopes(ctx, r)
	for _, s := range shared {
		consequence := "a token is for all of them and has no roles, and users are prompted for each"
		if s.DifferentFormats {
			consequence = "requests with it are refused, because their access tokens have different formats"
		}
		p.notice(fmt.Sprintf("scope %s also belongs to %s; without the parameter resource %s", s.Scope,
			strings.Join(s.Others, ", "), consequence))
	}
	return err
}

func (p *program) resourceCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create URI", Short: "Register an API",
		Long: "Register an API by its identifier, an absolute URI: the aud of tokens intended for it (RFC 8707).\n" +
			"Tokens with one of its scopes have it as audience automatically. A scope that also belongs to\n" +
			"another API is reported on stderr: consent is per API.\n\n" +
			"With --mcp, for an MCP server: clients that registered themselves or use a metadata document may\n" +
			"request it, and this server serves its metadata (--open-to-apps --publish-metadata). The MCP server\n" +
			"then sends one header with status 401, which is printed on stderr.",
		Example: "  gatehouse resource create https://api.example.com --name 'Notes API' --scope notes.read " +
			"--scope notes.write --introspector CLIENT_ID\n" +
			"  gatehouse resource create --mcp https://mcp.example.com/mcp --name 'Notes (MCP)' --scope notes.read",
		Args: exactArgs("URI"),
	}
	flags := addResourceFlags(cmd)
	mcp := cmd.Flags().Bool("mcp", false, "the API is an MCP server: the same as --open-to-apps --publish-metadata")
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		for _, implied := range []string{"open-to-apps", "publish-metadata"} {
			if *mcp && !cmd.Flags().Changed(implied) {
				if err := cmd.Flags().Set(implied, "true"); err != nil {
					return err
				}
			}
		}
		if err := admin.CheckResource(args[0]); err != nil {
			return usageError{fmt.Errorf("%q %w", args[0], err)}
		}
		return p.changeResource(cmd, flags, args[0], (*admin.Admin).CreateResource)
	}
	return cmd
}

func (p *program) resourceUpdate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "update URI", Short: "Change an API",
		Example: "  gatehouse resource update https://api.example.com --scope notes.read --scope notes.write",
		Args:    exactArgs("URI"),
		Long:    "Change the properties whose flags are passed; a list replaces the entire list.",
	}
	flags := addResourceFlags(cmd)
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if cmd.Flags().NFlag() == 0 {
			return noChangesError(cmd)
		}
		return p.changeResource(cmd, flags, args[0], (*admin.Admin).UpdateResource)
	}
	return cmd
}

func (p *program) changeResource(cmd *cobra.Command, flags resourceFlags, identifier string, change func(
	a *admin.Admin, ctx context.Context, identifier string, c admin.ResourceChanges,
) (storage.Resource, []string, error)) error {
	changes, err := flags.changes()
	if err != nil {
		return err
	}
	return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
		r, newScopes, err := change(a, ctx, identifier, changes)
		if err != nil {
			return resourceError(err, identifier)
		}
		p.reportNewScopes(newScopes)
		if changes.TokenTyp != nil && *changes.TokenTyp == "JWT" {
			p.notice("ID tokens have the typ JWT too: the API must check that aud contains " + identifier)
		}
		published := a.Published(r)
		if published.Challenge != "" {
			p.notice("the API sends this header with status 401: WWW-Authenticate: " + published.Challenge)
		}
		return errors.Join(p.reportSharedScopes(ctx, a, r), p.printJSON(published))
	})
}

func (p *program) resourceList() *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List APIs",
		Example: "  gatehouse resource list", Args: exactArgs(),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			all, err := a.Resources(ctx)
			if err != nil {
				return err
			}
			if *asJSON {
				return p.printJSON(all)
			}
			var rows [][]string
			for _, r := range all {
				open := ""
				if r.OpenToApps {
					open = "yes"
				}
				format := strings.TrimSpace(r.TokenTyp + " " + r.TokenAlg)
				rows = append(rows, []string{
					r.Identifier, r.Name, r.Scopes.String(), r.Introspectors.String(), open, format,
				})
			}
			return p.table("there are no resources; register one with `gatehouse resource create`",
				[]string{"identifier", "name", "scopes", "introspectors", "open to apps", "token format"}, rows)
		})
	}
	return cmd
}

func (p *program) resourceDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete URI", Short: "Delete an API",
		Example: "  gatehouse resource delete https://api.example.com",
		Args:    exactArgs("URI"),
		Long: "Delete an API. New tokens no longer have it in aud; issued tokens have it until they\n" +
			"expire.",
	}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := p.confirm(*yes, "Delete resource "+args[0]+"?"); err != nil {
			return err
		}
		return p.withAdmin(cmd, func(ctx context.Context, a *admin.Admin) error {
			if err := a.DeleteResource(ctx, args[0]); err != nil {
				return operatorError(err, "resource "+args[0])
			}
			_, err := fmt.Fprintf(p.stdout, "resource %s is deleted\n", args[0])
			return err
		})
	}
	return cmd
}
