// Package page renders the pages of the server: layout, messages, branding, headers, form tokens, error pages and the
// static files. Which page is shown, and what it shows, is decided by the packages that have handlers.
package page

import (
	"bytes"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"sync"

	"gatehouse/message"
	"gatehouse/oauth/redirect"
	"gatehouse/storage/reqevent"
	"gatehouse/templates"
)

// Options are what pages have in common.
type Options struct {
	Issuer    *url.URL
	FormKey   []byte             // authenticates form tokens
	Files     fs.FS              // an overlay of package templates; nil: the built-in ones
	Catalogue *message.Catalogue // of those files; nil: it is loaded
	Brand     Brand
}

// Renderer renders pages. Its templates are parsed once for each language, at startup.
type Renderer struct {
	options   Options
	catalogue *message.Catalogue
	templates map[string]map[string]*template.Template // by language and name
	site      *site
	fixed     map[string]fixedParts // by language
	files     map[string]staticFile // by name
	fallback  []byte                // the error page when rendering fails
}

// New returns a renderer for the pages of the issuer. It fails when a message, or a template or static file of the
// layout, is missing or invalid.
func New(o Options) (*Renderer, error) {
	var err error
	if o.Files == nil {
		o.Files = templates.FS
	}
	if o.Catalogue == nil {
		if o.Catalogue, err = message.Load(o.Files); err != nil {
			return nil, err
		}
	}
	p := &Renderer{
		options: o, catalogue: o.Catalogue, templates: map[string]map[string]*template.Template{},
		files: map[string]staticFile{}, fixed: map[string]fixedParts{},
	}
	for _, l := range p.catalogue.Languages() {
		p.templates[l.Tag] = map[string]*template.Template{}
	}
	if p.site, err = p.newSite(); err != nil {
		return nil, err
	}
	if err := p.Declare("error", errorPage{}); err != nil {
		return nil, err
	}
	for _, l := range p.catalogue.Languages() {
		if err := p.renderFixedParts(l); err != nil {
			return nil, err
		}
	}
	english := p.catalogue.Match()
	title := english.Text("error.server.title")
	p.fallback, err = p.execute("error", errorPage{
		Layout: p.layout(english, title), Heading: title, Message: english.Text("error.server.message"),
	})
	return p, err
}

// DeclareAll declares templates by their names. It returns the errors of all that are invalid.
func (p *Renderer) DeclareAll(pages map[string]any) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(pages)) {
		if err := p.Declare(name, pages[name]); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// Declare parses a template in every language. Its pages are rendered from values of the type of data, which embeds
// Layout. It returns an error that names the file and line when the template is invalid, uses a message that does not
// exist or something that data does not have.
func (p *Renderer) Declare(name string, data any) error {
	for _, l := range p.catalogue.Languages() {
		key := builtInKey{l.Tag, name, reflect.TypeOf(data)}
		if set, ok := builtIn.Load(key); ok && p.isBuiltIn() {
			p.templates[l.Tag][name] = set.(*template.Template) //nolint:forcetypeassert // the only type that is stored
			continue
		}
		set := template.New(name).Funcs(functions(l))
		for _, file := range []string{"layout.html", "account_layout.html", name + ".html"} {
			content, err := fs.ReadFile(p.options.Files, file)
			if err != nil {
				return err
			}
			if _, err := set.New(file).Parse(string(content)); err != nil {
				return err
			}
		}
		p.templates[l.Tag][name] = set
		for _, isFilled := range []bool{false, true} {
			sample := reflect.New(reflect.TypeOf(data)).Elem()
			if isFilled {
				fill(sample, 0)
			}
			sample.FieldByName("Layout").Set(reflect.ValueOf(p.layout(l, "")))
			if _, err := p.execute(name, sample.Interface()); err != nil {
				return err
			}
		}
		if p.isBuiltIn() {
			builtIn.Store(key, set)
		}
	}
	return nil
}

// builtIn has the built-in templates that were parsed and checked. They are the same for every server of a process, and
// parsing them takes most of the time of starting one.
var builtIn sync.Map

type builtInKey struct {
	language, name string
	data           reflect.Type
}

func (p *Renderer) isBuiltIn() bool { return p.options.Files == fs.FS(templates.FS) }

// renderFixedParts renders the parts of the layout that are the same on all pages.
func (p *Renderer) renderFixedParts(l *message.Language) error {
	var fixed fixedParts
	for name, part := range map[string]*template.HTML{
		"head": &fixed.Head, "header": &fixed.Header, "footer": &fixed.Footer, "languages": &fixed.Languages,
	} {
		var b bytes.Buffer
		if err := p.templates[l.Tag]["error"].ExecuteTemplate(&b, name, p.layout(l, "")); err != nil {
			return err
		}
		*part = template.HTML(b.String()) //nolint:gosec // rendered by html/template
	}
	p.fixed[l.Tag] = fixed
	return nil
}

// maxSampleDepth is how deeply nested the values that fill sets are.
const maxSampleDepth = 6

// fill sets everything in a value, so that executing a template with it reaches most of the template.
func fill(v reflect.Value, depth int) {
	if depth > maxSampleDepth {
		return
	}
	element := func(t reflect.Type) reflect.Value {
		e := reflect.New(t).Elem()
		fill(e, depth+1)
		return e
	}
	switch t := v.Type(); t.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1)
	case reflect.Pointer:
		v.Set(reflect.New(t.Elem()))
		fill(v.Elem(), depth+1)
	case reflect.Slice:
		v.Set(reflect.Append(v, element(t.Elem())))
	case reflect.Map:
		v.Set(reflect.MakeMap(t))
		v.SetMapIndex(element(t.Key()), element(t.Elem()))
	case reflect.Struct:
		for i := range t.NumField() {
			if t.Field(i).IsExported() || t.Field(i).Anonymous && t.Field(i).Type.Kind() == reflect.Struct {
				fill(v.Field(i), depth+1)
			}
		}
	}
}

