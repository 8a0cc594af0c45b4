package main

import (
	"context"
	"encoding/json"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/html"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// layoutServer is a server whose brand, users, scopes and clients have the longest names that are accepted, in which a
// browser cannot break a line, or ordinary ones.
type layoutServer struct {
	*servertest.Server

	wide                           bool
	app, document, limited, strict client.Information
	host, scope, moreScope         string
}

// long returns n characters, which would be markup if a page did not escape them, or an ordinary text.
func (s *layoutServer) long(n int, ordinary string) string {
	if !s.wide {
		return ordinary
	}
	return "<b>" + strings.Repeat("W", n-3)
}

// word returns a word of n characters, or an ordinary one.
func (s *layoutServer) word(n int, ordinary string) string {
	if !s.wide {
		return ordinary
	}
	return ordinary[:1] + strings.Repeat("w", n-1)
}

// hebrewDirectory returns a directory of templates with a language that is written from right to left, in which every
// message is English.
func hebrewDirectory(t *testing.T) string {
	t.Helper()
	files := t.TempDir()
	storagetest.Must(t, os.Mkdir(filepath.Join(files, "messages"), 0o700))
	hebrew := `{"language.name": "עברית", "language.direction": "rtl", "product": "Gatehouse"}`
	storagetest.Must(t, os.WriteFile(filepath.Join(files, "messages", "he.json"), []byte(hebrew), 0o600))
	return files
}

// startLayoutServer starts the server. Its issuer has a host name, without which there are no passkeys.
func startLayoutServer(t *testing.T, wide bool) *layoutServer {
	t.Helper()
	s := &layoutServer{wide: wide, host: "notes.example", scope: "notes", moreScope: "photos"}
	brand := "Example Library"
	if wide {
		s.host = strings.Repeat(strings.Repeat("w", 63)+".", 3) + "example" // 199 characters
		s.scope, s.moreScope = "long."+strings.Repeat("w", 90), "more."+strings.Repeat("w", 90)
		brand = strings.Repeat("W", 60)
	}
	env := servertest.MailSettings(nil)
	if wide {
		maps.Copy(env, brandImages(t))
	}
	for name, value := range map[string]string{
		"GATEHOUSE_TEMPLATES_DIR": hebrewDirectory(t), "GATEHOUSE_BRAND_NAME": brand,
		"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_SIGN_IN_CODES": "true",
		"GATEHOUSE_SIGN_UP": "open", "GATEHOUSE_RATE_LIMITS": "sign_up_unproven=60/1m",
		"GATEHOUSE_CLIENT_DOCUMENTS": "open", "GATEHOUSE_FETCH_ALLOW_HOSTS": "127.0.0.1",
		"GATEHOUSE_TERMS_URL": "https://" + s.host + "/terms", "GATEHOUSE_TERMS_VERSION": "1",
		"GATEHOUSE_BRAND_SUPPORT_URL":   "https://" + s.host + "/help",
		"GATEHOUSE_BRAND_PRIVACY_URL":   "https://" + s.host + "/privacy",
		"GATEHOUSE_REGISTRATION_SCOPES": "openid,profile,email," + s.scope + "," + s.moreScope,
	} {
		env[name] = value
	}
	s.Server = servertest.Start(t, storagetest.URL(t, storagetest.Engines(t)[0]), servertest.Options{
		Issuer: "http://localhost", Env: env,
	})
	connectTo(s.Server)
	s.createRecords()
	return s
}

// connectTo makes the browsers of a test reach a server by the host of its issuer.
func connectTo(s *servertest.Server) {
	address := strings.TrimPrefix(s.URL, "http://")
	s.URL = s.Issuer
	s.HTTP.Transport = &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
}

// createRecords creates the scopes, attributes, groups and clients.
func (s *layoutServer) createRecords() {
	t, ctx := s.T, s.T.Context()
	for scope, text := range map[string]string{s.scope: "Read your notes", s.moreScope: "See and share your photos"} {
		storagetest.Must(t, s.Store.CreateScope(ctx, storage.Scope{Name: scope, Description: s.long(300, text)}))
	}
	for _, access := range []string{"read", "edit"} {
		storagetest.Must(t, s.Store.CreateAttribute(ctx, storage.Attribute{
			Name: access, Label: s.long(150, "Department"), Type: "strings", UserAccess: access, Claim: access, ClaimKey: access,
			Scope: s.moreScope,
		}))
	}
	group := s.word(100, "editors")
	storagetest.Must(t, s.Store.CreateGroup(ctx, storage.Group{Name: group}))
	name, site := s.long(100, "Quiet Notes"), "https://"+s.host
	metadata := func(more map[string]any) string {
		m := map[string]any{
			"client_name": name, "scope": "openid " + s.scope + " " + s.moreScope, "redirect_uris": []string{site + "/cb"},
		}
		for k, v := range more {
			m[k] = v
		}
		out, err := json.Marshal(m)
		storagetest.Must(t, err)
		return string(out)
	}
	s.limited = s.Client(metadata(map[string]any{"gatehouse_required_groups": []string{group}}))
	s.strict = s.Client(metadata(map[string]any{"gatehouse_required_acr": identity.ACRPasskey}))
	s.app = s.register(metadata(map[string]any{
		"logo_uri":                   s.appLogo(),
		"token_endpoint_auth_method": "none", "post_logout_redirect_uris": []string{site + "/out"},
		"policy_uri": site + "/policy", "tos_uri": site + "/tos", "initiate_login_uri": site + "/start",
	}))
	s.document = client.Information{ClientID: site + "/oauth/client.json"}
	s.document.RedirectURIs = []string{site + "/cb"}
	storagetest.CreateDocumentClient(t, s.Store, &storage.Client{
		ID: s.document.ClientID, Name: name, Scopes: storage.Strings{"openid", s.scope},
		RedirectURIs: storage.Strings{site + "/cb"}, PolicyURI: site + "/policy", TosURI: site + "/tos",
	})
}

// register registers a client dynamically, which the operator has not verified.
func (s *layoutServer) register(metadata string) (c client.Information) {
	s.T.Helper()
	req, err := http.NewRequestWithContext(s.T.Context(), http.MethodPost, s.URL+"/oauth2/register",
		strings.NewReader(metadata))
	storagetest.Must(s.T, err)
	req.Header.Set("Content-Type", "application/json")
	response := s.Do(req)
	if err := json.Unmarshal([]byte(response.Body), &c); err != nil || c.ClientID == "" {
		s.T.Fatalf("registration: %d %s, want a client_id", response.Status, response.Body)
	}
	return c
}

// createUser creates a user.
func (s *layoutServer) createUser(name, language string) storage.User {
	s.T.Helper()
	username, domain := s.word(61, name)+"-"+language, "example.com"
	if s.wide {
		domain = strings.Repeat(strings.Repeat("w", 40)+".", 4) + "example"
	}
	u, err := s.Users.Create(s.T.Context(), identity.NewUser{
		Username: username, Email: username + "@" + domain, Name: s.long(200, "Lena Fischer"),
		Password: servertest.Password, EmailVerified: true,
		Profile:    storage.Profile{GivenName: s.long(200, "Lena"), Website: "https://" + s.host + "/"},
		Attributes: map[string][]string{"read": {s.long(150, "Acquisitions")}, "edit": {s.long(150, "Maps")}},
	})
	storagetest.Must(s.T, err)
	return u
}

// addPasskeys gives a user a passkey and a security key.
func (s *layoutServer) addPasskeys(u storage.User) {
	s.T.Helper()
	used := s.Clock.Now().Add(-time.Hour)
	for i, second := range []bool{false, true} {
		id := []byte(strconv.Itoa(i) + u.ID)
		storagetest.Must(s.T, s.Store.CreatePasskey(s.T.Context(), storage.Passkey{
			ID: string(id), UserID: u.ID, CredentialID: id, PublicKey: id, UserVerified: true, Attestation: "none",
			Discoverable: !second, SecondFactor: second, BackupEligible: !second, Name: s.long(64, "Phone"),
			CreatedAt: used, LastUsedAt: &used,
		}, storage.FactorAddition{}))
	}
}

// submitForm submits the form of a page with that action, with changed values.
func submitForm(b *servertest.Browser, p servertest.Page, action string, changes ...string) servertest.Page {
	b.T.Helper()
	doc, err := html.Parse(strings.NewReader(p.Body))
	storagetest.Must(b.T, err)
	for n := range doc.Descendants() {
		if n.Data != "form" || attribute(n, "action") != action {
			continue
		}
		form := map[string][]string{}
		for field := range n.Descendants() {
			kind, name := attribute(field, "type"), attribute(field, "name")
			if field.Data == "input" && name != "" && kind != "checkbox" || field.Data == "textarea" {
				form[name] = []string{attribute(field, "value")}
			}
		}
		for i := 0; i+1 < len(changes); i += 2 {
			form[changes[i]] = []string{changes[i+1]}
		}
		return b.Submit(action, form)
	}
	b.T.Fatalf("the page %s has no form for %s: %s", p.URL, action, p.Text())
	return p
}

func attribute(n *html.Node, name string) string {
	for _, a := range n.Attr {
		if a.Key == name {
			return a.Val
		}
	}
	return ""
}
