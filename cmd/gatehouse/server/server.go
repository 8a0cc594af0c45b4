// Package server assembles Gatehouse from its settings, once for serve, dev, the commands and the tests: it opens the
// database, checks its root key, and connects users, authorization server, rate limits and pages. It also runs the
// result: listeners, TLS, log, metrics, traces and background jobs. It decides nothing about a protocol or a page.
package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"gatehouse/admin"
	"gatehouse/config"
	"gatehouse/identity"
	"gatehouse/identity/passkey"
	"gatehouse/notify"
	"gatehouse/notify/mail"
	"gatehouse/oauth"
	"gatehouse/oauth/client"
	"gatehouse/oauth/fetch"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/db"
	"gatehouse/web"
	"gatehouse/web/page"
	"gatehouse/web/selfservice"
)

// Options are what a server is assembled from.
type Options struct {
	Config  config.Config
	Version string       // of the program, for metrics and traces
	Log     *slog.Logger // nil in a command that serves nothing: it may open the database read-only
	Migrate bool         // bring a PostgreSQL schema up to date first; an embedded database always migrates itself
	// Notice receives notices for the operator; nil discards them.
	Notice func(message string)
	// CheckDatabase runs before anything in the database is changed; an error ends the start. May be nil.
	CheckDatabase func(*storage.Store) error
	// LimitClock is the clock of the counters in Redis in tests; nil: the clock of Redis.
	LimitClock func() time.Time
	// PrintMail gets the emails when there is no mail server; nil: none are sent.
	PrintMail io.Writer
	// PasswordCost is a cheap one in tests; zero: the default.
	PasswordCost identity.PasswordCost
}

// Server is an open database with everything that works on it.
type Server struct {
	Config config.Config
	Store  *storage.Store
	Users  *identity.Users
	OAuth  *oauth.Server
	Notify *notify.Sender
	Mail   *notify.Sender // nil when no emails are sent
	Admin  *admin.Admin

	mailServer   *mail.Server // nil without one
	mailRenderer *mail.Renderer

	options Options
	log     *slog.Logger
	limiter *ratelimit.Limiter
	pages   page.Options
	jobs    *jobStatus

	readMetadata func() (*passkey.Metadata, error) // nil when attestations are not requested
}

// Open opens the database of the settings, checks its schema and root key, and assembles the server on it.
func Open(ctx context.Context, o Options) (*Server, error) {
	if err := checkDatabaseMayBeCreated(o.Config); err != nil {
		return nil, err
	}
	store, err := storage.Open(ctx, storage.Options{
		URL: o.Config.DatabaseURL, Pool: o.Config.DatabasePool, Log: o.Log,
		NoStatementTimeout: o.Log == nil, ReadOnlyAllowed: o.Log == nil,
	})
	if err != nil {
		return nil, fmt.Errorf("cannot open the database: %w", err)
	}
	s, err := o.prepareAndAssemble(ctx, store)
	if err != nil {
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		return nil, errors.Join(err, store.Close(closing))
	}
	return s, nil
}

func (o Options) prepareAndAssemble(ctx context.Context, store *storage.Store) (*Server, error) {
	if o.Notice == nil {
		o.Notice = func(string) {}
	}
	if o.CheckDatabase != nil {
		if err := o.CheckDatabase(store); err != nil {
			return nil, err
		}
	}
	if o.Migrate {
		if _, err := store.Migrate(ctx); err != nil {
			return nil, err
		}
	}
	ahead, err := store.RequireSchema(ctx)
	if db.IsDenied(err) {
		return nil, fmt.Errorf("this database role may not use all tables; "+
			"as the owner of the schema run `gatehouse migrate up --grant-to ROLE`: %w", err)
	}
	if err != nil {
		return nil, err
	}
	if ahead {
		o.Notice("the database schema is newer than this version of gatehouse; " +
			"this is fine while you upgrade or roll back")
	}
	if err := useRootKey(ctx, o.Config, store, o.Notice); err != nil {
		return nil, err
	}
	return New(ctx, store, o)
}

// OpenDatabase opens the database of the settings alone, whatever its schema and root key.
func OpenDatabase(ctx context.Context, cfg config.Config) (*storage.Store, error) {
	if err := checkDatabaseMayBeCreated(cfg); err != nil {
		return nil, err
	}
	return storage.Open(ctx, storage.Options{URL: cfg.DatabaseURL, Pool: 2, ReadOnlyAllowed: true})
}

