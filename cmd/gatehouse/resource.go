package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/audit"
)

func (a *app) resourceCommand() *cobra.Command {
	return a.group("resource", "Manage APIs that accept our tokens", "", a.resourceCreate(), a.resourceUpdate(), a.resourceList(), a.resourceDelete())
}

// resourceFlags are the parts of a resource as flags.
type resourceFlags struct {
	name                  *string
	scopes, introspectors *[]string
}

func addResourceFlags(cmd *cobra.Command) resourceFlags {
	return resourceFlags{
		name:   cmd.Flags().String("name", "", "what people call the API"),
		scopes: cmd.Flags().StringArray("scope", nil, "a scope of the API (repeat for several)"),
		introspectors: cmd.Flags().StringArray("introspector", nil,
			"client of the API (client_id or name), which may introspect tokens intended for it (repeat for several)"),
	}
}

// apply copies the given flags into the record, and registers scopes that do not exist.
func (f resourceFlags) apply(ctx context.Context, a *app, cmd *cobra.Command, tx *storage.Store, r *storage.Resource) error {
	if cmd.Flags().Changed("name") {
		if err := checkName("--name", *f.name); err != nil {
			return err
		}
		r.Name = *f.name
	}
	if cmd.Flags().Changed("introspector") {
		introspectors := storage.Strings{}
		for _, id := range *f.introspectors {
			if id == "" {
				return errors.New("--introspector is empty; give it the client_id of the API")
			}
			c, err := findClient(ctx, tx, id)
			if err != nil {
				return operatorError(err, "client "+id)
			}
			introspectors = append(introspectors, c.ID)
		}
		r.Introspectors = introspectors
	}
	if !cmd.Flags().Changed("scope") {
		return nil
	}
	var scopes storage.Strings
	for _, words := range *f.scopes {
		var more storage.Strings
		if err := more.Scan(words); err != nil {
			return err
		}
		scopes = append(scopes, more...)
	}
	for _, name := range scopes {
		if !client.IsValidScope(name) {
			return fmt.Errorf("the scope %q has a character that a scope must not have", name)
		}
	}
	added, err := tx.CreateMissingScopes(ctx, scopes)
	if err != nil {
		return err
	}
	a.tellAdded(added)
	r.Scopes = scopes
	return nil
}

// warnShared reports on stderr which scopes of a resource also belong to others.
func (a *app) warnShared(ctx context.Context, s *server.Server, r storage.Resource) error {
	known, err := s.Store.Resources(ctx)
	if err != nil {
		return err
	}
	for _, scope := range r.Scopes {
		var others []string
		for _, identifier := range slices.Sorted(maps.Keys(known)) {
			if identifier != r.Identifier && known[identifier].Scopes.Has(scope) {
				others = append(others, identifier)
			}
		}
		if len(others) > 0 {
			fmt.Fprintf(a.stderr, "gatehouse: scope %s also belongs to %s; without the parameter resource a token is for all of them, and users are prompted for each\n", scope, strings.Join(others, ", "))
		}
	}
	return nil
}

func (a *app) resourceCreate() *cobra.Command {
	cmd := &cobra.Command{
		Use: "create URI", Short: "Register an API",
		Long: "Register an API by its identifier, an absolute URI: the aud of tokens meant for it (RFC 8707). Tokens with one of its scopes\n" +
			"have it as audience automatically. A scope that also belongs to another API is reported on stderr: consent is per API.",
		Example: "  gatehouse resource create https://api.example.com --name 'Notes API' --scope notes.read --scope notes.write --introspector CLIENT_ID",
		Args:    exactArgs("URI"),
	}
	flags := addResourceFlags(cmd)
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := client.CheckResource(args[0]); err != nil {
			return usageError{fmt.Errorf("%q %w", args[0], err)}
		}
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			r := storage.Resource{Identifier: args[0], Scopes: storage.Strings{}, Introspectors: storage.Strings{}, CreatedAt: s.Store.Now()}
			err := s.Store.Tx(ctx, func(tx *storage.Store) error {
				if err := flags.apply(ctx, a, cmd, tx, &r); err != nil {
					return err
				}
				return tx.CreateResource(ctx, r, audit.Event{Type: audit.ResourceCreated})
			})
			if err != nil {
				return operatorError(err, "resource "+args[0])
			}
			return errors.Join(a.warnShared(ctx, s, r), a.printJSON(r))
		})
	}
	return cmd
}

func (a *app) resourceUpdate() *cobra.Command {
	cmd := &cobra.Command{Use: "update URI", Short: "Change an API", Long: "Change what the flags say; a list replaces the whole list.", Args: exactArgs("URI")}
	flags := addResourceFlags(cmd)
	jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			var after storage.Resource
			err := s.Store.Tx(ctx, func(tx *storage.Store) error {
				return tx.UpdateResource(ctx, args[0], audit.Event{Type: audit.ResourceUpdated}, func(r *storage.Resource) error {
					if err := flags.apply(ctx, a, cmd, tx, r); err != nil {
						return err
					}
					after = *r
					return nil
				})
			})
			if err != nil {
				return operatorError(err, "resource "+args[0])
			}
			return errors.Join(a.warnShared(ctx, s, after), a.printJSON(after))
		})
	}
	return cmd
}

func (a *app) resourceList() *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List APIs", Args: exactArgs()}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			known, err := s.Store.Resources(ctx)
			if err != nil {
				return err
			}
			all := []storage.Resource{}
			var rows [][]string
			for _, id := range slices.Sorted(maps.Keys(known)) {
				r := known[id]
				all = append(all, r)
				rows = append(rows, []string{id, r.Name, r.Scopes.String(), r.Introspectors.String()})
			}
			if *asJSON {
				return a.printJSON(all)
			}
			return a.table("there are no resources; register one with `gatehouse resource create`", []string{"identifier", "name", "scopes", "introspectors"}, rows)
		})
	}
	return cmd
}

func (a *app) resourceDelete() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete URI", Short: "Delete an API", Long: "Delete an API. No new token is meant for it; those that are out stay so until they expire.", Args: exactArgs("URI"),
	}
	yes := yesFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := a.confirm(*yes, "Delete resource "+args[0]+"?"); err != nil {
			return err
		}
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			err := s.Store.DeleteResource(ctx, args[0], audit.Event{Type: audit.ResourceDeleted})
			if err == nil {
				_, err = fmt.Fprintf(a.stdout, "resource %s is deleted\n", args[0])
			}
			return operatorError(err, "resource "+args[0])
		})
	}
	return cmd
}