// functions returns the functions of templates in a language.
func functions(l *message.Language) template.FuncMap {
	check := func(key string) error {
		if !l.Has(key) {
			return fmt.Errorf("there is no message %q", key)
		}
		return nil
	}
	return template.FuncMap{
		"text":     l.Fill,
		"before":   func(key string) (string, error) { return l.Before(key), check(key) },
		"after":    func(key string) (string, error) { return l.After(key), check(key) },
		"labels":   labels,
		"monogram": monogram,
		"tile":     tileColor,
	}
}

// Text returns a message in the language of the request, with its values filled in, or "" when there is none with this
// key.
func (p *Renderer) Text(r *http.Request, key string, values ...any) string {
	return p.Language(r).Text(key, values...)
}

// Layout is the data of the layout, which every page embeds.
type Layout struct {
	Title, RequestID, Width string
	// Self is the path and query of the page, below the path of the issuer, for users who choose another language. It is
	// empty on the response to a form.
	Self  string
	Site  *site
	Lang  *message.Language
	Fixed fixedParts
}

// fixedParts are the parts of the layout that are the same on all pages in one language.
type fixedParts struct{ Head, Header, Footer, Languages template.HTML }

// Base returns the path of the issuer.
func (l Layout) Base() string { return l.Site.Base }

// Host returns the host of the issuer.
func (l Layout) Host() string { return l.Site.Host }

// language returns the language in which the page is rendered.
func (l Layout) language() *message.Language { return l.Lang }

// maxSelf is how long the query of a page may be that repeats it. Those of Gatehouse's links are shorter.
const maxSelf = 2 << 10

// NewLayout returns the layout of a page with the title that a message has.
func (p *Renderer) NewLayout(r *http.Request, key string, values ...any) Layout {
	l := p.Language(r)
	layout := p.layout(l, l.Text(key, values...))
	layout.RequestID = reqevent.FromContext(r.Context()).RequestID
	if r.Method == http.MethodGet && len(r.URL.RawQuery) <= maxSelf {
		layout.Self = strings.TrimPrefix(r.URL.RequestURI(), p.site.Base)
	}
	return layout
}

func (p *Renderer) layout(l *message.Language, title string) Layout {
	return Layout{Title: title, Lang: l, Site: p.site, Fixed: p.fixed[l.Tag]}
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
	layout, ok := data.(interface{ language() *message.Language })
	if !ok || layout.language() == nil {
		return nil, fmt.Errorf("the data of the page %s has no layout", name)
	}
	set := p.templates[layout.language().Tag][name]
	if set == nil {
		return nil, fmt.Errorf("the page %s was not declared", name)
	}
	var b bytes.Buffer
	if err := set.ExecuteTemplate(&b, "layout", data); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// Path returns the path of a page of this server, below the path of the issuer.
func (p *Renderer) Path(path string) string { return p.site.Base + path }

// Destination returns the description of where the browser goes with uri. A private-use scheme is written with spaces,
// so that it does not look like a host.
func (p *Renderer) Destination(r *http.Request, uri string) string {
	d := redirect.DestinationOf(uri)
	switch {
	case d.Host != "" && d.OnDevice:
		return p.Text(r, "destination.device", d.Host)
	case d.Host != "":
		return d.Host
	case d.Scheme != "":
		return p.Text(r, "destination.device", strings.ReplaceAll(d.Scheme, ".", " · "))
	}
	return p.Text(r, "destination.unreadable")
}

// labels returns the labels of a host, between which a page breaks a line that is too long.
func labels(host string) []string { return strings.Split(host, ".") }
