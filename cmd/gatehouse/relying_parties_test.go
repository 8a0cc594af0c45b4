package main

import (
	"bufio"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"gatehouse/storage/storagetest"
)

// provider is `gatehouse serve` with a TLS certificate, as relying parties on the internet use it.
type provider struct {
	issuer, cert, key string
	env               map[string]string
	server            *process
}

const rpPassword = "a password for relying parties"

func startProvider(t *testing.T) *provider {
	t.Helper()
	p := newProvider(t)
	p.serve(t)
	return p
}

// newProvider returns a provider with a user, which is not started yet.
func newProvider(t *testing.T) *provider {
	t.Helper()
	dir := t.TempDir()
	address := storagetest.FreeAddress(t)
	p := &provider{
		issuer: "https://" + address, cert: filepath.Join(dir, "cert.pem"), key: filepath.Join(dir, "key.pem"),
	}
	selfSigned(t, p.cert, p.key)
	p.env = map[string]string{
		"GATEHOUSE_ISSUER": p.issuer, "GATEHOUSE_LISTEN": address, "GATEHOUSE_SECRET_KEY": keyText,
		"GATEHOUSE_DATABASE_URL":  "sqlite:" + filepath.Join(dir, "gatehouse.db"),
		"GATEHOUSE_TLS_CERT_FILE": p.cert, "GATEHOUSE_TLS_KEY_FILE": p.key, "GATEHOUSE_REGISTRATION": "open",
	}
	createUser(t, p.env, "alice", rpPassword, "--name", "Alice Example")
	return p
}

func (p *provider) serve(t *testing.T) *process {
	t.Helper()
	p.server = startServe(t, p.env)
	return p.server
}

// selfSigned writes a self-signed certificate for 127.0.0.1 and a new private key.
func selfSigned(t *testing.T, certFile, keyFile string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	storagetest.Must(t, err)
	selfSignedBy(t, private, certFile, keyFile)
}

// selfSignedBy writes a self-signed certificate for 127.0.0.1 and its private key.
func selfSignedBy(t *testing.T, private crypto.Signer, certFile, keyFile string) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "127.0.0.1"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	storagetest.Must(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	storagetest.Must(t, err)
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: keyDER},
	} {
		storagetest.Must(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	}
}

func TestRelyingPartiesInteroperate(t *testing.T) {
	dir := requireEnv(t, "RELYING_PARTIES")
	requireEnv(t, "CHROME")
	p := startProvider(t)
	t.Run("openid-client", func(t *testing.T) { testOpenIDClient(t, dir, p) })
	t.Run("zitadel", func(t *testing.T) { testZitadel(t, dir, p) })
	t.Run("oidc-client-ts", func(t *testing.T) { testSinglePageApp(t, dir, p) })
	t.Run("oauth2-proxy", func(t *testing.T) { testOAuth2Proxy(t, dir, p) })
	t.Run("kubernetes", func(t *testing.T) { testKubernetes(t, dir, p) })
}

// testOpenIDClient runs openid-client in Node.js.
func testOpenIDClient(t *testing.T, dir string, p *provider) {
	script := filepath.Join(dir, "openid-client.mjs")
	cmd := exec.CommandContext(t.Context(), "node", script, p.issuer, "alice", rpPassword)
	cmd.Env = append(os.Environ(), "NODE_EXTRA_CA_CERTS="+p.cert)
	out, err := cmd.CombinedOutput()
	if n := strings.Count(string(out), "ok "); err != nil || n != 9 {
		t.Errorf("openid-client: %v, %d checks passed, want 9:\n%s", err, n, out)
	}
}