// checkDatabaseMayBeCreated refuses to create an embedded database next to the root key of another: that one was
// removed, or the path is wrong, and a new one would have no clients and no users.
func checkDatabaseMayBeCreated(cfg config.Config) error {
	path, embedded := cfg.SQLitePath()
	if !embedded {
		return nil
	}
	size := func(name string) int64 {
		info, err := os.Stat(name)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	key := KeyFile(path)
	if size(path) > 0 || size(path+"-wal") > 0 || !FileExists(key) {
		return nil
	}
	return fmt.Errorf("no database at %s, but there is a root key, %s; put a backup of the database there to "+
		"restore it; to start over with an empty database, name another directory, or move the key away if no other "+
		"database needs it", path, key)
}

// New assembles the server on a store that has its schema and root key.
func New(ctx context.Context, store *storage.Store, o Options) (*Server, error) {
	cfg := o.Config
	s := &Server{Config: cfg, Store: store, options: o, log: o.Log, jobs: newJobStatus()}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	var err error
	if s.limiter, err = ratelimit.New(ratelimit.Options{
		Rates: cfg.RateLimits, RedisURL: cfg.RedisURL, Key: store.Vault.Key("rate-limits"),
		Now: store.Now, RedisNow: o.LimitClock, Log: s.log,
	}); err != nil {
		return nil, err
	}
	if err := s.loadPages(); err != nil {
		return nil, err
	}
	s.eachIncomplete(func(tag string, missing []string) {
		s.log.Warn("messages are missing and shown in English", slog.String("language", tag),
			slog.Int("missing", len(missing)), slog.String("first", missing[0]))
	})
	if err := s.openMail(); err != nil {
		return nil, err
	}
	users := s.identityOptions()
	if users.Migration, err = oldServer(cfg.Migration); err != nil {
		return nil, errors.Join(err, s.limiter.Close())
	}
	s.Users = identity.New(store, users)
	if s.OAuth, err = oauth.New(ctx, store, s.oauthOptions()); err != nil {
		return nil, errors.Join(err, s.limiter.Close())
	}
	s.Admin = admin.New(store, s.Users, s.OAuth.Clients, s.OAuth.Keyring)
	s.Notify = &notify.Sender{
		Store: store, Log: s.log, Concurrent: notify.ConcurrentPosts,
		Kinds: map[string]notify.Kind{storage.BackchannelLogout: notify.ToClient(
			store, fetch.New(cfg.FetchAllowHosts, store.Now), "back-channel logout delivery failed", s.OAuth.Logout.Message,
		)},
	}
	return s, nil
}

// The purposes of the keys must not change: they survive a change of the root key, and data is stored under them.

func (s *Server) oauthOptions() oauth.Options {
	cfg, key := s.Config, s.Store.Vault.Key
	return oauth.Options{
		Issuer: cfg.Issuer, Environment: cfg.Environment, AccessTokenTTL: cfg.AccessTokenTTL, CodeTTL: cfg.CodeTTL,
		RefreshIdleTTL: cfg.RefreshIdleTTL, RefreshMaxTTL: cfg.RefreshMaxTTL, RefreshGrace: cfg.RefreshGrace,
		RequestTTL: cfg.RequestTTL, KeyRotationPeriod: cfg.KeyRotationPeriod, IDTokenTTL: cfg.IDTokenTTL,
		HintTTL: cfg.SessionMaxTTL,
		Registration: client.RegistrationPolicy{
			Mode: cfg.Registration, Scopes: cfg.RegistrationScopes, RequirePKCE: cfg.RegistrationRequirePKCE,
		},
		ClientDocuments: client.DocumentPolicy{Mode: cfg.ClientDocuments, Hosts: cfg.ClientDocumentHosts},
		UnverifiedUsers: cfg.ClientDocumentUnverifiedUsers,
		UILocales:       s.Languages(), FetchAllowHosts: cfg.FetchAllowHosts, Limiter: s.limiter, Log: s.options.Log,
		Keys: oauth.Keys{
			PairwiseSubjects: key("pairwise-subjects"), SessionIDs: key("sid"), Logout: key("logout"),
			RefreshSuccessor: key("refresh-successor"),
		},
		RunSecretHash: s.Users.RunSecretHash,
	}
}

// relyingParty returns the relying party of passkeys, or nil when the issuer cannot have one because its host is an IP
// address. The settings were validated.
func (s *Server) relyingParty() *passkey.RelyingParty {
	cfg := s.Config
	p, err := passkey.New(passkey.Options{
		Issuer: cfg.IssuerURL(), RPID: cfg.Passkeys.RPID, Name: cfg.Brand.Name, RelatedOrigins: cfg.Passkeys.Origins,
		AllowedAAGUIDs: cfg.Passkeys.AAGUIDs, RefuseCounter: cfg.Passkeys.RefuseCounter,
		Key: s.Store.Vault.Key("passkey"), Now: s.Store.Now, Metadata: s.metadata(),
	})
	if err != nil {
		return nil
	}
	return p
}

func (s *Server) identityOptions() identity.Options {
	cfg, key := s.Config, s.Store.Vault.Key
	return identity.Options{
		Secure: cfg.IsHTTPS(), SessionIdleTTL: cfg.SessionIdleTTL, SessionMaxTTL: cfg.SessionMaxTTL,
		BrandName:         cfg.Brand.Name,
		PasswordMinLength: cfg.PasswordMinLength, Concurrency: cfg.PasswordConcurrency, Limiter: s.limiter, Log: s.log,
		NamesLimit: cfg.RateLimits[ratelimit.SignInNames], PasswordCost: s.options.PasswordCost,
		SignInKey: key("sign-in"), DeviceKey: key("device"), FactorKey: key("factor"),
		Passkeys: s.relyingParty(),
		SelfService: identity.SelfService{
			Environment: cfg.Environment, CodeKey: key("sign-in-code"), SignUp: cfg.SignUp, SignUpDomains: cfg.SignUpDomains,
			SignInCodes: cfg.SignInCodes, DeletionGrace: cfg.UserDeletionGrace, UsernameRetention: cfg.UsernameRetention,
			TermsVersion: cfg.TermsVersion,
		},
		AdminFactor: identity.AdminFactor{
			Passkey: cfg.AdminRequiredACR == "phr", Announced: cfg.AdminFactor != "off", Since: cfg.AdminFactorSince,
		},
	}
}

// Handler returns the public endpoints and pages, as Serve serves them.
func (s *Server) Handler() (http.Handler, error) {
	registry, err := s.newRegistry()
	if err != nil {
		return nil, err
	}
	pages, err := s.newWeb(registry, nil, false)
	if err != nil {
		return nil, err
	}
	return pages.Handler(), nil
}

func (s *Server) selfServiceOptions() selfservice.Options {
	c := s.Config.Captcha
	return selfservice.Options{TermsURL: s.Config.TermsURL, Captcha: selfservice.Captcha{
		VerifyURL: c.VerifyURL, Secret: c.Secret, ScriptURL: c.ScriptURL, SiteKey: c.SiteKey, Widget: c.Widget,
		Sources: c.Sources(),
	}}
}

func (s *Server) newWeb(registry *prometheus.Registry, tracer trace.Tracer, strictHost bool) (*web.Server, error) {
	return web.New(web.Options{
		SelfService: s.selfServiceOptions(), Issuer: s.Config.IssuerURL(), FormKey: s.Store.Vault.Key("form"),
		TrustedProxies: s.Config.TrustedProxies,
		Pages:          s.pages, MaxRequests: s.Config.MaxRequests, RequestTimeout: s.Config.RequestTimeout,
		Store: s.Store, Users: s.Users, OAuth: s.OAuth, Log: s.log, Limiter: s.limiter,
		Meters: registry, Tracer: tracer, StrictHost: strictHost, Ready: s.jobs.stalled,
	})
}

// Close closes the database and the connections to Redis. Serve closes both itself.
func (s *Server) Close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(s.Store.Close(ctx), s.limiter.Close())
}

// FileExists reports whether a file or directory exists.
func FileExists(name string) bool {
	_, err := os.Stat(name) //nolint:gosec // a file next to the database that the operator chose
	return err == nil
}
