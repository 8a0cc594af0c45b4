// Package fetch fetches the documents that clients register or send by URL (JWKS, sector documents, logos, request
// objects) and posts logout tokens. It decides which servers may be reached: https on public addresses, checked after
// name resolution and after every redirect, so that no client can make this server send requests to its own network. It
// caches documents. Their meaning is left to the callers.
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
	"strconv"
	"strings"
	"syscall"
	"time"

	"gatehouse/display"
)

const (
	timeout      = 5 * time.Second
	maxRedirects = 3
	maxURL       = 2000
	maxFetches   = 128 // concurrent
)

// ErrRefused is returned, wrapped with the reason, for a URL that must not be fetched or a document that is too large.
var ErrRefused = errors.New("refused")

// ErrTooLarge is returned, wrapped, for a document that is larger than the limit. It is an ErrRefused.
var ErrTooLarge = fmt.Errorf("%w: too large", ErrRefused)

// StatusError is returned for a response with another status than 200.
type StatusError int

// Error implements error.
func (e StatusError) Error() string { return "status " + strconv.Itoa(int(e)) }

// Client sends requests to public https servers and the hosts that the operator allows.
type Client struct {
	allow []string
	http  *http.Client
	cache *cache
	slots chan struct{} // a semaphore of maxFetches
}

// New returns a Client. allowHosts lists host names and IP addresses that may be private and use plain http; an entry
// with a port allows only that port. now is the clock of the cache.
func New(allowHosts []string, now func() time.Time) *Client {
	c := &Client{cache: newCache(now), slots: make(chan struct{}, maxFetches)}
	for _, h := range allowHosts {
		c.allow = append(c.allow, strings.ToLower(h))
	}
	transport := &http.Transport{
		Proxy:                  nil, // a proxy would resolve names without the check in dial
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
	c.http = &http.Client{
		Transport: transport,
		Timeout:   timeout,
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) > maxRedirects {
				return fmt.Errorf("%w: more than %d redirects", ErrRefused, maxRedirects)
			}
			return c.checkURL(r.URL)
		},
	}
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

// isAllowed reports whether the operator allows a host, with or without a port.
func (c *Client) isAllowed(host string) bool {
	name, _, err := net.SplitHostPort(host)
	if err != nil {
		name = host
	}
	return slices.Contains(c.allow, strings.ToLower(host)) ||
		slices.Contains(c.allow, strings.ToLower(strings.Trim(name, "[]")))
}

// checkURL returns ErrRefused for a URL that must not be fetched from any address.
func (c *Client) checkURL(u *url.URL) error {
	switch {
	case u.Host == "" || u.User != nil || u.Opaque != "" || len(u.String()) > maxURL,
		!display.IsVisibleASCII(u.String()):
		return fmt.Errorf("%w: not an absolute URL with a host", ErrRefused)
	case u.Scheme == "https", u.Scheme == "http" && c.isAllowed(u.Host):
		return nil
	}
	return fmt.Errorf("%w: the URL must be https", ErrRefused)
}

// Check returns ErrRefused for a URL that will never be fetched, without resolving its name. It is for registration.
func (c *Client) Check(raw string) error {
	u, err := url.Parse(raw)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := c.checkURL(u); err != nil {
		return err
	}
	if a, err := netip.ParseAddr(u.Hostname()); err == nil && !c.isAllowed(u.Host) {
		return checkPublic(a)
	}
	return nil
}

// dial connects and checks the address of this connection, so that a name that resolves to another address later cannot
// bypass the check (DNS rebinding).
func (c *Client) dial(ctx context.Context, network, address string) (net.Conn, error) {
	d := &net.Dialer{Timeout: timeout}
	if !c.isAllowed(address) {
		d.Control = func(_, address string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(address)
			if err != nil {
				return fmt.Errorf("%w: %w", ErrRefused, err)
			}
			return checkPublic(ap.Addr())
		}
	}
	return d.DialContext(ctx, network, address)
}

