package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"gatehouse/cmd/gatehouse/sample"
	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/credential"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// devData is what `gatehouse dev` made and must know at its next start. It is in dev.json, readable by its owner alone.
type devData struct {
	Username      string `json:"username"`
	Password      string `json:"password"`
	AppID         string `json:"app_client_id"`
	AppSecret     string `json:"app_client_secret"`
	MachineID     string `json:"machine_client_id"`
	MachineSecret string `json:"machine_client_secret"`
}

const devFile = "dev.json"

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func (a *app) devCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Start everything on this machine, with a sample app to sign in to",
		Long: "Start the server for development, with a demo person, a demo machine client and a sample third-party app with a small API.\n" +
			"It keeps its data in the folder of the database and can be started again. It listens on loopback only and refuses requests\n" +
			"under any other name than the issuer's. It refuses a database that it did not create.",
		Args: exactly(),
	}
	sampleListen := cmd.Flags().String("sample-listen", "127.0.0.1:8090", "address of the sample app")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if a.getenv("GATEHOUSE_ISSUER") == "" && !cmd.Flags().Changed("issuer") {
			// Another port means another issuer, or nothing that is printed below would work.
			listen := a.getenv("GATEHOUSE_LISTEN")
			if f := cmd.Flags().Lookup("listen"); f.Changed || listen == "" {
				listen = f.Value.String()
			}
			if _, port, err := net.SplitHostPort(listen); err == nil {
				if err := cmd.Flags().Set("issuer", httpURL(net.JoinHostPort("localhost", port))); err != nil {
					return err
				}
			}
		}
		cfg, err := a.databaseSettings(cmd, func(w string) { fmt.Fprintln(a.stderr, "warning: "+w) })
		if err != nil {
			return err
		}
		for name, address := range map[string]string{"--listen": cfg.Listen, "--sample-listen": *sampleListen, "--admin-listen": cfg.AdminListen} {
			if address != "" && !loopbackAddress(address) {
				return usageError{fmt.Errorf("%s %s is reachable from other machines; dev listens on loopback only, `gatehouse serve` is for more", name, address)}
			}
		}
		if host := cfg.IssuerURL().Hostname(); host != "localhost" && !loopbackAddress(net.JoinHostPort(host, "0")) {
			return usageError{fmt.Errorf("the issuer %s is not on loopback; `gatehouse serve` is for that", cfg.Issuer)}
		}
		if a.getenv("GATEHOUSE_LOG_LEVEL") == "" && !cmd.Flags().Changed("log-level") {
			cfg.LogLevel = slog.LevelWarn // the page below is what there is to read; --log-level info shows every request
		}
		log, end := a.logger(cfg)
		defer end()
		cfg.FetchAllowHosts = append(cfg.FetchAllowHosts, *sampleListen) // the sample app takes logouts
		ctx := reqevent.With(cmd.Context(), &reqevent.Event{Actor: operator()})
		var data devData
		tell := func(text string) { fmt.Fprintln(a.stderr, "gatehouse: "+text) }
		s, err := openSystemAfter(ctx, cfg, log, true, tell, func(store *storage.Store) error {
			var err error
			if data, err = readDevData(cfg); err != nil {
				return err
			}
			err = store.MarkDevDatabase(ctx, data.AppID, data.MachineID)
			if errors.Is(err, storage.ErrNotDevDatabase) {
				return errors.New("this database was not created by `gatehouse dev`, which adds demo clients and a demo user to it; " +
					"nothing was changed. Use a separate database for dev, like --database-url sqlite:gatehouse-dev/gatehouse.db, " +
					"or run `gatehouse serve` on this one")
			}
			return err
		})
		if err != nil {
			return err
		}
		url := httpURL(*sampleListen)
		data, err = s.prepareDev(ctx, data, url)
		if err != nil {
			return errors.Join(err, s.close(ctx))
		}
		links := []sample.Link{
			{Text: "Your account: what you allowed this app, and a way to withdraw it", URL: cfg.Issuer + "/account"},
			{Text: "What the server publishes about itself", URL: cfg.Issuer + "/.well-known/openid-configuration"},
		}
		app, err := sample.New(sample.Config{
			Issuer: cfg.Issuer, ClientID: data.AppID, ClientSecret: data.AppSecret, URL: url, Links: links,
		})
		if err != nil {
			return errors.Join(err, s.close(ctx))
		}
		g, err := openGates(ctx, cfg, log, cfg.Listen, cfg.AdminListen, *sampleListen)
		if err != nil {
			return errors.Join(err, s.close(ctx))
		}
		return s.serve(ctx, log, g, serveOptions{
			getenv:     a.getenv,
			strictHost: true,
			foreground: true,
			also:       map[string]http.Handler{*sampleListen: app},
			ready: func(net.Addr) {
				fmt.Fprint(a.stdout, devPage(cfg, data, url, pathCommand(executable(), exec.LookPath)))
			},
		})
	}
	return listsSettings(cmd)
}

