package servertest

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"strings"

	"golang.org/x/net/html"

	"gatehouse/oauth/client"
	"gatehouse/storage/storagetest"
)

// Browser stores cookies like a user's browser without JavaScript. It follows redirects only when a test calls Follow.
type Browser struct {
	*Server

	client *http.Client
}

// Browser returns a Browser without cookies.
func (s *Server) Browser() *Browser {
	jar, err := cookiejar.New(nil)
	storagetest.Must(s.T, err)
	return &Browser{Server: s, client: &http.Client{
		Jar: jar, Timeout: s.HTTP.Timeout, Transport: s.HTTP.Transport, CheckRedirect: s.HTTP.CheckRedirect,
	}}
}

// Cookies returns the cookies that the browser sends to the server.
func (b *Browser) Cookies() []*http.Cookie {
	u, err := url.Parse(b.URL)
	storagetest.Must(b.T, err)
	return b.client.Jar.Cookies(u)
}

// Cookie returns the value of a cookie of Gatehouse, or "".
func (b *Browser) Cookie(name string) string {
	for _, c := range b.Cookies() {
		if c.Name == "gatehouse_"+name {
			return c.Value
		}
	}
	return ""
}

// SetCookie sets a cookie of Gatehouse.
func (b *Browser) SetCookie(name, value string) {
	u, err := url.Parse(b.URL)
	storagetest.Must(b.T, err)
	b.client.Jar.SetCookies(u, []*http.Cookie{{Name: "gatehouse_" + name, Value: value, Path: "/"}})
}

// Open requests a URL or a path of the server.
func (b *Browser) Open(target string) Page {
	b.T.Helper()
	return b.send(http.MethodGet, target, nil, nil)
}

// Submit posts a form as a browser on a page of Gatehouse does.
func (b *Browser) Submit(target string, form url.Values) Page {
	b.T.Helper()
	return b.send(http.MethodPost, target, form, map[string]string{
		"Sec-Fetch-Site": "same-origin", "Origin": origin(b.URL),
	})
}

