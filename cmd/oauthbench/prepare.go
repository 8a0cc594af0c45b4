package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"strings"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/cmd/oauthbench/bench"
	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/oauth/client"
	"gatehouse/oauth/credential"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

const prepareHelp = `Create a service, an app and a user in the database of a Gatehouse and print them, with their
secrets, as a profile for oauthbench. The settings come from the environment and must be those of the server: the
profile has GATEHOUSE_ISSUER.

Remove them afterwards with "gatehouse client delete ID" and "gatehouse user delete USER", with the names in the
profile, and "gatehouse scope delete bench". The audit rows of the measurements stay, like all others.
`

// prepare creates what the workloads need and prints the profile.
func (p *program) prepare(ctx context.Context, args []string) error {
	if err := p.parseFlags(flag.NewFlagSet("oauthbench prepare", flag.ContinueOnError), args, prepareHelp); err != nil {
		return err
	}
	cfg, _, err := config.Load(p.getenv, nil)
	if err != nil {
		return err
	}
	ctx = reqevent.NewContext(ctx, &reqevent.Event{Actor: "cli:oauthbench"})
	notice := func(message string) { fmt.Fprintln(p.stderr, "oauthbench: "+message) }
	s, err := server.Open(ctx, server.Options{Config: cfg, Notice: notice})
	if err != nil {
		return err
	}
	profile, err := createProfile(ctx, s)
	if err = errors.Join(err, s.Close(ctx)); err != nil {
		return err
	}
	return p.printJSON(profile)
}

func createProfile(ctx context.Context, s *server.Server) (bench.Profile, error) {
	name := "bench-" + strings.ToLower(credential.Random(8))
	p := bench.Profile{Issuer: s.Config.Issuer, User: bench.User{Username: name, Password: credential.Random(20)}}
	_, err := s.Admin.CreateScope(ctx, "bench", "Measure this server")
	if err != nil && !errors.Is(err, storage.ErrConflict) {
		return p, err
	}
	if _, err := s.Admin.CreateUser(ctx, identity.NewUser{
		Username: name, Email: name + "@example.com", Password: p.User.Password,
	}); err != nil {
		return p, err
	}
	service, _, err := s.Admin.CreateClient(ctx, client.Metadata{
		ClientName: "Bench service", GrantTypes: client.List{"client_credentials"}, Scope: client.ScopeList{"bench"},
	})
	if err != nil {
		return p, err
	}
	app, _, err := s.Admin.CreateClient(ctx, client.Metadata{
		ClientName: "Bench app", RedirectURIs: client.List{"https://bench.invalid/callback"},
		GrantTypes: client.List{"authorization_code", "refresh_token"},
		Scope:      client.ScopeList{"openid", "offline_access", "bench"}, IDTokenAlg: "ES256",
	})
	if err != nil {
		return p, err
	}
	p.Service = bench.Client{ID: service.ClientID, Secret: service.ClientSecret, Scope: "bench"}
	p.App = bench.Client{
		ID: app.ClientID, Secret: app.ClientSecret, Scope: "openid offline_access bench",
		RefreshScope: "offline_access bench", RedirectURI: "https://bench.invalid/callback",
	}
	return p, nil
}
