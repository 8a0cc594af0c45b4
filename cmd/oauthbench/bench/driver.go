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

// driver sends requests to one server.
type driver struct {
	profile     Profile
	metadata    metadata
	metadataURL string
	cpu         cpuMeter
}

type metadata struct {
	Issuer        string `json:"issuer"`
	Authorization string `json:"authorization_endpoint"`
	Token         string `json:"token_endpoint"`
	Introspection string `json:"introspection_endpoint"`
	Revocation    string `json:"revocation_endpoint"`
	JWKS          string `json:"jwks_uri"`
}

// connection is one connection to the server, with its own cookies.
type connection struct {
	*driver

	transport *http.Transport
	http      *http.Client
}

// requestTimeout ends a request that gets no response.
const requestTimeout = 30 * time.Second

func newDriver(ctx context.Context, p Profile, cpu cpuMeter) (*driver, error) {
	d := &driver{profile: p, cpu: cpu}
	issuer, err := url.Parse(p.Issuer)
	if err != nil || issuer.Host == "" {
		return nil, fmt.Errorf("%q is not an issuer URL", p.Issuer)
	}
	path := strings.TrimSuffix(issuer.Path, "/")
	origin := issuer.Scheme + "://" + issuer.Host
	c := d.connect()
	defer c.transport.CloseIdleConnections()
	var errs []error
	for _, metadataURL := range []string{
		origin + path + "/.well-known/openid-configuration", origin + "/.well-known/oauth-authorization-server" + path,
	} {
		body, err := c.get(ctx, metadataURL)
		if err == nil {
			err = json.Unmarshal(body, &d.metadata)
		}
		if err == nil && d.metadata.Token == "" {
			err = errors.New("no token_endpoint")
		}
		if err == nil {
			d.metadataURL = metadataURL
			return d, nil
		}
		errs = append(errs, fmt.Errorf("%s: %w", metadataURL, err))
	}
	return nil, fmt.Errorf("no metadata found: %w", errors.Join(errs...))
}

func (d *driver) connect() *connection {
	transport := &http.Transport{
		MaxConnsPerHost: 1, MaxIdleConnsPerHost: 1, DisableCompression: true, ForceAttemptHTTP2: false,
		WriteBufferSize: 4 << 10, ReadBufferSize: 4 << 10,
	}
	jar, _ := cookiejar.New(nil) // never fails
	return &connection{driver: d, transport: transport, http: &http.Client{
		Transport: transport, Jar: jar, Timeout: requestTimeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// do sends a request and reads the complete response, so that the connection can be used again.
func (c *connection) do(r *http.Request) (*http.Response, []byte, error) {
	res, err := c.http.Do(r)
	if err != nil {
		return nil, nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	return res, body, errors.Join(err, res.Body.Close())
}

func (c *connection) get(ctx context.Context, documentURL string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, documentURL, nil)
	if err != nil {
		return nil, err
	}
	return c.doOK(r)
}

// post sends a form as a client.
func (c *connection) post(ctx context.Context, endpoint string, as Client, form url.Values) ([]byte, error) {
	if endpoint == "" {
		return nil, errors.New("the metadata does not have the endpoint")
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint, strings.NewReader(form.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.SetBasicAuth(url.QueryEscape(as.ID), url.QueryEscape(as.Secret)) // RFC 6749 §2.3.1
	return c.doOK(r)
}

// doOK sends a request and returns the body of the response, or an error unless the status is 200.
func (c *connection) doOK(r *http.Request) ([]byte, error) {
	res, body, err := c.do(r) //nolint:bodyclose // do closes it
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		return nil, responseError(r, res, body)
	}
	return body, nil
}

// errLimited is returned for a 429 response (RFC 6585 §4): the rate limits of a server do not show its speed.
var errLimited = errors.New("429, a rate limit was reached")

// responseError returns the error of an unexpected response.
func responseError(r *http.Request, res *http.Response, body []byte) error {
	if res.StatusCode == http.StatusTooManyRequests {
		policy := res.Header.Get("RateLimit-Policy")
		if policy != "" {
			policy = " (" + policy + ")"
		}
		return fmt.Errorf("%s %s: %w%s; "+
			"measure Gatehouse with GATEHOUSE_RATE_LIMITS=off or higher limits", r.Method, r.URL.Path, errLimited, policy)
	}
	return fmt.Errorf("%s %s: %d %.200s", r.Method, r.URL.Path, res.StatusCode, body)
}

// tokens is a token response.
type tokens struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

func (c *connection) token(ctx context.Context, as Client, form url.Values) (out tokens, err error) {
	body, err := c.post(ctx, c.metadata.Token, as, form)
	if err != nil {
		return out, err
	}
	if err := json.Unmarshal(body, &out); err != nil || out.Access == "" {
		return out, fmt.Errorf("no access token in %.200s", body)
	}
	return out, nil
}