// testZitadel runs the relying party of zitadel/oidc and signs the user in for it.
func testZitadel(t *testing.T, dir string, p *provider) {
	id, secret := createClient(t, p.env, `{"client_name":"zitadel","scope":"openid email offline_access",
		"grant_types":["authorization_code","refresh_token"],"redirect_uris":["https://app.example/cb"],
		"post_logout_redirect_uris":["https://app.example/bye"]}`)
	program := filepath.Join(dir, "relying-party")
	cmd := exec.CommandContext(t.Context(), program, p.issuer, id, secret, "https://app.example/cb")
	cmd.Env = append(os.Environ(), "SSL_CERT_FILE="+p.cert)
	stdin, err := cmd.StdinPipe()
	storagetest.Must(t, err)
	stdout, err := cmd.StdoutPipe()
	storagetest.Must(t, err)
	errs := &strings.Builder{}
	cmd.Stderr = errs
	storagetest.Must(t, cmd.Start())
	lines := bufio.NewReader(stdout)
	authorize, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("the relying party printed no authorization URL: %v: %s", err, errs)
	}
	callback := consentInNewBrowser(t, strings.TrimSpace(authorize), "alice", rpPassword, p.cert)
	_, err = fmt.Fprintln(stdin, callback)
	storagetest.Must(t, err)
	rest, err := io.ReadAll(lines)
	storagetest.Must(t, err)
	// The library posts the logout request without the browser's cookies, and returns the URL for the browser.
	target, ok := strings.CutPrefix(strings.TrimSpace(string(rest)), "ok alice@example.com ")
	if err := cmd.Wait(); err != nil || !ok || !strings.HasPrefix(target, p.issuer+"/oauth2/logout?request=") {
		t.Fatalf("the relying party printed %q, %v, want ok with the email address and a logout URL: %s", rest, err, errs)
	}
	const want = "https://app.example/bye?state=the+state"
	if got := locationOf(t, target, p.cert); got != want {
		t.Errorf("the logout redirects to %s, want %s", got, want)
	}
}

// locationOf returns the URL to which the server redirects a browser without a session.
func locationOf(t *testing.T, requestURL, cert string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, requestURL, nil)
	storagetest.Must(t, err)
	res, err := newTrustingClient(t, cert).Transport.RoundTrip(req)
	storagetest.Must(t, err)
	defer func() { _ = res.Body.Close() }()
	return res.Header.Get("Location")
}

// testSinglePageApp runs oidc-client-ts in Chromium, from a page of another origin.
func testSinglePageApp(t *testing.T, dir string, p *provider) {
	app := startSinglePageApp(t, dir, p)
	b := openBrowser(t, chromedp.Flag("ignore-certificate-errors", true))
	result := func(step string) map[string]any {
		t.Helper()
		shown := `//pre[contains(., '"step":"` + step + `"') or contains(., '"failed"')]`
		b.do("wait for the result of the page", chromedp.WaitVisible(shown))
		out := map[string]any{}
		text := evaluate[string](b, `document.querySelector("#result").textContent`)
		storagetest.Must(t, json.Unmarshal([]byte(text), &out))
		return out
	}
	b.do("sign in", chromedp.Navigate(app), visible("to continue to"), fill("username", "alice"),
		fill("password", rpPassword), press("Sign in"), visible("wants access"), press("Allow"))
	in := result("in")
	state, _ := in["state"].(map[string]any)
	if in["email"] != "alice@example.com" || in["rotated"] != true || in["same"] != true || state["deep"] == nil {
		t.Errorf("result of the sign-in = %v, want the email address, rotated, the same user, and the state", in)
	}
	b.do("revoke the tokens and sign out", chromedp.Navigate(app+"/sign-out"))
	if out := result("out"); fmt.Sprint(out["state"]) != "map[left:true]" {
		t.Errorf("result of the sign-out = %v, want the state left: true", out)
	}
	b.do("sign in silently in a frame", chromedp.Navigate(app+"/frame"))
	if frame := result("frame"); frame["error"] != "login_required" {
		t.Errorf("result of the silent sign-in after the sign-out = %v, want login_required", frame)
	}
}

// startSinglePageApp serves the page and its library, and returns the URL of the page.
func startSinglePageApp(t *testing.T, dir string, p *provider) string {
	t.Helper()
	page := readFile(t, filepath.Join(dir, "spa.html"))
	library := readFile(t, filepath.Join(dir, "node_modules/oidc-client-ts/dist/browser/oidc-client-ts.min.js"))
	settings := map[string]string{"issuer": p.issuer}
	app := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/settings.json":
			_ = json.NewEncoder(w).Encode(settings) // fails only when the browser closed the connection
		case "/oidc-client-ts.min.js":
			w.Header().Set("Content-Type", "text/javascript")
			_, _ = io.WriteString(w, library)
		default:
			w.Header().Set("Content-Type", "text/html")
			_, _ = io.WriteString(w, page)
		}
	}))
	pair, err := tls.LoadX509KeyPair(p.cert, p.key)
	storagetest.Must(t, err)
	app.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	app.StartTLS()
	t.Cleanup(app.Close)
	settings["client_id"], _ = createClient(t, p.env, `{"client_name":"Single page","token_endpoint_auth_method":"none",
		"grant_types":["authorization_code","refresh_token"],"scope":"openid profile email offline_access",
		"redirect_uris":["`+app.URL+`/cb","`+app.URL+`/silent"],"post_logout_redirect_uris":["`+app.URL+`/out"]}`)
	return app.URL
}
