package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"
	"time"
)

// driver knows a server by its metadata.
type driver struct {
	profile  Profile
	metadata metadata
	at       string // where the metadata is
}

type metadata struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	Introspection string `json:"introspection_endpoint"`
	Revocation    string `json:"revocation_endpoint"`
	JWKS          string `json:"jwks_uri"`
}

// caller is one connection, with cookies of its own.
type caller struct {
	*driver

	transport *http.Transport
	http      *http.Client
}

// requestTimeout ends a request that a server never answers.
const requestTimeout = 30 * time.Second

func newDriver(ctx context.Context, p Profile) (*driver, error) {
	d := &driver{profile: p}
	issuer, err := url.Parse(p.Issuer)
	if err != nil || issuer.Host == "" {
		return nil, fmt.Errorf("%q is not an issuer URL", p.Issuer)
	}
	path := strings.TrimSuffix(issuer.Path, "/")
	origin := issuer.Scheme + "://" + issuer.Host
	c := d.newCaller()
	defer c.transport.CloseIdleConnections()
	var errs []error
	for _, at := range []string{origin + path + "/.well-known/openid-configuration", origin + "/.well-known/oauth-authorization-server" + path} {
		body, err := c.get(ctx, at)
		if err == nil {
			err = json.Unmarshal(body, &d.metadata)
		}
		if err == nil && d.metadata.Token == "" {
			err = errors.New("it names no token_endpoint")
		}
		if err == nil {
			d.at = at
			return d, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", at, err))
	}
	return nil, fmt.Errorf("no metadata was found: %w", errors.Join(errs...))
}

func (d *driver) newCaller() *caller {
	transport := &http.Transport{MaxConnsPerHost: 1, MaxIdleConnsPerHost: 1, DisableCompression: true, ForceAttemptHTTP2: false, WriteBufferSize: 4 << 10, ReadBufferSize: 4 << 10}
	jar, _ := cookiejar.New(nil) // never fails
	return &caller{driver: d, transport: transport, http: &http.Client{
		Transport: transport, Jar: jar, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// do sends a request and reads the whole answer, so that the connection can be used again.
func (c *caller) do(r *http.Request) (*http.Response, []byte, error) {
	res, err := c.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	return res, body, errors.Join(err, res.Body.Close())
}

func (c *caller) get(ctx context.Context, address string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	return c.ok(r)
}

// post sends a form as a client.
func (c *caller) post(ctx context.Context, endpoint string, as Client, form url.Values) ([]byte, error) {
	if endpoint == "" {
		return nil, errors.New("the metadata does not name the endpoint")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(as.ID), url.QueryEscape(as.Secret)) // RFC 6749 §2.3.1
	return c.ok(r)
}

func (c *caller) ok(r *http.Request) ([]byte, error) {
	res, body, err := c.do(r) //nolint:bodyclose // do closes it
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, refused(r, res, body)
	}
	return body, nil
}

// errLimited is a server that answers 429 (RFC 6585 §4): how fast it would be is not to be learnt from it.
var errLimited = errors.New("429, it limits its callers")

// refused is the error of an answer that is not what was asked for.
func refused(r *http.Request, res *http.Response, body []byte) error {
	if res.StatusCode == http.StatusTooManyRequests {
		policy := res.Header.Get("RateLimit-Policy")
		if policy != "" {
			policy = " (" + policy + ")"
		}
		return fmt.Errorf("%s %s: %w%s; measure Gatehouse with GATEHOUSE_RATE_LIMITS=off, or with limits wide enough", r.Method, r.URL.Path, errLimited, policy)
	}
	return fmt.Errorf("%s %s: %d %.200s", r.Method, r.URL.Path, res.StatusCode, body)
}

// tokens is what a token endpoint answers.
type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func (c *caller) token(ctx context.Context, as Client, form url.Values) (out tokens, err error) {
	body, err := c.post(ctx, c.metadata.Token, as, form)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(body, &out); err != nil || out.Access == "" {
		return out, fmt.Errorf("no access token in %.200s", body)
	}
	return out, nil
}
