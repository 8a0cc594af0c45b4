package oauth

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"time"

	"github.com/ory/fosite"

	"gatehouse/oauth/claims"
	"gatehouse/oauth/client"
	"gatehouse/oauth/credential"
	"gatehouse/oauth/fetch"
	"gatehouse/oauth/keyring"
	"gatehouse/oauth/logout"
	"gatehouse/oauth/params"
	"gatehouse/ratelimit"
	"gatehouse/storage"
)

// Options are the settings of this package.
type Options struct {
	Issuer            string
	Environment       string // "live" or "test"
	AccessTokenTTL    time.Duration
	CodeTTL           time.Duration
	RefreshIdleTTL    time.Duration
	RefreshMaxTTL     time.Duration
	RefreshGrace      time.Duration
	RequestTTL        time.Duration
	KeyRotationPeriod time.Duration
	IDTokenTTL        time.Duration
	HintTTL           time.Duration // how long an ID token must be recognized after its key was replaced
	Registration      client.RegistrationPolicy
	ClientDocuments   client.DocumentPolicy
	UnverifiedUsers   int                // how many users confirm that they trust an unlisted document
	FetchAllowHosts   []string           // hosts that may be fetched from although private or plain http
	UILocales         []string           // languages of the pages (OIDC Discovery §3)
	Limiter           *ratelimit.Limiter // nil: nothing is limited
	Log               *slog.Logger       // alerts, discarded when nil
	Keys              Keys
	// RunSecretHash bounds the computation of slow hashes of client secrets; see client.Options.
	RunSecretHash func(ctx context.Context, from string, memory int64, fn func() error) error
}

// Keys are keys that must survive a change of the root key.
type Keys struct {
	PairwiseSubjects []byte
	SessionIDs       []byte // of the sid of browser sessions
	Logout           []byte // seals logout requests in URLs
	RefreshSuccessor []byte // salt of the keys that seal the successors of refresh tokens
}

// Server is the authorization server on one store.
type Server struct {
	Keyring *keyring.Keyring
	Clients *client.Registry
	Claims  *claims.Provider
	Logout  *logout.Provider

	options  Options
	store    *storage.Store
	format   credential.Format
	fosite   *fosite.Fosite
	metadata metadata
	fetch    *fetch.Client // documents of clients, except their JWKS
}

// New returns a server. The store must have its schema and root key; the first signing keys are created if there are
// none.
func New(ctx context.Context, store *storage.Store, o Options) (*Server, error) {
	for _, key := range [][]byte{o.Keys.PairwiseSubjects, o.Keys.SessionIDs, o.Keys.Logout, o.Keys.RefreshSuccessor} {
		if len(key) == 0 {
			return nil, errors.New("a key of the authorization server is missing")
		}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{options: o, store: store, format: credential.Format{Env: o.Environment}}
	var err error
	s.Keyring, err = keyring.New(ctx, store, keyring.Options{
		Issuer: o.Issuer, RotationPeriod: o.KeyRotationPeriod, MaxTokenAge: max(o.AccessTokenTTL, o.IDTokenTTL, o.HintTTL),
	})
	if err != nil {
		return nil, err
	}
	s.fetch = fetch.New(o.FetchAllowHosts, store.Now)
	s.Clients = client.New(store, client.Options{
		Issuer: o.Issuer, Environment: o.Environment, Registration: o.Registration, FetchAllowHosts: o.FetchAllowHosts,
		ClientDocuments: o.ClientDocuments, Documents: s.fetch, Limiter: o.Limiter, Log: o.Log,
		RecordFailure: s.recordFailure, RunHash: o.RunSecretHash,
	})
	s.Claims = claims.New(store, s.Keyring, claims.Options{
		Issuer: o.Issuer, IDTokenTTL: o.IDTokenTTL, PairwiseKey: o.Keys.PairwiseSubjects, SessionIDKey: o.Keys.SessionIDs,
		Log: o.Log,
	})
	s.Logout = logout.New(o.Issuer, store, s.Keyring, s.Clients, s.Claims, o.Keys.Logout)
	s.fosite = newFosite(s.grantHandlers(), codeIssuer{store, s.format})
	return s, nil
}

// Issuer returns the issuer URL.
func (s *Server) Issuer() string { return s.options.Issuer }

// readClientRequest reads the form of a request from a client and authenticates the client.
func (s *Server) readClientRequest(r *http.Request) (*storage.Client, url.Values, error) {
	form, err := params.Form(r)
	if err != nil {
		return nil, nil, err
	}
	if err := params.CheckListLengths(form); err != nil {
		return nil, nil, err
	}
	c, err := s.Clients.Authenticate(r.Context(), r, form)
	return c, form, err
}
