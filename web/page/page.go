// Package page renders the pages of the server: layout, messages, headers, form tokens, error pages and the static
// files. Which page is shown, and what it shows, is decided by the packages that have handlers.
package page

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/oauth/redirect"
	"gatehouse/storage/reqevent"
	"gatehouse/templates"
)

// Renderer renders pages. Its templates are parsed once, at startup.
type Renderer struct {
	templates map[string]*template.Template
	messages  map[string]string
	issuer    *url.URL
	formKey   []byte

	stylesheet, script staticFile
	fallback           []byte // the error page when rendering fails
}

var templateNames = []string{
	"login", "select", "no_access", "confirm", "consent", "form_post", "error", "logout", "signed_out", "account",
	"profile", "withdraw",
}

// New returns a renderer for the pages of the issuer. formKey authenticates form tokens. It fails when a template or a
// message of the error page is missing.
func New(issuer *url.URL, formKey []byte) (*Renderer, error) {
	p := &Renderer{templates: map[string]*template.Template{}, issuer: issuer, formKey: formKey}
	catalogue, err := templates.FS.ReadFile("en.json")
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(catalogue, &p.messages); err != nil {
		return nil, fmt.Errorf("en.json: %w", err)
	}
	if p.stylesheet, err = readStatic("style", ".css", "text/css; charset=utf-8"); err != nil {
		return nil, err
	}
	if p.script, err = readStatic("form_post", ".js", "text/javascript; charset=utf-8"); err != nil {
		return nil, err
	}
	functions := template.FuncMap{"text": p.lookup, "labels": labels}
	for _, name := range templateNames {
		set, err := template.New(name).Funcs(functions).ParseFS(templates.FS, "layout.html", name+".html")
		if err != nil {
			return nil, err
		}
		p.templates[name] = set
	}
	title := p.messages["error.server.title"]
	p.fallback, err = p.execute("error", errorPage{
		Layout: p.layout(title, ""), Heading: title, Message: p.messages["error.server.message"],
	})
	return p, err
}

// lookup returns the message with a key. It is the template function text. It fails for an unknown key, so that no page
// is sent without its message.
func (p *Renderer) lookup(key string) (string, error) {
	message, ok := p.messages[key]
	if !ok {
		return "", fmt.Errorf("no message %q in en.json", key)
	}
	return message, nil
}

// Message returns a message with its values filled in, or "" when there is none with this key.
func (p *Renderer) Message(key string, values ...any) string {
	if len(values) == 0 {
		return p.messages[key]
	}
	return fmt.Sprintf(p.messages[key], values...)
}

// Layout is the data of the layout, which every page embeds.
type Layout struct {
	Title, Base, Host, Stylesheet, RequestID, Width string
}

// NewLayout returns the layout of a page with this title.
func (p *Renderer) NewLayout(r *http.Request, title string) Layout {
	return p.layout(title, reqevent.FromContext(r.Context()).RequestID)
}

func (p *Renderer) layout(title, requestID string) Layout {
	return Layout{
		Title: title, Base: p.issuer.Path, Host: p.issuer.Host, Stylesheet: p.stylesheet.name, RequestID: requestID,
	}
}

// Render writes the page that the named template makes of data. Nothing is written when rendering fails.
func (p *Renderer) Render(w http.ResponseWriter, status int, name string, data any) error {
	content, err := p.execute(name, data)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(content) // fails when the browser has disconnected
	return nil
}

func (p *Renderer) execute(name string, data any) ([]byte, error) {
	var b bytes.Buffer
	if err := p.templates[name].ExecuteTemplate(&b, "layout", data); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Path returns the path of a page of this server, below the path of the issuer.
func (p *Renderer) Path(path string) string { return p.issuer.Path + path }

// Destination returns the description of where the browser goes with uri. A private-use scheme is written with spaces,
// so that it does not look like a host.
func (p *Renderer) Destination(uri string) string {
	d := redirect.DestinationOf(uri)
	switch {
	case d.Host != "" && d.OnDevice:
		return p.Message("destination.device", d.Host)
	case d.Host != "":
		return d.Host
	case d.Scheme != "":
		return p.Message("destination.device", strings.ReplaceAll(d.Scheme, ".", " · "))
	}
	return p.Message("destination.unreadable")
}

// labels returns the labels of a host, between which a page breaks a line that is too long.
func labels(host string) []string { return strings.Split(host, ".") }

// FormatTime formats a time for users.
func FormatTime(t time.Time) string { return t.UTC().Format("2 January 2006, 15:04 UTC") }

// hashedName returns a file name that changes with the content.
func hashedName(name string, content []byte, extension string) string {
	sum := sha256.Sum256(content)
	return name + "." + hex.EncodeToString(sum[:6]) + extension
}
