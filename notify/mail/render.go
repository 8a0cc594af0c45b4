package mail

import (
	"bytes"
	"cmp"
	"fmt"
	htmltemplate "html/template"
	"io"
	"io/fs"
	"net/mail"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	texttemplate "text/template"
	"time"

	"gatehouse/message"
	"gatehouse/storage"
	"gatehouse/templates"
)

// Options are what a Renderer renders with.
type Options struct {
	Files     fs.FS // an overlay of package templates
	Catalogue *message.Catalogue
	Issuer    *url.URL
	From      *mail.Address
	Now       func() time.Time

	Brand                              string
	Accent                             string // #rrggbb, or empty
	SupportURL, ImprintURL, PrivacyURL string
}

// Renderer renders emails.
type Renderer struct {
	options   Options
	templates map[string]templatePair // by language
}

// templatePair is the layout of all emails in one language.
type templatePair struct {
	text *texttemplate.Template
	html *htmltemplate.Template
}

// layout is what the templates show.
type layout struct {
	Language                           *message.Language
	Brand, Host                        string
	Accent                             htmltemplate.CSS
	SupportURL, ImprintURL, PrivacyURL string

	Subject      string
	Paragraphs   [][]string // each with its lines
	Code         string
	Link, Button string
	Reset        string // the URL at which users reset their password
	Expires      string // when the link or code expires
	Account      string // username
}

// defaultAccent is the color of the product.
const defaultAccent = "#14634a"

// NewRenderer parses the templates and renders every kind of email in every language, so that an invalid template or
// message of the operator is an error at the start, which names its file and line. Without files of the operator it
// renders none: the tests check what is built in.
func NewRenderer(o Options) (*Renderer, error) {
	if o.Brand == "" {
		o.Brand = o.Catalogue.Match().Text("product")
	}
	if o.Accent == "" {
		o.Accent = defaultAccent
	}
	r := &Renderer{options: o}
	product, err := message.Load(templates.FS)
	if err != nil {
		return nil, err
	}
	if o.Files == fs.FS(templates.FS) && o.Catalogue == product {
		r.templates, err = builtIn()
		return r, err
	}
	if r.templates, err = parseLanguages(o.Files, o.Catalogue); err != nil {
		return nil, err
	}
	return r, r.check()
}

// builtIn returns the templates of the product, which never change in a process.
var builtIn = sync.OnceValues(func() (map[string]templatePair, error) {
	product, err := message.Load(templates.FS)
	if err != nil {
		return nil, err
	}
	return parseLanguages(templates.FS, product)
})

func parseLanguages(files fs.FS, catalogue *message.Catalogue) (map[string]templatePair, error) {
	pairs := map[string]templatePair{}
	for _, l := range catalogue.Languages() {
		pair, err := parseTemplates(files, l)
		if err != nil {
			return nil, err
		}
		pairs[l.Tag] = pair
	}
	return pairs, nil
}

func parseTemplates(files fs.FS, l *message.Language) (pair templatePair, err error) {
	functions := map[string]any{"text": l.Fill}
	content, err := fs.ReadFile(files, "mail.txt")
	if err != nil {
		return pair, err
	}
	if pair.text, err = texttemplate.New("mail.txt").Funcs(functions).Parse(string(content)); err != nil {
		return pair, err
	}
	if content, err = fs.ReadFile(files, "mail.html"); err != nil {
		return pair, err
	}
	pair.html, err = htmltemplate.New("mail.html").Funcs(functions).Parse(string(content))
	return pair, err
}

// unfilled matches what is left when a message does not have a placeholder for each value, or a value for each
// placeholder.
var unfilled = regexp.MustCompile(`%!.?\(|%s\b|%\[`)

