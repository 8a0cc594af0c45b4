package web

import (
	"bytes"
	"cmp"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse/display"
	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
	"gatehouse/templates"
)

// pages is every template, parsed once at start, and every text.
type pages struct {
	sets   map[string]*template.Template
	texts  map[string]string
	css    []byte
	sheet  string // the stylesheet's name, with its hash
	js     []byte
	script string // the same for the one script
	base   string
	host   string
	last   []byte // the page that is left when rendering fails
}

var pageNames = []string{"login", "select", "consent", "form_post", "error", "logout", "signed_out", "account", "profile", "withdraw"}

func loadPages(issuer *url.URL) (*pages, error) {
	p := &pages{sets: map[string]*template.Template{}, base: issuer.Path, host: issuer.Host}
	raw, err := templates.FS.ReadFile("en.json")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(raw, &p.texts); err != nil {
		return nil, fmt.Errorf("en.json: %w", err)
	}
	if p.css, err = templates.FS.ReadFile("style.css"); err != nil {
		return nil, err
	}
	p.sheet = hashedName("style", p.css, ".css")
	if p.js, err = templates.FS.ReadFile("form_post.js"); err != nil {
		return nil, err
	}
	p.script = hashedName("form_post", p.js, ".js")
	funcs := template.FuncMap{"text": p.lookup}
	for _, name := range pageNames {
		set, err := template.New(name).Funcs(funcs).ParseFS(templates.FS, "layout.html", name+".html")
		if err != nil {
			return nil, err
		}
		p.sets[name] = set
	}
	frame := basePage{Title: p.texts["error.server.title"], Base: p.base, Host: p.host, Stylesheet: p.sheet}
	p.last, err = p.render("error", errorPage{basePage: frame, Heading: p.texts["error.server.title"], Message: p.texts["error.server.message"]})
	return p, err
}

// lookup is the template function text. A text that does not exist fails the render, so no page goes out without it.
func (p *pages) lookup(key string) (string, error) {
	t, ok := p.texts[key]
	if !ok {
		return "", fmt.Errorf("there is no text %q", key)
	}
	return t, nil
}

// message returns a message of the catalogue with its values filled in.
func (p *pages) message(key string, values ...any) string {
	if len(values) == 0 {
		return p.texts[key]
	}
	return fmt.Sprintf(p.texts[key], values...)
}

func (p *pages) render(name string, data any) ([]byte, error) {
	var b bytes.Buffer
	if err := p.sets[name].ExecuteTemplate(&b, "layout", data); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// basePage is what every page needs.
type basePage struct {
	Title, Base, Host, Stylesheet, RequestID, Width string
}

func (s *Server) newBasePage(r *http.Request, title string) basePage {
	return basePage{Title: title, Base: s.base, Host: s.issuer.Host, Stylesheet: s.pages.sheet, RequestID: reqevent.From(r.Context()).RequestID}
}

// render renders a page into a buffer and then writes it.
func (s *Server) render(w http.ResponseWriter, status int, name string, data any) error {
	b, err := s.pages.render(name, data)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b) // a browser that went away
	return nil
}

// policy is the Content-Security-Policy of every page.
const policy = "default-src 'none'; style-src 'self'; img-src 'self' data:; base-uri 'none'; frame-ancestors 'none'"

// pageHeaders sets the headers of every page. The forms of a page may be submitted to this server only.
func (s *Server) pageHeaders(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy+"; form-action 'self'")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cache-Control", "no-store")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
}

// allowLeaving removes form-action from the policy of a page whose form can redirect to a client. Chromium applies
// form-action to every redirect that follows a form, including the client's, and their destinations are unknown.
func (s *Server) allowLeaving(w http.ResponseWriter) {
	w.Header().Set("Content-Security-Policy", policy)
}

// redirect answers 303: the browser goes on with GET, so that a form with a password is never sent on (RFC 9700 §4.12).
func (s *Server) seeOther(w http.ResponseWriter, location string) error {
	w.Header().Set("Location", location)
	w.WriteHeader(http.StatusSeeOther)
	return nil
}

// redirectTo redirects to a path of this server.
func (s *Server) redirectTo(w http.ResponseWriter, path string) error {
	return s.seeOther(w, s.base+path)
}

// pageError is an error with a page of its own: text names its title and message in en.json.
type pageError struct {
	status  int
	text    string
	message string // instead of the text's message
	detail  string // for the developer
	link    string
	label   string // of the link; empty: that of the account page
	cause   error
}

func (e *pageError) Error() string {
	if e.cause != nil {
		return e.text + ": " + e.cause.Error()
	}
	return e.text
}

func (e *pageError) Unwrap() error { return e.cause }

type errorPage struct {
	basePage
	Heading, Message, Detail, Link, LinkText string
}

// errorHandler returns a handler that only shows an error page.
func errorHandler(status int, text string) handler {
	return func(*Server, http.ResponseWriter, *http.Request) error { return &pageError{status: status, text: text} }
}

// wrongHost refuses a request whose Host is not the issuer's.
func (s *Server) wrongHost(http.ResponseWriter, *http.Request) error {
	return &pageError{status: http.StatusMisdirectedRequest, text: "error.host", link: s.issuer.String(), label: s.pages.message("error.host.open", s.issuer.String())}
}

func (s *Server) notFound(_ http.ResponseWriter, r *http.Request) error {
	return &pageError{status: http.StatusNotFound, text: "error.missing", link: s.base + "/account"}
}

