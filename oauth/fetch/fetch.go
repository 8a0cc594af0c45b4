// Package fetch gets the documents that clients only name (key sets, sector documents, logos, request objects) and posts
// what clients want to be told. It decides what may be reached: https on public addresses, looked at after the name was
// resolved and again after every redirect, so that nobody makes this server talk to its own network. What the documents
// mean is left to others.
package fetch

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	timeout      = 5 * time.Second
	maxRedirects = 3
	maxURL       = 2000
	maxAtOnce    = 128
)

// ErrRefused is returned, wrapped with the reason, for an address that must not be reached.
var ErrRefused = errors.New("refused")

// Client reaches public https servers only, and the hosts that the operator allows besides.
type Client struct {
	allow []string
	http  *http.Client
	cache *cache
	slots chan struct{} // as many requests at once as this holds
}

// New returns a client. allowHosts are names or addresses, with a port if only that one is meant, which may be private and
// plain http. now is the clock of the cache.
func New(allowHosts []string, now func() time.Time) *Client {
	c := &Client{cache: newCache(now), slots: make(chan struct{}, maxAtOnce)}
	for _, h := range allowHosts {
		c.allow = append(c.allow, strings.ToLower(h))
	}
	transport := &http.Transport{
		Proxy:                  nil, // a proxy would resolve names itself, past the guard
		DialContext:            c.dial,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, CipherSuites: TLS12CipherSuites()},
		TLSHandshakeTimeout:    timeout,
		ResponseHeaderTimeout:  timeout,
		MaxResponseHeaderBytes: 16 << 10,
		MaxIdleConns:           16,
		IdleConnTimeout:        10 * time.Second,
		ForceAttemptHTTP2:      true,
		DisableCompression:     true, // a small body cannot become a large one
	}
	c.http = &http.Client{Transport: transport, Timeout: timeout, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("%w: more than %d redirects", ErrRefused, maxRedirects)
		}
		return c.check(r.URL)
	}}
	return c
}

// TLS12CipherSuites returns the TLS 1.2 cipher suites that Gatehouse uses, as a server and when it fetches: the four
// that RFC 9325 §4.2 recommends. The suites of TLS 1.3 are not configurable.
func TLS12CipherSuites() []uint16 {
	return []uint16{
		tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
		tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	}
}

// allowed reports whether the operator vouches for the host of u.
func (c *Client) allowed(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	return slices.Contains(c.allow, strings.ToLower(host)) || slices.Contains(c.allow, strings.ToLower(strings.Trim(name, "[]")))
}

// check refuses an address by its form.
func (c *Client) check(u *url.URL) error {
	switch {
	case u.Host == "" || u.User != nil || u.Opaque != "" || len(u.String()) > maxURL || strings.ContainsFunc(u.String(), func(r rune) bool { return r <= ' ' || r > '~' }):
		return fmt.Errorf("%w: not an absolute URL of a server", ErrRefused)
	case u.Scheme == "https", u.Scheme == "http" && c.allowed(u.Host):
		return nil
	}
	return fmt.Errorf("%w: only https is fetched", ErrRefused)
}

// Check says whether an address could be fetched as far as its form tells, for the moment when it is registered.
func (c *Client) Check(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := c.check(u); err != nil {
		return err
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && !c.allowed(u.Host) {
		return public(a)
	}
	return nil
}

// dial connects, and looks at the very address that is connected to: a name that resolves differently the second time
// gains nothing.
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: timeout}
	if !c.allowed(address) {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrRefused, err)
			}
			return public(ap.Addr())
		}
	}
	return d.DialContext(ctx, network, address)
}

// globalUnicast is the part of IPv6 that public addresses are of.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// special are the ranges that are no public unicast addresses (the IANA special-purpose registries), and those that hide
// an IPv4 address in an IPv6 one.
var special = func() (out []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
		"192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24", "198.18.0.0/15", "198.51.100.0/24",
		"203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}()

// public refuses every address that is not a public one.
func public(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	if a.Is6() && !globalUnicast.Contains(a) {
		return fmt.Errorf("%w: %s is not a public address", ErrRefused, a)
	}
	for _, p := range special {
		if p.Contains(a) {
			return fmt.Errorf("%w: %s is not a public address", ErrRefused, a)
		}
	}
	if !a.IsGlobalUnicast() {
		return fmt.Errorf("%w: %s is not a public address", ErrRefused, a)
	}
	return nil
}

// Document is what was fetched.
type Document struct {
	Body []byte
	Type string // the Content-Type as it came
}

// get fetches a document of at most limit bytes, and says how long it may be kept.
func (c *Client) get(ctx context.Context, raw string, limit int64) (Document, time.Duration, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return Document{}, 0, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := c.check(u); err != nil {
		return Document{}, 0, err
	}
	u.Fragment = ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return Document{}, 0, err
	}
	req.Header.Set("User-Agent", "Gatehouse")
	res, err := c.http.Do(req)
	if err != nil {
		return Document{}, 0, err
	}
	defer func() { _ = res.Body.Close() }()
	if res.StatusCode != http.StatusOK {
		return Document{}, 0, fmt.Errorf("answered %d", res.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, limit+1))
	if err != nil {
		return Document{}, 0, err
	}
	if int64(len(body)) > limit {
		return Document{}, 0, fmt.Errorf("%w: larger than %d bytes", ErrRefused, limit)
	}
	return Document{Body: body, Type: res.Header.Get("Content-Type")}, keepFor(res.Header), nil
}

// Post sends a form and returns the status. Redirects are not followed: a form is meant for the address it was registered
// with.
func (c *Client) Post(ctx context.Context, raw string, form url.Values) (status int, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := c.check(u); err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", "Gatehouse")
	poster := *c.http
	poster.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	res, err := poster.Do(req)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 4<<10)) // so that the connection can be used again
	return res.StatusCode, res.Body.Close()
}

// IsOverloaded reports whether a fetch failed because this server has no capacity for it, or because the caller
// disconnected: an error neither of the document's server nor of anyone's credentials.
func IsOverloaded(ctx context.Context, err error) bool {
	return errors.Is(err, ErrBusy) || err != nil && ctx.Err() != nil
}
