package page

import (
	"net/http"
	"net/url"
	"strings"
	"time"

	"gatehouse/message"
	"gatehouse/storage/reqevent"
)

const (
	languageCookie = "language"
	languageTTL    = 365 * 24 * time.Hour
)

// Language returns the language of the pages of a request: the one that the user chose in this browser, or else that of
// the user's profile, of the ui_locales of the client (OIDC Core §3.1.2.1), or of the browser.
func (p *Renderer) Language(r *http.Request) *message.Language {
	event := reqevent.FromContext(r.Context())
	if l := p.catalogue.Language(event.Language); l != nil {
		return l
	}
	l := p.catalogue.Match(p.chosenLanguage(r), event.UserLocale, event.UILocales, r.Header.Get("Accept-Language"))
	event.Language = l.Tag
	return l
}

// chosenLanguage returns the language that the user chose in this browser, or "".
func (p *Renderer) chosenLanguage(r *http.Request) string {
	if found := r.CookiesNamed(p.cookieName()); len(found) == 1 {
		return found[0].Value
	}
	return ""
}

// BrowserLanguage returns the tag of the language that the user chose in this browser or that the browser requests, or
// "" when the pages are in neither. A client, and a link with its ui_locales, has no influence.
func (p *Renderer) BrowserLanguage(r *http.Request) string {
	if l := p.catalogue.Find(p.chosenLanguage(r), r.Header.Get("Accept-Language")); l != nil {
		return l.Tag
	}
	return ""
}

// LanguageTags returns the tags of Languages.
func (p *Renderer) LanguageTags() []string {
	var tags []string
	for _, l := range p.Languages() {
		tags = append(tags, l.Tag)
	}
	return tags
}

// Languages returns the languages of the pages.
func (p *Renderer) Languages() []*message.Language { return p.catalogue.Languages() }

// SetUILocales makes the ui_locales of a client, or the language of an invitation, a preference of the request.
func SetUILocales(r *http.Request, locales string) {
	event := reqevent.FromContext(r.Context())
	if event.UILocales != locales {
		event.UILocales, event.Language = locales, ""
	}
}

func (p *Renderer) cookieName() string {
	if p.options.Issuer.Scheme == "https" {
		return "__Host-gatehouse_" + languageCookie
	}
	return "gatehouse_" + languageCookie
}

// SetLanguage stores the language that the user chose in a cookie and returns a redirect to the page where it was
// chosen. to is the path and query of that page; anything else leads to the home page.
func (p *Renderer) SetLanguage(w http.ResponseWriter, tag, to string) error {
	l := p.catalogue.Language(tag)
	if l == nil {
		return &Error{Status: http.StatusBadRequest, Key: "error.malformed"}
	}
	http.SetCookie(w, &http.Cookie{
		Name: p.cookieName(), Value: l.Tag, Path: "/", MaxAge: int(languageTTL.Seconds()),
		HttpOnly: true, Secure: p.options.Issuer.Scheme == "https", SameSite: http.SameSiteLaxMode,
	})
	return RedirectTo(ownPath(to))
}

// ownPath returns a path of this server with its query, or "/" when to is anything else.
func ownPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || !strings.HasPrefix(u.Path, "/") ||
		strings.HasPrefix(u.Path, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).RequestURI()
}