// executable returns the path of this program, as the user called it if the system does not report it.
func executable() string {
	path, err := os.Executable()
	if err != nil {
		return os.Args[0]
	}
	return path
}

// httpURL is the address as browsers write it: without the port that http has anyway.
func httpURL(address string) string { return "http://" + strings.TrimSuffix(address, ":80") }

func loopbackAddress(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// devDataFile is the path of dev.json: next to an embedded database.
func devDataFile(cfg config.Config) string {
	if path, ok := cfg.Embedded(); ok {
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

// prepareDev creates what is missing: the demo user, the client and API of the sample app, and the machine client.
func (s *system) prepareDev(ctx context.Context, data devData, sampleURL string) (devData, error) {
	before := data
	if err := s.devScopes(ctx, sampleURL); err != nil {
		return devData{}, err
	}
	if err := s.devPerson(ctx, &data); err != nil {
		return devData{}, err
	}
	if err := s.devClients(ctx, &data, sampleURL); err != nil {
		return devData{}, err
	}
	if data == before {
		return data, nil
	}
	b, err := json.MarshalIndent(data, "", "  ")
	if err != nil {
		return devData{}, err
	}
	file := devDataFile(s.config)
	if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
		return devData{}, err
	}
	return data, os.WriteFile(file, append(b, '\n'), 0o600)
}

func (s *system) devScopes(ctx context.Context, sampleURL string) error {
	for _, v := range []storage.Scope{
		{Name: "notes.read", Description: "Read your notes"},
		{Name: "notes.write", Description: "Write and change your notes"},
		{Name: "reports.read", Description: "Read reports"},
	} {
		v.CreatedAt = s.store.Now()
		if err := s.store.CreateScope(ctx, v, storage.Event{Type: storage.ScopeCreated}); err != nil && !errors.Is(err, storage.ErrConflict) {
			return err
		}
	}
	r := storage.Resource{Identifier: sampleURL + "/api", Name: "Sample Notes API", Scopes: storage.Strings{"notes.read", "notes.write"}, CreatedAt: s.store.Now()}
	err := s.store.CreateResource(ctx, r, storage.Event{Type: storage.ResourceCreated})
	if errors.Is(err, storage.ErrConflict) {
		return nil
	}
	return err
}

func (s *system) devPerson(ctx context.Context, data *devData) error {
	_, err := s.users.User(ctx, "demo")
	if err == nil && data.Password != "" {
		return nil
	}
	if err != nil && !errors.Is(err, storage.ErrNotFound) {
		return err
	}
	data.Username, data.Password = "demo", credential.Random(12)
	if err == nil {
		u, err := s.users.User(ctx, "demo")
		if err != nil {
			return err
		}
		return s.users.SetPassword(ctx, u, data.Password)
	}
	_, err = s.users.Create(ctx, identity.NewUser{Username: "demo", Email: "demo@example.com", Name: "Demo Person", Password: data.Password, EmailVerified: true,
		Profile: storage.Profile{GivenName: "Demo", FamilyName: "Person", Locale: "en"}})
	return err
}

func (s *system) devClients(ctx context.Context, data *devData, sampleURL string) error {
	have := func(id string) (bool, error) {
		if id == "" {
			return false, nil
		}
		c, err := s.store.Client(ctx, id)
		if errors.Is(err, storage.ErrNotFound) {
			return false, nil
		}
		return err == nil && (!c.GrantTypes.Has("authorization_code") || c.RedirectURIs.Has(sampleURL+"/callback") && c.Scopes.Has(protocol.ScopeOpenID)), err
	}
	for _, c := range []struct {
		id, secret *string
		metadata   oauth.Metadata
	}{
		{&data.AppID, &data.AppSecret, oauth.Metadata{
			ClientName: "Sample Notes", Owner: "the Gatehouse demo", ClientURI: sampleURL, RedirectURIs: oauth.List{sampleURL + "/callback"},
			GrantTypes: oauth.List{"authorization_code", "refresh_token"}, Scope: oauth.Words(sample.Scopes),
			OptionalScopes: oauth.List{"notes.write"}, PostLogoutRedirectURIs: oauth.List{sampleURL + "/"},
			BackchannelLogoutURI: sampleURL + "/backchannel-logout", InitiateLoginURI: sampleURL + "/start",
		}},
		{&data.MachineID, &data.MachineSecret, oauth.Metadata{
			ClientName: "Nightly report", GrantTypes: oauth.List{"client_credentials"}, Scope: oauth.Words{"reports.read"},
		}},
	} {
		ok, err := have(*c.id)
		if err != nil {
			return err
		}
		if ok {
			continue
		}
		info, _, err := s.oauth.CreateClient(ctx, c.metadata)
		if err != nil {
			return err
		}
		*c.id, *c.secret = info.ClientID, info.ClientSecret
	}
	return nil
}

// devDatabase returns where the commands on the page must run to find the database, and the setting that they need.
func devDatabase(cfg config.Config) string {
	path, embedded := cfg.Embedded()
	if !embedded {
		return " with the same GATEHOUSE_DATABASE_URL and GATEHOUSE_SECRET_KEY"
	}
	where := ""
	if !filepath.IsAbs(path) {
		where = " in this directory"
	}
	if cfg.DatabaseURL != config.DefaultDatabaseURL {
		where += " after: export GATEHOUSE_DATABASE_URL=" + shellQuote("sqlite:"+path)
	}
	return where
}

// shellQuote returns text as one word of a POSIX shell.
func shellQuote(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// pathCommand returns the shell command that puts the gatehouse at executable on the PATH, or "" if lookPath finds a
// gatehouse there. The program that `go run` builds is temporary: in its place comes the one of `make build`.
func pathCommand(executable string, lookPath func(string) (string, error)) string {
	if _, err := lookPath("gatehouse"); err == nil {
		return ""
	}
	if strings.Contains(executable, "go-build") {
		return `make build && export PATH="$PWD/bin:$PATH"`
	}
	return "export PATH=" + shellQuote(filepath.Dir(executable)) + `:"$PATH"`
}

// devPage returns what there is to open and to type. onPath is the command of pathCommand.
func devPage(cfg config.Config, d devData, sampleURL, onPath string) string {
	if onPath != "" {
		onPath = "  Find the command      " + onPath + "\n"
	}
	basic := "-u '" + d.MachineID + ":" + d.MachineSecret + "'"
	return strings.NewReplacer(
		"{issuer}", cfg.Issuer, "{sample}", sampleURL, "{user}", d.Username, "{password}", d.Password, "{basic}", basic,
		"{where}", devDatabase(cfg), "{path}", onPath,
	).Replace(`
Gatehouse is running for development. Stop it with Ctrl-C; it keeps its data. --log-level info shows every request.

  Sample app     {sample}
                 sign in as   {user}
                 password     {password}
  Your account   {issuer}/account
  Metadata       {issuer}/.well-known/openid-configuration

Get a machine token:

  curl -sw '\n' {basic} -d grant_type=client_credentials {issuer}/oauth2/token

Store one in TOKEN, and introspect it:

  TOKEN=$(curl -s {basic} -d grant_type=client_credentials {issuer}/oauth2/token | sed 's/.*"access_token":"\([^"]*\)".*/\1/')
  curl -sw '\n' {basic} -d token="$TOKEN" {issuer}/oauth2/introspect

Revoke it, and introspect it again:

  curl -sw '%{http_code}\n' {basic} -d token="$TOKEN" {issuer}/oauth2/revoke
  curl -sw '\n' {basic} -d token="$TOKEN" {issuer}/oauth2/introspect

What next, in a second terminal{where}:

{path}  Register an app       gatehouse client create --name 'My app' --redirect-uri http://127.0.0.1:3000/callback --scope 'openid email'
                        docs/relying-parties: what to type in common apps and libraries
  Register a service    gatehouse client create --name 'My service' --grant-type client_credentials --scope reports.read
  Register an API       gatehouse resource create http://127.0.0.1:4000 --name 'My API' --scope my.read
                        docs/apis.md: how it verifies tokens in Spring Boot, Node.js, Go and Python
  Administer            gatehouse client list, gatehouse user list, gatehouse audit list, gatehouse --help
  Go to production      docs/operate.md; start with a separate empty database, ` + "`gatehouse serve`" + ` and ` + "`gatehouse user create`" + `

`)
}
