package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"gatehouse/admin"
	"gatehouse/cmd/gatehouse/sample"
	"gatehouse/cmd/gatehouse/server"
	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/oauth/client"
	"gatehouse/oauth/credential"
	"gatehouse/oauth/granttype"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// devData is what `gatehouse dev` created and needs at its next start. It is in dev.json, which only its owner can
// read.
type devData struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	SampleID      string `json:"app_client_id"`
	SampleSecret  string `json:"app_client_secret"`
	ServiceID     string `json:"machine_client_id"`
	ServiceSecret string `json:"machine_client_secret"`
}

const devFile = "dev.json"

// devDataFile returns the path of dev.json: next to an embedded database.
func devDataFile(cfg config.Config) string {
	if path, ok := cfg.SQLitePath(); ok {
		return filepath.Join(filepath.Dir(path), devFile)
	}
	return filepath.Join("gatehouse-data", devFile)
}

// readDevData reads dev.json, and returns empty data without the file.
func readDevData(cfg config.Config) (data devData, err error) {
	file := devDataFile(cfg)
	b, err := os.ReadFile(file)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) { // the latter is an error of the database's path
		return devData{}, nil
	}
	if err == nil {
		if err = json.Unmarshal(b, &data); err != nil {
			err = fmt.Errorf("%s is damaged; delete it to get new demo credentials: %w", file, err)
		}
	}
	return data, err
}

// prepareDev creates what is missing: the demo user, the client and API of the sample app, and the demo service.
func prepareDev(ctx context.Context, s *server.Server, data devData, sampleURL string) (devData, error) {
	before := data
	if err := createDevScopes(ctx, s, sampleURL); err != nil {
		return devData{}, err
	}
	if err := createDevUser(ctx, s, &data); err != nil {
		return devData{}, err
	}
	if err := createDevClients(ctx, s, &data, sampleURL); err != nil {
		return devData{}, err
	}
	if data == before {
		return data, nil
	}
	b, err := json.MarshalIndent(data, "", "  ")
	if err != nil {
		return devData{}, err
	}
	file := devDataFile(s.Config)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return devData{}, err
	}
	return data, os.WriteFile(file, append(b, '\n'), 0o600)
}

func createDevScopes(ctx context.Context, s *server.Server, sampleURL string) error {
	for _, scope := range []struct{ name, description string }{
		{"notes.read", "Read your notes"},
		{"notes.write", "Write and change your notes"},
		{"reports.read", "Read reports"},
	} {
		_, err := s.Admin.CreateScope(ctx, scope.name, scope.description)
		if err != nil && !errors.Is(err, storage.ErrConflict) {
			return err
		}
	}
	name, scopes := "Sample Notes API", []string{"notes.read", "notes.write"}
	_, _, err := s.Admin.CreateResource(ctx, sampleURL+"/api", admin.ResourceChanges{Name: &name, Scopes: &scopes})
	if errors.Is(err, storage.ErrConflict) {
		return nil
	}
	return err
}

// createDevUser creates the demo user, or gives an existing one a new password when dev.json has none.
func createDevUser(ctx context.Context, s *server.Server, data *devData) error {
	u, err := s.Admin.User(ctx, "demo")
	if err == nil && data.Password != "" {
		return nil
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	data.Username, data.Password = "demo", credential.Random(12)
	if err == nil {
		return s.Admin.SetPassword(ctx, u, data.Password)
	}
	_, err = s.Admin.CreateUser(ctx, identity.NewUser{
		Username: "demo", Email: "demo@example.com", Name: "Demo User", Password: data.Password, EmailVerified: true,
		Profile: storage.Profile{GivenName: "Demo", FamilyName: "User", Locale: "en"},
	})
	return err
}

func createDevClients(ctx context.Context, s *server.Server, data *devData, sampleURL string) error {
	for _, c := range []struct {
		id, secret *string
		metadata   client.Metadata
	}{
		{&data.SampleID, &data.SampleSecret, client.Metadata{
			ClientName: "Sample Notes", ClientURI: sampleURL, RedirectURIs: client.List{sampleURL + "/callback"},
			GrantTypes: client.List{"authorization_code", "refresh_token"}, Scope: client.ScopeList(sample.Scopes),
			OperatorMetadata: client.OperatorMetadata{
				Owner: "the Gatehouse demo", OptionalScopes: client.List{"notes.write"},
			},
			PostLogoutRedirectURIs: client.List{sampleURL + "/"},
			BackchannelLogoutURI:   sampleURL + "/backchannel-logout", InitiateLoginURI: sampleURL + "/start",
		}},
		{&data.ServiceID, &data.ServiceSecret, client.Metadata{
			ClientName: "Nightly report", GrantTypes: client.List{"client_credentials"}, Scope: client.ScopeList{"reports.read"},
		}},
	} {
		current, err := isCurrentDevClient(ctx, s.Store, *c.id, sampleURL)
		if err != nil {
			return err
		}
		if current {
			continue
		}
		info, _, err := s.Admin.CreateClient(ctx, c.metadata)
		if err != nil {
			return err
		}
		*c.id, *c.secret = info.ClientID, info.ClientSecret
	}
	return nil
}

// isCurrentDevClient reports whether the client exists and, if it is the sample app, has a redirect URI at sampleURL.
func isCurrentDevClient(ctx context.Context, store *storage.Store, id, sampleURL string) (bool, error) {
	if id == "" {
		return false, nil
	}
	c, err := store.Client(ctx, id)
	if errors.Is(err, storage.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	isService := !granttype.HasUsers(c.GrantTypes)
	return isService || c.RedirectURIs.Has(sampleURL+"/callback") && c.Scopes.Has(protocol.ScopeOpenID), nil
}