// globalUnicast is the IPv6 range that contains all public addresses.
var globalUnicast = netip.MustParsePrefix("2000::/3")

// nonPublicRanges lists the ranges that are not public unicast addresses (the IANA special-purpose registries) and
// those that embed an IPv4 address in an IPv6 one.
var nonPublicRanges = func() (out []netip.Prefix) {
	for _, s := range []string{
		"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
		"192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
		"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
	} {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}()

// checkPublic returns ErrRefused unless the address is public.
func checkPublic(a netip.Addr) error {
	a = a.Unmap().WithZone("")
	if a.Is6() && !globalUnicast.Contains(a) {
		return fmt.Errorf("%w: %s is not a public address", ErrRefused, a)
	}
	for _, p := range nonPublicRanges {
		if p.Contains(a) {
			return fmt.Errorf("%w: %s is not a public address", ErrRefused, a)
		}
	}
	if !a.IsGlobalUnicast() {
		return fmt.Errorf("%w: %s is not a public address", ErrRefused, a)
	}
	return nil
}

// Document is a fetched document.
type Document struct {
	Body []byte
	Type string // the Content-Type header, unchanged

	// Of Revalidate only.
	ETag        string
	TTL         time.Duration // how long the response allows to cache the document
	NotModified bool          // the document still has the ETag of the request; there is no body
}

// get fetches a document of at most key.limit bytes. It also returns how long the document may be cached.
func (c *Client) get(ctx context.Context, key cacheKey) (Document, time.Duration, error) {
	u, err := url.Parse(key.url)
	if err != nil {
		return Document{}, 0, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := c.checkURL(u); err != nil {
		return Document{}, 0, err
	}
	u.Fragment = ""
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return Document{}, 0, err
	}
	req.Header.Set("User-Agent", "Gatehouse")
	if key.etag != "" {
		req.Header.Set("If-None-Match", key.etag)
	}
	getter := c.http
	if key.direct {
		getter = c.withoutRedirects()
	}
	res, err := getter.Do(req)
	if err != nil {
		return Document{}, 0, err
	}
	defer func() { _ = res.Body.Close() }()
	doc := Document{Type: res.Header.Get("Content-Type"), ETag: res.Header.Get("ETag"), TTL: c.maxAge(res.Header)}
	if res.StatusCode == http.StatusNotModified && key.etag != "" {
		doc.NotModified, doc.ETag = true, key.etag
		return doc, 0, nil
	}
	if res.StatusCode != http.StatusOK {
		return Document{}, 0, StatusError(res.StatusCode)
	}
	doc.Body, err = io.ReadAll(io.LimitReader(res.Body, key.limit+1))
	if err != nil {
		return Document{}, 0, err
	}
	if int64(len(doc.Body)) > key.limit {
		return Document{}, 0, fmt.Errorf("%w: more than %d bytes", ErrTooLarge, key.limit)
	}
	return doc, ttlOf(res.Header), nil
}

// withoutRedirects returns a client that returns a redirect as the response.
func (c *Client) withoutRedirects() *http.Client {
	direct := *c.http
	direct.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &direct
}

// Post sends a form and returns the status. It does not follow redirects, because the form is intended only for the
// registered URL.
func (c *Client) Post(ctx context.Context, raw string, form url.Values) (status int, err error) {
	u, err := url.Parse(raw)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	if err := c.checkURL(u); err != nil {
		return 0, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.String(), strings.NewReader(form.Encode()))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("User-Agent", "Gatehouse")
	res, err := c.withoutRedirects().Do(req)
	if err != nil {
		return 0, err
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 4<<10)) // so that the connection can be reused
	return res.StatusCode, res.Body.Close()
}

// IsOverloaded reports whether a fetch failed because this server has no capacity for it, or because the caller
// disconnected: an error neither of the server of the document nor of credentials.
func IsOverloaded(ctx context.Context, err error) bool {
	return errors.Is(err, ErrBusy) || err != nil && ctx.Err() != nil
}