// answerPage shows an error as a page. A protocol error says what its developer must fix; of anything else the page
// tells no more than whose fault it is and the request's id.
func (s *Server) answerPage(w http.ResponseWriter, r *http.Request, err error) {
	s.pageHeaders(w)
	e := s.pageErrorOf(r, err)
	page := errorPage{basePage: s.newBasePage(r, s.pages.message(e.text+".title")), Heading: s.pages.message(e.text + ".title"), Message: e.message, Detail: e.detail}
	if page.Message == "" {
		page.Message = s.pages.message(e.text + ".message")
	}
	if e.link != "" {
		page.Link, page.LinkText = e.link, cmp.Or(e.label, s.pages.message("error.account"))
	}
	if e.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	if e.status == http.StatusTooManyRequests {
		over := oauth.AsError(err)
		w.Header().Set("Retry-After", strconv.Itoa(int((over.RetryAfter+time.Second-1)/time.Second)))
		protocol.SetRateLimitHeaders(w.Header(), over.Limit)
	}
	if err := s.render(w, e.status, "error", page); err != nil {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write(s.pages.last)
	}
}

func (s *Server) pageErrorOf(r *http.Request, err error) *pageError {
	var own *pageError
	if errors.As(err, &own) {
		return own
	}
	var expired *oauth.RequestExpiredError
	switch {
	case errors.As(err, &expired):
		text, key := "error.expired", "error.expired.unknown"
		if expired.Client != nil {
			key = "error.expired.app"
			if expired.Decided {
				text, key = "error.answered", "error.answered.app"
			}
			return &pageError{status: http.StatusGone, text: text, message: s.pages.message(key, clientName(expired.Client))}
		}
		return &pageError{status: http.StatusGone, text: text, message: s.pages.message(key)}
	case errors.Is(err, storage.ErrOtherBrowser):
		return &pageError{status: http.StatusForbidden, text: "error.browser"}
	case errors.Is(err, storage.ErrNotFound):
		return &pageError{status: http.StatusNotFound, text: "error.unknown"}
	}
	switch e := oauth.AsError(err); e.Code {
	case protocol.RateLimited:
		text := "error.limit"
		switch e.Limit.Limit {
		case ratelimit.AllStoredRequests:
			text = "error.crowded"
		case ratelimit.TokenUser:
			text = "error.often"
		}
		return &pageError{status: http.StatusTooManyRequests, text: text, cause: e}
	case protocol.TemporarilyUnavailable:
		return &pageError{status: http.StatusServiceUnavailable, text: "error.unavailable"}
	case protocol.ServerError:
		return &pageError{status: http.StatusInternalServerError, text: "error.server"}
	default:
		status := http.StatusBadRequest
		if e.Status() == http.StatusRequestEntityTooLarge {
			status = e.Status()
		}
		detail := e.Code + ": " + e.Description
		if strings.HasPrefix(r.URL.Path, s.base+"/account") { // no app sent the user to these pages
			return &pageError{status: status, text: "error.malformed", detail: detail, link: s.base + "/account"}
		}
		return &pageError{status: status, text: "error.request", detail: detail}
	}
}

// hashedName is a file name that changes with the content.
func hashedName(name string, content []byte, suffix string) string {
	sum := sha256.Sum256(content)
	return name + "." + hex.EncodeToString(sum[:6]) + suffix
}

// file serves the stylesheet and the script.
func (s *Server) file(w http.ResponseWriter, r *http.Request) error {
	var kind string
	var content []byte
	switch r.PathValue("file") {
	case s.pages.sheet:
		kind, content = "text/css; charset=utf-8", s.pages.css
	case s.pages.script:
		kind, content = "text/javascript; charset=utf-8", s.pages.js
	default:
		http.NotFound(w, r)
		return nil
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Length", strconv.Itoa(len(content)))
	_, err := w.Write(content)
	return err
}

// logo serves an app's logo, which is somebody else's picture: it is shown, and nothing in it runs.
func (s *Server) logo(w http.ResponseWriter, r *http.Request) error {
	body, kind, err := s.oauth.Logo(r.Context(), r.PathValue("id"))
	if errors.Is(err, storage.ErrNotFound) {
		http.NotFound(w, r)
		return err
	}
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Content-Type", kind)
	h.Set("Cache-Control", "public, max-age=3600")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	_, err = w.Write(body) //nolint:gosec // it was found to be PNG, JPEG, GIF or WebP, and is sandboxed
	return err
}

// formToken binds a form to what it does and who it was shown to, so that nobody can make a browser send it, or send it
// for something else (RFC 9700 §4.7).
func (s *Server) formToken(parts ...string) string {
	mac := hmac.New(sha256.New, s.formKey)
	mac.Write([]byte(strings.Join(parts, "\x00")))
	return hex.EncodeToString(mac.Sum(nil)[:16])
}

// personName is what a page calls a person. personName returns the name of a user for a page, or the username when an
// earlier version stored an unprintable name.
func userName(who *identity.SignedInUser) string {
	return display.NameOr(who.User.Name, who.User.Username)
}

// clientName returns the name of a client for a page, or its client_id when an earlier version stored an unprintable
// name.
func clientName(c *storage.Client) string { return display.NameOr(c.Name, c.ID) }

// destination returns the description of the destination of uri for a page. A private-use scheme is written with
// spaces, so that it does not look like a host.
func (p *pages) destination(uri string) string {
	d := redirect.DestinationOf(uri)
	switch {
	case d.Host != "":
		return d.Host
	case d.Scheme != "":
		return p.message("destination.device", strings.ReplaceAll(d.Scheme, ".", " · "))
	}
	return p.message("destination.unreadable")
}

func formatTime(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }
