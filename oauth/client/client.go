// Package client has the registered clients: their metadata and its validation, creation and changes by the operator,
// dynamic registration (RFC 7591, RFC 7592), client authentication (RFC 6749 §2.3, RFC 7523), and which scopes and
// resources a client may request. What an authenticated client receives is decided by the endpoints.
package client

import (
	"context"
	"errors"
	"log/slog"
	"strings"

	"gatehouse/display"
	"gatehouse/oauth/credential"
	"gatehouse/oauth/fetch"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/audit"
)

// Options are the settings of a Registry.
type Options struct {
	Issuer          string
	Environment     string // "live" or "test"
	Registration    RegistrationPolicy
	ClientDocuments DocumentPolicy
	FetchAllowHosts []string           // hosts that may be fetched although they are private or plain http
	Documents       *fetch.Client      // fetches sector documents and logos
	Limiter         *ratelimit.Limiter // nil: nothing is limited
	Log             *slog.Logger
	// RunHash calls fn, which computes the slow hash of a secret, when the memory in bytes is available. Few calls with
	// the same from, a client and a network, may wait. Nil: fn is called immediately.
	RunHash func(ctx context.Context, from string, memory int64, fn func() error) error
	// RecordFailure records a failed authentication in the audit log.
	RecordFailure func(ctx context.Context, e audit.Event)
}

// RegistrationPolicy decides who may register clients dynamically (RFC 7591) and what those clients may do.
type RegistrationPolicy struct {
	Mode        string   // off, token or open
	Scopes      []string // that such a client may request
	RequirePKCE bool     // also of confidential clients
}

// The modes of dynamic registration; any other is off.
const (
	registrationToken = "token" // with an initial access token
	registrationOpen  = "open"
)

// IsEnabled reports whether clients can register dynamically.
func (p RegistrationPolicy) IsEnabled() bool {
	return p.Mode == registrationToken || p.Mode == registrationOpen
}

// Registry creates, changes and authenticates the clients of one store.
type Registry struct {
	store   *storage.Store
	options Options
	format  credential.Format
	// jwks has separate capacity, so that documents that pages and authorization requests fetch never prevent a client
	// from authenticating.
	jwks *fetch.Client
	// clientDocuments has separate capacity, because documents are fetched before a user has signed in.
	clientDocuments *fetch.Client
	fetches         fetches
	slow            *slowSecrets
}

// New returns the registry of a store.
func New(store *storage.Store, o Options) *Registry {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.RunHash == nil {
		o.RunHash = func(_ context.Context, _ string, _ int64, fn func() error) error { return fn() }
	}
	return &Registry{
		store: store, options: o,
		format: credential.Format{Env: o.Environment}, jwks: fetch.New(o.FetchAllowHosts, store.Now),
		clientDocuments: fetch.New(o.FetchAllowHosts, store.Now), fetches: fetches{running: map[string]*documentFetch{}},
		slow: newSlowSecrets(),
	}
}

// maxID is the size of a client_id that is not a URL: what Keycloak allows, so that imported clients keep theirs.
const maxID = 255 // bytes

// IsWellFormedID reports whether id has the form of an ID that this server generates, or of the URL of a document:
// short, printable ASCII, and not a credential that was sent in the wrong parameter. Anything else must reach neither
// the database nor a limit or a log.
func IsWellFormedID(id string) bool {
	limit := maxID
	if isURL(id) {
		limit = maxDocumentURL
	}
	return id != "" && !strings.HasPrefix(id, credential.Prefix) && len(id) <= limit && display.IsVisibleASCII(id)
}

// UnusableCause returns the reason, for the log, why an endpoint handles a client like an unknown one. c and err are
// the result of storage.Store.Client. It returns nil when the client can be used or could not be read.
func UnusableCause(c *storage.Client, err error) error {
	switch {
	case errors.Is(err, storage.ErrNotFound):
		return errors.New("unknown client")
	case err == nil && c.DisabledAt != nil:
		return errors.New("the client is disabled")
	}
	return nil
}
