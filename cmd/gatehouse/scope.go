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
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/audit"
)

func (a *app) scopeCommand() *cobra.Command {
	create := &cobra.Command{
		Use: "create NAME", Short: "Register a scope",
		Long:    "Register a scope with the words that people read when an app asks for it.",
		Example: "  gatehouse scope create notes.read --description 'Read your notes'",
		Args:    exactArgs("NAME"),
	}
	description := create.Flags().String("description", "", "what it lets an app do, in plain words")
	jsonFlag(create)
	create.RunE = func(cmd *cobra.Command, args []string) error {
		if !client.IsValidScope(args[0]) {
			return usageError{errors.New("a scope has 1 to 100 printable ASCII characters, without space, \" and \\")}
		}
		if err := checkName("--description", *description); err != nil {
			return err
		}
		if *description == "" {
			*description = args[0]
			fmt.Fprintln(a.stderr, "gatehouse: people read the description when an app asks for the scope; without --description they see only its name")
		}
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			v := storage.Scope{Name: args[0], Description: *description, CreatedAt: s.Store.Now()}
			if err := s.Store.CreateScope(ctx, v, audit.Event{Type: audit.ScopeCreated}); err != nil {
				return operatorError(err, "scope "+args[0])
			}
			return a.printJSON(v)
		})
	}
	update := &cobra.Command{Use: "update NAME --description TEXT", Short: "Change the words of a scope", Args: exactArgs("NAME")}
	words := update.Flags().String("description", "", "what it lets an app do, in plain words")
	update.RunE = func(cmd *cobra.Command, args []string) error {
		if *words == "" {
			return usageError{errors.New("--description is required")}
		}
		if err := checkName("--description", *words); err != nil {
			return err
		}
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			err := s.Store.UpdateScope(ctx, args[0], *words, audit.Event{Type: audit.ScopeUpdated})
			if err == nil {
				_, err = fmt.Fprintf(a.stdout, "scope %s is updated\n", args[0])
			}
			return operatorError(err, "scope "+args[0])
		})
	}
	list := &cobra.Command{Use: "list", Short: "List scopes", Args: exactArgs()}
	asJSON := jsonFlag(list)
	list.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			known, err := s.Store.Scopes(ctx)
			if err != nil {
				return err
			}
			all := []storage.Scope{}
			var rows [][]string
			for _, name := range slices.Sorted(maps.Keys(known)) {
				all = append(all, known[name])
				rows = append(rows, []string{name, known[name].Description})
			}
			if *asJSON {
				return a.printJSON(all)
			}
			return a.table("there are no scopes", []string{"name", "description"}, rows)
		})
	}
	remove := &cobra.Command{
		Use: "delete NAME", Short: "Delete a scope", Args: exactArgs("NAME"),
		Long: "Delete a scope. No new token has it; those that are out keep it until they expire. A scope that clients or resources still name\n" +
			"is refused, for they would get invalid_scope; --force deletes it all the same.",
	}
	force := remove.Flags().Bool("force", false, "also when clients or resources name it")
	yes := yesFlag(remove)
	remove.RunE = func(cmd *cobra.Command, args []string) error {
		if slices.Contains(protocol.StandardScopes(), args[0]) {
			return usageError{fmt.Errorf("scope %s is part of OpenID Connect and cannot be deleted; take it from clients with `gatehouse client update`", args[0])}
		}
		if err := a.confirm(*yes, "Delete scope "+args[0]+"?"); err != nil {
			return err
		}
		return a.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			if users, err := scopeUsers(ctx, s, args[0]); err != nil || len(users) > 0 && !*force {
				return errors.Join(err, fmt.Errorf("scope %s is still named by %s; take it from them first, or use --force", args[0], strings.Join(users, ", ")))
			}
			err := s.Store.DeleteScope(ctx, args[0], audit.Event{Type: audit.ScopeDeleted})
			if err == nil {
				_, err = fmt.Fprintf(a.stdout, "scope %s is deleted\n", args[0])
			}
			return operatorError(err, "scope "+args[0])
		})
	}
	return a.group("scope", "Manage scopes", "", create, update, list, remove)
}

// scopeUsers lists the clients and resources that name a scope.
func scopeUsers(ctx context.Context, s *server.Server, name string) (users []string, err error) {
	resources, err := s.Store.Resources(ctx)
	if err != nil {
		return nil, err
	}
	for _, id := range slices.Sorted(maps.Keys(resources)) {
		if resources[id].Scopes.Has(name) {
			users = append(users, "resource "+id)
		}
	}
	err = eachClient(ctx, s.Store, func(c storage.Client) error {
		if c.Scopes.Has(name) {
			users = append(users, "client "+c.ID+" ("+c.Name+")")
		}
		return nil
	})
	return users, err
}

// eachClient calls fn for every client, by id.
func eachClient(ctx context.Context, store *storage.Store, fn func(c storage.Client) error) error {
	const page = 1000
	for after := ""; ; {
		clients, err := store.Clients(ctx, after, page)
		if err != nil {
			return err
		}
		for _, c := range clients {
			if err := fn(c); err != nil {
				return err
			}
			after = c.ID
		}
		if len(clients) < page {
			return nil
		}
	}
}
