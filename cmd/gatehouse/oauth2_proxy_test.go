package main

import (
	"encoding/json"
	"fmt"
	"html"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"gatehouse/storage/storagetest"
)

const oauth2ProxyPage = "../../docs/relying-parties/oauth2-proxy.md"

// proxiedApps are the apps behind one oauth2-proxy, configured as docs/relying-parties/oauth2-proxy.md prints it, for
// several hosts. The hosts are app.example.com and wiki.example.com, on one port.
type proxiedApps struct {
	*tab

	provider *provider
	port     string
}

func (a *proxiedApps) url(host, path string) string {
	return "https://" + host + ".example.com:" + a.port + path
}

// startOAuth2Proxy registers the client and starts oauth2-proxy, and a browser in which the hosts resolve.
func startOAuth2Proxy(t *testing.T, dir string, p *provider) *proxiedApps {
	t.Helper()
	address := storagetest.FreeAddress(t)
	port := address[strings.LastIndex(address, ":")+1:]
	hosts := strings.NewReplacer("https://id.example.com", p.issuer,
		"id.example.com", strings.TrimPrefix(p.issuer, "https://"), "app.example.com", "app.example.com:"+port,
		`whitelist_domains = [".example.com"`, `whitelist_domains = [".example.com:`+port+`"`)
	var client struct {
		ID     string `json:"client_id"`
		Secret string `json:"client_secret"`
	}
	for _, command := range documentCommands(t, hosts.Replace(readFile(t, oauth2ProxyPage))) {
		if out := mustRun(t, p.env, "", command...); command[0] == "client" && command[1] == "create" {
			storagetest.Must(t, json.Unmarshal([]byte(out), &client))
		}
	}
	mustRun(t, p.env, "", "client", "update", client.ID, "--required-group", "any")

	upstream := httptest.NewServer(http.HandlerFunc(showForwardedUser))
	t.Cleanup(upstream.Close)
	files := documentFiles(t, oauth2ProxyPage)
	config := ""
	for line := range strings.Lines(files["oauth2-proxy.cfg"]) {
		if !strings.HasPrefix(line, "whitelist_domains") { // several-hosts.cfg replaces it
			config += line
		}
	}
	config = hosts.Replace(config+files["several-hosts.cfg"]) +
		fmt.Sprintf("https_address = %q\ntls_cert_file = %q\ntls_key_file = %q\n", address, p.cert, p.key) +
		"http_address = \"\"\npass_access_token = true\nallowed_groups = [\"staff\"]\n"
	config = strings.NewReplacer("CLIENT_ID", client.ID, "CLIENT_SECRET", client.Secret,
		"COOKIE_SECRET", "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=", "http://127.0.0.1:3000", upstream.URL,
		`cookie_refresh = "5m"`, `cookie_refresh = "1ms"`).Replace(config)
	file := filepath.Join(t.TempDir(), "oauth2-proxy.cfg")
	storagetest.Must(t, os.WriteFile(file, []byte(config), 0o600))
	cmd := exec.Command(filepath.Join(dir, "oauth2-proxy", "oauth2-proxy"), "--config", file)
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+p.cert)
	out := startProgram(t, cmd, address)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("oauth2-proxy:\n%s", out.tail())
		}
	})
	b := openBrowser(t, chromedp.Flag("ignore-certificate-errors", true),
		chromedp.Flag("host-resolver-rules", "MAP *.example.com 127.0.0.1"))
	return &proxiedApps{b, p, port}
}

// showForwardedUser serves the page of an app behind oauth2-proxy: its URL and the user of the request.
func showForwardedUser(w http.ResponseWriter, r *http.Request) {
	h := r.Header
	w.Header().Set("Content-Type", "text/html")
	_, _ = fmt.Fprintf(w, "<p>%s %s %s [%s]</p><pre>%s</pre>", // it fails only when the browser closed the connection
		html.EscapeString(r.Host+r.URL.Path), html.EscapeString(h.Get("X-Forwarded-Email")),
		html.EscapeString(h.Get("X-Forwarded-Preferred-Username")), html.EscapeString(h.Get("X-Forwarded-Groups")),
		html.EscapeString(h.Get("X-Forwarded-Access-Token")))
}

// reloadUntil opens a URL until the page has a text.
func (a *proxiedApps) reloadUntil(what, to, text string) {
	a.t.Helper()
	deadline := time.Now().Add(waitTimeout)
	for {
		a.do("open "+to, chromedp.Navigate(to))
		if strings.Contains(a.text(), text) {
			return
		}
		if time.Now().After(deadline) {
			a.t.Fatalf("%s: the page is %s, want %q", what, a.text(), text)
		}
	}
}

// testOAuth2Proxy runs oauth2-proxy in front of an app, in Chromium: sign-in for another host than that of the
// callback, groups, refresh, sign-out.
func testOAuth2Proxy(t *testing.T, dir string, p *provider) {
	a := startOAuth2Proxy(t, dir, p)
	wiki := a.url("wiki", "/page")
	start := a.url("app", "/oauth2/start?rd="+url.QueryEscape(wiki))
	want := "wiki.example.com:" + a.port + "/page alice@example.com alice [staff]"

	// The form leads to the callback of one host, and that to another host.
	a.do("sign in", chromedp.Navigate(start), visible("to continue to"), fill("username", "alice"),
		fill("password", rpPassword), press("Sign in"), visible("wants access"), press("Allow"), visible(want))

	first := evaluate[string](a.tab, `document.querySelector("pre").textContent`)
	storagetest.Eventually(t, "the session is refreshed", func() bool {
		a.do("reload", chromedp.Navigate(wiki), visible(want))
		return evaluate[string](a.tab, `document.querySelector("pre").textContent`) != first
	})
	mustRun(t, p.env, "", "group", "remove", "staff", "alice")
	a.reloadUntil("without the group, after a refresh", wiki, "403")
	a.reloadUntil("a sign-in without the group", start, "/oauth2/callback?code=")

	mustRun(t, p.env, "", "group", "add", "staff", "alice")
	a.do("sign in again", chromedp.Navigate(start), visible(want))
	mustRun(t, p.env, "", "client", "update", "Intranet", "--required-group", "staff")
	mustRun(t, p.env, "", "group", "remove", "staff", "alice")
	a.reloadUntil("without the required group", a.url("app", "/"), "You do not have access to")

	mustRun(t, p.env, "", "group", "add", "staff", "alice")
	a.do("sign in again", chromedp.Navigate(start), visible(want))
	logout := p.issuer + "/oauth2/logout?id_token_hint={id_token}&post_logout_redirect_uri=" + a.url("app", "/")
	a.do("sign out, and be prompted at the app", chromedp.Navigate(a.url("app", "/oauth2/sign_out?rd="+
		url.QueryEscape(logout))), visible("to continue to"), chromedp.WaitVisible(chromedp.CSS("#password")))
}