// SubmitFrom posts a form as a browser on another site's page does.
func (b *Browser) SubmitFrom(site, target string, form url.Values) Page {
	b.T.Helper()
	return b.send(http.MethodPost, target, form, map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": site})
}

func origin(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

func (b *Browser) send(method, target string, form url.Values, headers map[string]string) Page {
	b.T.Helper()
	if !strings.Contains(target, "://") {
		target = b.URL + target
	}
	var req *http.Request
	var err error
	if form != nil {
		req, err = http.NewRequestWithContext(context.Background(), method, target, strings.NewReader(form.Encode()))
	} else {
		req, err = http.NewRequestWithContext(context.Background(), method, target, nil)
	}
	storagetest.Must(b.T, err)
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	req.Header.Set("User-Agent", "Mozilla/5.0 (X11; Linux x86_64) Chrome/150.0")
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	r, err := send(b.client, req)
	storagetest.Must(b.T, err)
	return Page{Response: r, URL: target}
}

// Follow follows redirects within the host of the issuer, and returns the last response: a page, or the redirect
// to another host.
func (b *Browser) Follow(p Page) Page {
	b.T.Helper()
	for range 10 {
		to := p.Header.Get("Location")
		if to == "" {
			return p
		}
		base, err := url.Parse(p.URL)
		storagetest.Must(b.T, err)
		next, err := base.Parse(to)
		storagetest.Must(b.T, err)
		if next.Host != base.Host {
			return p
		}
		p = b.Open(next.String())
	}
	b.T.Fatalf("more than 10 redirects, the last to %s", p.URL)
	return p
}

// Page is a response and its URL.
type Page struct {
	Response

	URL string
}

// elements returns the attributes of every element of that name on the page.
func (p Page) elements(name string) []map[string]string {
	doc, err := html.Parse(strings.NewReader(p.Body))
	if err != nil {
		return nil
	}
	return elementsOf(doc, name)
}

func elementsOf(n *html.Node, name string) (out []map[string]string) {
	for n := range n.Descendants() {
		if n.Type == html.ElementNode && n.Data == name {
			out = append(out, attributes(n))
		}
	}
	return out
}

func attributes(n *html.Node) map[string]string {
	at := map[string]string{}
	for _, a := range n.Attr {
		at[a.Key] = a.Val
	}
	return at
}

// Attribute returns the value of the first attribute of that name on the page, or "".
func (p Page) Attribute(name string) string {
	doc, err := html.Parse(strings.NewReader(p.Body))
	if err != nil {
		return ""
	}
	for n := range doc.Descendants() {
		for _, a := range n.Attr {
			if a.Key == name {
				return a.Val
			}
		}
	}
	return ""
}

// Fields returns the values of the page's forms: hidden fields, and checkboxes that are checked.
func (p Page) Fields() url.Values { return fields(p.elements("input")) }

// FieldsOf returns the same of the first form that posts to a path.
func (p Page) FieldsOf(path string) url.Values {
	doc, err := html.Parse(strings.NewReader(p.Body))
	if err != nil {
		return url.Values{}
	}
	for n := range doc.Descendants() {
		if n.Type == html.ElementNode && n.Data == "form" && strings.HasSuffix(attributes(n)["action"], path) {
			return fields(elementsOf(n, "input"))
		}
	}
	return url.Values{}
}

func fields(inputs []map[string]string) url.Values {
	out := url.Values{}
	for _, at := range inputs {
		_, checked := at["checked"]
		if at["type"] == "hidden" || at["type"] == "checkbox" && checked {
			out.Add(at["name"], at["value"])
		}
	}
	return out
}

// Links returns the href of every link on the page.
func (p Page) Links() (out []string) {
	for _, at := range p.elements("a") {
		out = append(out, at["href"])
	}
	return out
}

// Buttons returns the values of the page's buttons of that name.
func (p Page) Buttons(name string) (out []string) {
	for _, at := range p.elements("button") {
		if at["name"] == name {
			out = append(out, at["value"])
		}
	}
	return out
}

// Text returns the text of the page, with single spaces.
func (p Page) Text() string {
	doc, err := html.Parse(strings.NewReader(p.Body))
	if err != nil {
		return ""
	}
	var b strings.Builder
	for n := range doc.Descendants() {
		if n.Type == html.TextNode {
			b.WriteString(n.Data + " ")
		}
	}
	return strings.Join(strings.Fields(b.String()), " ")
}

// SignIn submits the sign-in form of the page and follows the redirects.
func (b *Browser) SignIn(p Page, username string) Page {
	b.T.Helper()
	form := p.Fields()
	form.Set("username", username)
	form.Set("password", Password)
	response := b.Submit("/login", form)
	if response.Status != http.StatusSeeOther {
		b.T.Fatalf("sign-in of %s: %d %s, want 303", username, response.Status, response.Text())
	}
	return b.Follow(response)
}

// Decide submits the consent form of the page and returns the redirect to the client.
func (b *Browser) Decide(p Page, value string) Page {
	b.T.Helper()
	form := p.Fields()
	form.Set("decision", value)
	return b.Submit("/consent", form)
}

// Verifier is the PKCE verifier of every test that does not set another.
const Verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"

// Challenge returns the S256 challenge of a verifier.
func Challenge(verifier string) string {
	sum := sha256.Sum256([]byte(verifier))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// AuthorizeForm returns a valid authorization request of the client, with the changes: an empty value removes the
// parameter.
func AuthorizeForm(c client.Information, changes ...string) url.Values {
	v := url.Values{
		"response_type": {"code"}, "client_id": {c.ClientID}, "scope": {"read write"}, "state": {"the state"},
		"code_challenge": {Challenge(Verifier)}, "code_challenge_method": {"S256"},
	}
	if len(c.RedirectURIs) > 0 {
		v.Set("redirect_uri", c.RedirectURIs[0])
	}
	for i := 0; i+1 < len(changes); i += 2 {
		if changes[i+1] == "" {
			v.Del(changes[i])
		} else {
			v.Set(changes[i], changes[i+1])
		}
	}
	return v
}

// Authorize opens an authorization request and follows its redirects to the first page or to the client.
func (b *Browser) Authorize(c client.Information, changes ...string) Page {
	b.T.Helper()
	return b.Follow(b.Open("/oauth2/authorize?" + AuthorizeForm(c, changes...).Encode()))
}

// Code opens an authorization request, signs in and consents as needed, and returns the redirect to the client.
func (b *Browser) Code(c client.Information, username string, changes ...string) *url.URL {
	b.T.Helper()
	p := b.Authorize(c, changes...)
	if strings.Contains(p.URL, "/login") {
		p = b.SignIn(p, username)
	}
	if strings.Contains(p.URL, "/consent") {
		p = b.Follow(b.Decide(p, "approve"))
	}
	to := p.Location()
	if p.Status != http.StatusSeeOther || to.Query().Get("code") == "" {
		b.T.Fatalf("got %d, Location %q, want a redirect with a code: %s", p.Status, p.Header.Get("Location"), p.Text())
	}
	return to
}

// CodeForm returns a valid token request with the code in a redirect to the client, with the changes as in
// AuthorizeForm.
func CodeForm(to *url.URL, c client.Information, changes ...string) url.Values {
	v := url.Values{
		"grant_type": {"authorization_code"}, "code": {to.Query().Get("code")}, "code_verifier": {Verifier},
		"redirect_uri": {c.RedirectURIs[0]},
	}
	for i := 0; i+1 < len(changes); i += 2 {
		if changes[i+1] == "" {
			v.Del(changes[i])
		} else {
			v.Set(changes[i], changes[i+1])
		}
	}
	return v
}

// Tokens signs a user in to a client in a new browser and exchanges the code.
func (s *Server) Tokens(c client.Information, username string, changes ...string) Response {
	s.T.Helper()
	r := s.Token(c, CodeForm(s.Browser().Code(c, username, changes...), c))
	if r.Status != http.StatusOK {
		s.T.Fatalf("code exchange: %d %s, want 200", r.Status, r.Body)
	}
	return r
}

// Refresh presents a refresh token.
func (s *Server) Refresh(c client.Information, token string, changes ...string) Response {
	s.T.Helper()
	v := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
	for i := 0; i+1 < len(changes); i += 2 {
		v.Set(changes[i], changes[i+1])
	}
	return s.Token(c, v)
}
