// Package grant decides what a token request gets: it has one handler per grant type. A handler checks the request in
// the order of its RFC, consumes the code or token and returns the scopes, audience and lifetime of the tokens. Client
// authentication, the rate limits of clients, signing and the response are left to package oauth.
package grant

import (
	"context"
	"net/http"
	"net/url"
	"time"

	"gatehouse/oauth/granttype"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// Request is a token request (RFC 6749 §3.2), parsed once.
type Request struct {
	GrantType string
	Scope     string          // as sent
	Resources []string        // as sent (RFC 8707 §2)
	Form      url.Values      // all parameters, including those specific to the grant type
	Client    *storage.Client // authenticated
}

// Result is what the client gets.
type Result struct {
	Subject      string        // the ID of the user, or of the client when there is no user
	Grant        storage.Grant // of the user; empty with client credentials
	Audience     []string
	Scopes       []string
	TTL          time.Duration // of the access token, in whole seconds
	RefreshToken string        // empty: none

	// Recorded reports whether the transaction of a state change has written the audit row of the token.
	Recorded    bool
	AuditDetail map[string]any // of the audit row that is still to be written
}

// HasUser reports whether the tokens are for a user.
func (r *Result) HasUser() bool { return r.Grant.ID != "" }

// Handler serves one grant type.
type Handler interface {
	// Authorize returns the tokens to issue. A refusal is a *protocol.Error; any other error is a fault of the server.
	Authorize(ctx context.Context, request *Request) (*Result, error)
}

// ParseRequest reads the form of a token request strictly. It returns unsupported_grant_type unless the grant type is
// supported. The client is not authenticated yet.
func ParseRequest(r *http.Request) (*Request, error) {
	form, err := params.Form(r)
	if err != nil {
		return nil, err
	}
	grantType := form.Get("grant_type")
	switch {
	case grantType == "":
		return nil, protocol.NewError(protocol.InvalidRequest, "grant_type is missing.")
	case !granttype.IsSupported(grantType):
		return nil, protocol.NewError(protocol.UnsupportedGrantType,
			"grant_type is not supported; the metadata lists the supported ones.")
	}
	reqevent.FromContext(r.Context()).GrantType = grantType
	if err := params.CheckListLengths(form); err != nil {
		return nil, err
	}
	return &Request{GrantType: grantType, Scope: form.Get("scope"), Resources: form["resource"], Form: form}, nil
}

// Lifetimes are the default lifetimes of tokens. A client can have others.
type Lifetimes struct {
	AccessToken  time.Duration
	RefreshIdle  time.Duration // since the last use
	RefreshMax   time.Duration // since the authorization
	RefreshGrace time.Duration // in which a rotated refresh token can be retried; 0: none
}

// accessToken returns the lifetime of the client's access tokens, in whole seconds.
func (l Lifetimes) accessToken(c *storage.Client) time.Duration {
	return valueOr(c.AccessTokenTTL, l.AccessToken.Truncate(time.Second))
}

func (l Lifetimes) refreshIdle(c *storage.Client) time.Duration {
	return valueOr(c.RefreshIdleTTL, l.RefreshIdle)
}

func (l Lifetimes) refreshMax(c *storage.Client) time.Duration {
	return valueOr(c.RefreshMaxTTL, l.RefreshMax)
}

func (l Lifetimes) refreshGrace(c *storage.Client) time.Duration {
	return valueOr(c.RefreshGrace, l.RefreshGrace)
}

func valueOr(d *time.Duration, otherwise time.Duration) time.Duration {
	if d != nil {
		return *d
	}
	return otherwise
}
