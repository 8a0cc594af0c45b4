package bench

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"golang.org/x/net/html"
)

// maxSteps is the maximum number of pages and redirects between an authorization request and its response.
const maxSteps = 20

// clearCookies replaces the cookie jar.
func (c *connection) clearCookies() { c.http.Jar, _ = cookiejar.New(nil) }

// signIn completes one authorization with all its pages, so that the next needs none.
func (c *connection) signIn(ctx context.Context, app Client) error {
	if app.ID == "" || app.RedirectURI == "" {
		return errors.New("the profile has no app with a redirect_uri")
	}
	_, err := c.code(ctx, app)
	return err
}

// code runs the authorization code flow with PKCE (RFC 6749 §4.1, RFC 7636).
func (c *connection) code(ctx context.Context, app Client) (tokens, error) {
	verifier, state := rand.Text()+rand.Text(), rand.Text()
	sum := sha256.Sum256([]byte(verifier))
	query := url.Values{
		"response_type": {"code"}, "client_id": {app.ID}, "redirect_uri": {app.RedirectURI},
		"scope": {app.Scope}, "state": {state}, "nonce": {state},
		"code_challenge": {base64.RawURLEncoding.EncodeToString(sum[:])}, "code_challenge_method": {"S256"},
	}
	separator := "?"
	if strings.Contains(c.metadata.Authorization, "?") {
		separator = "&"
	}
	callback, err := c.browse(ctx, c.metadata.Authorization+separator+query.Encode(), app.RedirectURI)
	if err != nil {
		return tokens{}, err
	}
	got := callback.Query()
	if got.Get("state") != state || got.Get("code") == "" {
		return tokens{}, fmt.Errorf("the authorization response has no code: %s %s",
			got.Get("error"), got.Get("error_description"))
	}
	return c.token(ctx, app, url.Values{
		"grant_type": {"authorization_code"}, "code": {got.Get("code")},
		"redirect_uri": {app.RedirectURI}, "code_verifier": {verifier},
	})
}

// browse follows redirects and submits forms until a redirect leads to the callback, and returns that URL.
func (c *connection) browse(ctx context.Context, pageURL, callback string) (*url.URL, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, pageURL, nil)
	if err != nil {
		return nil, err
	}
	for range maxSteps {
		res, body, err := c.do(r) //nolint:bodyclose // do closes it
		if err != nil {
			return nil, err
		}
		next, err := res.Location()
		switch {
		case err == nil && strings.HasPrefix(next.String(), callback):
			return next, nil
		case err == nil:
			r, err = http.NewRequestWithContext(ctx, http.MethodGet, next.String(), nil)
		case res.StatusCode == http.StatusOK:
			r, err = c.submitForm(ctx, res.Request.URL, body)
		default:
			err = responseError(res.Request, res, body)
		}
		if err != nil {
			return nil, err
		}
	}
	return nil, errors.New("too many pages and redirects before the callback of the app")
}

// submitForm returns the request of the form that signs in or consents: the one with a password field, else the first
// with a button that approves.
func (c *connection) submitForm(ctx context.Context, page *url.URL, body []byte) (*http.Request, error) {
	doc, err := html.Parse(strings.NewReader(string(body)))
	if err != nil {
		return nil, err
	}
	var best *form
	for _, f := range formsOf(doc) {
		if f.password != "" {
			best = f
			f.values.Set(f.username, c.profile.User.Username)
			f.values.Set(f.password, c.profile.User.Password)
			break
		}
		if best == nil && f.approves {
			best = f
		}
	}
	if best == nil {
		return nil, fmt.Errorf("%s is a page without a form that signs in or consents", page.Path)
	}
	to, err := page.Parse(best.action)
	if err != nil {
		return nil, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, to.String(), strings.NewReader(best.values.Encode()))
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	r.Header.Set("Origin", page.Scheme+"://"+page.Host)
	return r, nil
}

type form struct {
	action             string
	values             url.Values
	username, password string // names of fields
	approves           bool
}

func formsOf(n *html.Node) (out []*form) {
	if n.Type == html.ElementNode && n.Data == "form" {
		f := &form{action: attribute(n, "action"), values: url.Values{}}
		f.read(n)
		return []*form{f}
	}
	for child := range n.ChildNodes() {
		out = append(out, formsOf(child)...)
	}
	return out
}

func (f *form) read(n *html.Node) {
	name, value := attribute(n, "name"), attribute(n, "value")
	if n.Type == html.ElementNode && (n.Data == "input" || n.Data == "button") {
		kind := strings.ToLower(attribute(n, "type"))
		switch {
		case kind == "password":
			f.password = name
		case n.Data == "button" || kind == "submit":
			if !f.approves && approves(name+" "+value+" "+text(n)) {
				f.approves = true
				if name != "" {
					f.values.Set(name, value)
				}
			}
		case kind == "" || kind == "text" || kind == "email":
			f.username = name
		case name != "": // hidden fields and checkboxes
			if value == "" && kind == "checkbox" {
				value = "on"
			}
			f.values.Add(name, value)
		}
	}
	for child := range n.ChildNodes() {
		f.read(child)
	}
}

// approves reports whether the text of a button means consent.
func approves(s string) bool {
	s = strings.ToLower(s)
	for _, no := range []string{"deny", "cancel", "reject", "decline", "sign out", "log out"} {
		if strings.Contains(s, no) {
			return false
		}
	}
	for _, yes := range []string{"approve", "allow", "accept", "grant", "authorize", "consent", "continue", "yes"} {
		if strings.Contains(s, yes) {
			return true
		}
	}
	return false
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}

func text(n *html.Node) (out string) {
	if n.Type == html.TextNode {
		return n.Data
	}
	for child := range n.ChildNodes() {
		out += text(child)
	}
	return out
}
