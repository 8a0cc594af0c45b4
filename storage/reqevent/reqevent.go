// Package reqevent is the request event: one record per HTTP request or command, carried by pointer in the context.
// Handlers fill it; audit rows, the request log, metrics and traces read it. Only the goroutine that serves the
// request writes it. The package decides which facts of a request exist, and nothing about how they are used.
package reqevent

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"net/netip"
	"strings"
	"time"
)

// Event describes one request or command.
type Event struct {
	RequestID string
	Actor     string // "user:…", "cli:…", "system"; empty for a protocol request, whose actor is its client
	Address   string
	UserAgent string

	Route    string // the pattern of the route, never the path
	BodySize int    // bytes of the body that were read before the handler
	ClientID string // of the client, once it is known to be registered
	// ClaimedClientID is the client_id as the caller sent it, before authentication. It may be anything.
	ClaimedClientID string
	UserID          string
	GrantType       string
	ErrorCode       string
	FailureEvent    string // the type of the audit event for the failure, such as client.authentication_failed
	Limit           string // the rate limit that refused the request
	Status          int
	Duration        time.Duration
	// The language of the pages, and what decides it besides the cookie and header of the browser.
	Language, UserLocale, UILocales string
	UserZone                        string // of the profile of the user who is signed in, such as Europe/Paris

	InactiveReason string // why an introspected token is not active, for the log only
	Err            error  // why the request failed, for the log only
}

// NewRequestID returns a random RequestID.
func NewRequestID() string {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails: the runtime ends the program instead
	return hex.EncodeToString(id[:])
}

// SetUser makes the user the actor of the request, or an anonymous caller when id is empty.
func (e *Event) SetUser(id string) {
	e.UserID, e.Actor = id, "anonymous"
	if id != "" {
		e.Actor = "user:" + id
	}
}

type key struct{}

// NewContext returns a context that carries e. It makes the strings of e that come from headers valid text of bounded
// length: PostgreSQL would refuse other text, and with the audit row also the change in the same transaction.
func NewContext(ctx context.Context, e *Event) context.Context {
	e.UserAgent, e.Address = CleanString(e.UserAgent), CleanString(e.Address)
	return context.WithValue(ctx, key{}, e)
}

// FromContext returns the event of the context, or a new one of the system.
func FromContext(ctx context.Context) *Event {
	if e, ok := ctx.Value(key{}).(*Event); ok {
		return e
	}
	return &Event{Actor: "system"}
}

// Network returns the rate-limit key of the address: an IPv4 address, or the /64 of an IPv6 address.
func (e *Event) Network() string {
	a, err := netip.ParseAddr(e.Address)
	if err != nil || a.Is4() {
		return e.Address
	}
	p, err := a.Prefix(64)
	if err != nil {
		return e.Address
	}
	return p.String()
}

// CleanString returns s as valid UTF-8 of at most 256 bytes without NUL, which every database accepts.
func CleanString(s string) string {
	if len(s) > 256 {
		s = s[:256]
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "?"), "\x00", "?")
}
