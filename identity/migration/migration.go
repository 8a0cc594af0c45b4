// Package migration checks names and passwords at an old server, whose users move to Gatehouse at their first sign-in.
// It decides how each kind of server is called and what its response means, and sends passwords to the configured
// server only: verified by TLS, without redirects, within a timeout and a maximum size. For which names the old server
// is called, and what becomes of its users, is decided by package identity.
package migration

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"gatehouse/storage"
)

// The kinds of old servers.
const (
	KindPassword = "password" // a token endpoint with the resource owner password credentials grant
	KindWebhook  = "webhook"
)

// ErrIncorrect is returned when the old server has no such user, or the password is incorrect.
var ErrIncorrect = errors.New("incorrect name or password at the old server")

// maxResponse is the maximum size of a response.
const maxResponse = 64 << 10 // bytes

// User is a user of the old server whose password is correct.
type User struct {
	ID                    string // that never changes
	Username, Email, Name string
	EmailVerified         bool
	Profile               storage.Profile
	Groups                []string
}

// Server is an old server.
type Server interface {
	// Authenticate returns the user with a name and password, or ErrIncorrect. Any other error means that the server
	// could not decide.
	Authenticate(ctx context.Context, name, password string) (User, error)
}

// Options specify an old server.
type Options struct {
	Kind        string
	URL         string         // of the token endpoint, webhook or directory
	UserinfoURL string         // of the userinfo endpoint, with KindPassword
	ClientID    string         // with KindPassword; with KindLDAP the DN of an entry that may search
	Secret      string         // of the client or entry, or the bearer token of the webhook
	Timeout     time.Duration  // of one sign-in
	RootCAs     *x509.CertPool // nil: those of the system
	Base        string         // with KindLDAP: the DN below which users are
	Filter      string         // with KindLDAP: of an entry with the name %s
	IDAttribute string         // with KindLDAP: LDAPEntryUUID or LDAPObjectGUID
}

// New returns the client of an old server.
func New(o Options) (Server, error) {
	h := httpServer{options: o, client: &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12},
			ForceAttemptHTTP2:   true,
			MaxIdleConnsPerHost: maxIdle, IdleConnTimeout: time.Minute, MaxResponseHeaderBytes: maxResponse,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
	switch o.Kind {
	case KindPassword:
		return passwordGrant{h}, nil
	case KindWebhook:
		return webhook{h}, nil
	case KindLDAP:
		return newDirectory(o)
	}
	return nil, fmt.Errorf("the kind %q of old servers is not supported", o.Kind)
}

// maxIdle is how many connections stay open.
const maxIdle = 16

// httpServer sends requests to an old server.
type httpServer struct {
	options Options
	client  *http.Client
}

// do sends a request and returns the status and body of the response. Errors have no more of the request than its URL.
func (h httpServer) do(r *http.Request) (status int, body []byte, err error) {
	r.Header.Set("Accept", "application/json")
	response, err := h.client.Do(r)
	if err != nil {
		return 0, nil, err
	}
	defer func() { _ = response.Body.Close() }() // it was read
	if body, err = io.ReadAll(io.LimitReader(response.Body, maxResponse+1)); err != nil {
		return 0, nil, err
	}
	if len(body) > maxResponse {
		return 0, nil, fmt.Errorf("the response of the old server is larger than %d bytes", maxResponse)
	}
	return response.StatusCode, body, nil
}

// statusError is the error of a response that does not decide whether the password is correct.
func statusError(what string, status int, code string) error {
	if code != "" {
		return fmt.Errorf("the %s of the old server returned status %d with the error %.100q", what, status, code)
	}
	return fmt.Errorf("the %s of the old server returned status %d", what, status)
}