// check renders every kind of email in every language, with everything that it may have.
func (r *Renderer) check() error {
	for _, l := range r.options.Catalogue.Languages() {
		for _, name := range storage.MailKinds() {
			k, ok := kinds[name]
			if !ok {
				return fmt.Errorf("there is no text for emails of the kind %s", name)
			}
			changes := storage.FactorChanges
			if !slices.Contains(k.text, storage.MailValueChange) {
				changes = changes[:1] // its emails do not differ
			}
			for _, change := range changes {
				if err := r.checkKind(name, l, change); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// checkKind renders an email about a change.
func (r *Renderer) checkKind(name string, l *message.Language, change string) error {
	now := r.options.Now()
	m, err := r.Render(storage.OpenedMail{
		Mail: storage.Mail{
			Kind: name, To: "user@example.com", Language: l.Tag, ExpiresAt: now,
			Values: map[string]string{
				storage.MailLink: "/x", storage.MailCode: "123456", storage.MailValueEmail: "x", storage.MailValueAddress: "x",
				storage.MailValueBrowser: "x", storage.MailValueClient: "x", storage.MailValueDate: now.Format(time.RFC3339),
				storage.MailValueChange: change,
			},
		},
		User: storage.User{Username: "user"}, QueuedAt: now, Merged: 1,
	}, "id")
	if err != nil {
		return err
	}
	for file, content := range map[string]string{"messages": m.Subject, "mail.txt": m.Text, "mail.html": m.HTML} {
		if found := unfilled.FindString(content); found != "" {
			return fmt.Errorf("%s: a message of the email %s in the language %s has placeholders "+
				"that do not match its values: with values it contains %q", file, name, l.Tag, found)
		}
	}
	return nil
}

// Render renders an email in its language, which is that of the page on which it was requested, or that of the user.
// A notice is in that of the user first, because an attacker may have caused it on a page in another language. id is
// the left part of the Message-ID.
func (r *Renderer) Render(m storage.OpenedMail, id string) (Message, error) {
	k, ok := kinds[m.Kind]
	if !ok {
		return Message{}, fmt.Errorf("unknown kind of email: %q", m.Kind)
	}
	o := r.options
	languages := []string{m.Language, m.User.Profile.Locale}
	if storage.IsNotice(m.Kind) {
		slices.Reverse(languages)
	}
	l := o.Catalogue.Match(languages...)
	view := layout{
		Language: l, Brand: o.Brand, Host: o.Issuer.Host, Accent: htmltemplate.CSS(o.Accent), //nolint:gosec // a color
		SupportURL: o.SupportURL, ImprintURL: o.ImprintURL, PrivacyURL: o.PrivacyURL,
	}
	if !k.unverified {
		view.Account = m.User.Username
	}
	zone := location(m.User)
	if !m.ExpiresAt.IsZero() {
		view.Expires = timeText(l, m.ExpiresAt.In(zone))
	}
	if err := r.fill(&view, m, k, zone); err != nil {
		return Message{}, err
	}
	out := Message{
		ID: id + "@" + o.Issuer.Hostname(), From: o.From, To: m.To, Date: o.Now(), Language: l.Tag, Subject: view.Subject,
	}
	pair := r.templates[l.Tag]
	var err error
	if out.Text, err = execute(pair.text, view); err != nil {
		return Message{}, err
	}
	out.HTML, err = execute(pair.html, view)
	return out, err
}

// execute executes a template.
func execute(t interface {
	Execute(w io.Writer, data any) error
}, view layout) (string, error) {
	var b bytes.Buffer
	err := t.Execute(&b, view)
	return strings.TrimSpace(b.String()) + "\n", err
}

// fill sets what differs between the kinds of emails.
func (r *Renderer) fill(view *layout, m storage.OpenedMail, k kind, zone *time.Location) (err error) {
	l, prefix := view.Language, "mail."+m.Kind+"."
	values := func(names []string) []any {
		out := make([]any, 0, len(names))
		for _, name := range names {
			out = append(out, r.value(l, m, name, zone))
		}
		return out
	}
	if view.Subject, err = l.Fill(prefix+"subject", values(k.subject)...); err != nil {
		return err
	}
	all, err := l.Fill(prefix+"text", values(k.text)...)
	if err != nil {
		return err
	}
	for paragraph := range strings.SplitSeq(all, "\n\n") {
		view.Paragraphs = append(view.Paragraphs, strings.Split(paragraph, "\n"))
	}
	if m.Merged > 0 {
		merged, err := l.Fill("mail.merged", strconv.FormatInt(m.Merged, 10))
		if err != nil {
			return err
		}
		view.Paragraphs = append(view.Paragraphs, []string{merged})
	}
	if k.code {
		view.Code = m.Values[storage.MailCode]
	}
	if !k.link {
		return nil
	}
	if view.Link, err = r.link(cmp.Or(m.Values[storage.MailLink], k.path)); err != nil {
		return err
	}
	if k.reset {
		if view.Reset, err = r.link("/forgot"); err != nil {
			return err
		}
	}
	view.Button, err = l.Fill(prefix + "button")
	return err
}

// link returns the URL of a path below the issuer. It is the only host that emails link to.
func (r *Renderer) link(path string) (string, error) {
	if _, err := url.ParseRequestURI(path); err != nil || !strings.HasPrefix(path, "/") || strings.HasPrefix(path, "//") {
		// The path may be a secret.
		return "", fmt.Errorf("the link of an email is not a path below the issuer")
	}
	return strings.TrimSuffix(r.options.Issuer.String(), "/") + path, nil
}

// value returns a value of an email as its text shows it, on one line.
func (r *Renderer) value(l *message.Language, m storage.OpenedMail, name string, zone *time.Location) string {
	value := m.Values[name]
	switch name {
	case valueBrand:
		return r.options.Brand
	case valueQueued:
		return timeText(l, m.QueuedAt.In(zone))
	case storage.MailValueChange:
		return l.Text("mail.factors_changed." + value)
	case storage.MailValueBrowser:
		return l.Browser(value)
	case storage.MailValueDate:
		if at, err := time.Parse(time.RFC3339, value); err == nil {
			return timeText(l, at.In(zone))
		}
	}
	return oneLine(value)
}

// location returns the time zone of a user.
func location(u storage.User) *time.Location {
	if zone, err := time.LoadLocation(u.Profile.Zoneinfo); err == nil {
		return zone
	}
	return time.UTC
}

// timeText returns a time with its date and zone: an email may be read days later.
func timeText(l *message.Language, t time.Time) string {
	return l.Text("date.time", l.Date(t), t.Format("15:04 MST"))
}
