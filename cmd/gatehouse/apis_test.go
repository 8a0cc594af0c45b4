package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// markedFile matches a file in a document: a comment with its name, then a code block.
var markedFile = regexp.MustCompile("(?s)<!-- file: (\\S+) -->\n```[a-z]*\n(.*?)\n```\n")

// documentFiles returns the marked files of a document by name.
func documentFiles(t *testing.T, document string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(document)
	storagetest.Must(t, err)
	files := map[string]string{}
	for _, m := range markedFile.FindAllStringSubmatch(string(b), -1) {
		files[m[1]] = m[2] + "\n"
	}
	return files
}

// apiPrograms are the commands that build and, last, run each program of docs/apis.md in the directory of its
// libraries.
var apiPrograms = map[string][][]string{
	"spring": {
		{"javac", "-parameters", "-proc:none", "-cp", "lib/*", "-d", "classes", "Api.java", "Stock.java"},
		{"java", "-XX:TieredStopAtLevel=1", "-cp", "classes:lib/*:.", "stock.Stock"},
	},
	"node":   {{"node", "api.mjs"}},
	"go":     {{"env", "CGO_ENABLED=0", "go", "build", "-o", "api", "."}, {"./api"}},
	"python": {{"venv/bin/python", "api.py"}},
}

// testIssuer is a Gatehouse behind a proxy that adds a key to its JWKS, so that the test can sign tokens that Gatehouse
// never issues. While down is set, the proxy forwards nothing.
type testIssuer struct {
	*servertest.Server

	key            *ecdsa.PrivateKey
	down           atomic.Bool
	introspections atomic.Int32 // requests to the introspection endpoint
}

const testKeyID = "test"

func startTestIssuer(t *testing.T) *testIssuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	storagetest.Must(t, err)
	i := &testIssuer{key: key}
	front := httptest.NewUnstartedServer(nil)
	i.Server = servertest.Start(t, storagetest.URL(t, storagetest.Engines(t)[0]), servertest.Options{
		Issuer: "http://" + front.Listener.Addr().String(),
	})
	target, err := url.Parse(i.URL)
	storagetest.Must(t, err)
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ModifyResponse = i.addKey
	front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if i.down.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		if r.URL.Path == "/oauth2/introspect" {
			i.introspections.Add(1)
		}
		proxy.ServeHTTP(w, r)
	})
	front.Start()
	t.Cleanup(front.Close)
	return i
}

// addKey adds the test key to a response with the JWKS.
func (i *testIssuer) addKey(res *http.Response) error {
	if !strings.HasSuffix(res.Request.URL.Path, "/jwks.json") {
		return nil
	}
	var set jose.JSONWebKeySet
	if err := json.NewDecoder(res.Body).Decode(&set); err != nil {
		return err
	}
	public := jose.JSONWebKey{Key: i.key.Public(), KeyID: testKeyID, Algorithm: string(jose.ES256), Use: "sig"}
	set.Keys = append(set.Keys, public)
	b, err := json.Marshal(set)
	res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	res.Header.Set("Content-Length", strconv.Itoa(len(b)))
	return err
}

// sign signs claims with the test key. typ is the header parameter.
func (i *testIssuer) sign(t *testing.T, typ string, claims map[string]any) string {
	t.Helper()
	key := servertest.ClientKey{Private: i.key, ID: testKeyID, Alg: string(jose.ES256)}
	return key.Sign(t, claims, map[jose.HeaderKey]any{"typ": typ})
}

func apiResource(identifier string, scopes ...string) storage.Resource {
	return storage.Resource{
		Identifier: identifier, Name: identifier, Scopes: scopes, Introspectors: storage.Strings{}, CreatedAt: time.Now(),
	}
}

// An apiRequest is a request to an API program, and the expected response.
type apiRequest struct {
	what, authorization string
	status              int
	challenge           string // part of WWW-Authenticate
}

const invalidToken, insufficientScope = `error="invalid_token"`, `error="insufficient_scope"`

// apiRequests returns the requests that every API program must respond to alike. The API is audience, with the scope
// notes.read. reader is an access token that is valid there.
func apiRequests(t *testing.T, i *testIssuer, audience, reader string) []apiRequest {
	t.Helper()
	signed := func(typ, claim string, value any) string {
		now := time.Now().Unix()
		claims := map[string]any{
			"iss": i.Issuer, "aud": audience, "sub": "subject", "client_id": "client", "iat": now - 7200,
			"exp": now + 600, "jti": "j", "scope": "notes.read",
		}
		claims[claim] = value
		return "Bearer " + i.sign(t, typ, claims)
	}
	changed := func(claim string, value any) string { return signed("at+jwt", claim, value) }
	const other = "https://other.example.com"
	storagetest.Must(t, i.Store.CreateResource(t.Context(), apiResource(other, "other")))
	otherAPI, writer := i.ServiceToken(i.Service("other")), i.ServiceToken(i.Service("notes.write"))
	parts, writerParts := strings.Split(reader, "."), strings.Split(writer, ".")
	swapped := parts[0] + "." + parts[1] + "." + writerParts[2]
	unsigned := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"at+jwt"}`)) + "." + parts[1] + "."
	return []apiRequest{
		{"an access token", "Bearer " + reader, 200, ""},
		{"the scheme in lower case", "bearer " + reader, 200, ""},
		{"a token of the test key", changed("sub", "subject"), 200, ""},
		{"several audiences", changed("aud", []string{other, audience}), 200, ""},
		{"several scopes", changed("scope", "openid notes.read"), 200, ""},
		{"no token", "", 401, "Bearer"},
		{"another scheme", "Basic YTpi", 401, "Bearer"},
		{"another scope", "Bearer " + writer, 403, insufficientScope},
		{"a scope with the same beginning", changed("scope", "notes.read.all"), 403, insufficientScope},
		{"no scope", changed("scope", ""), 403, insufficientScope},
		{"a token for another API", "Bearer " + otherAPI, 401, invalidToken},
		{"the type of an ID token", signed("JWT", "sub", "subject"), 401, invalidToken},
		{"another audience", changed("aud", other), 401, invalidToken},
		{"another issuer", changed("iss", i.Issuer+"/other"), 401, invalidToken},
		{"an expired token", changed("exp", time.Now().Unix()-3600), 401, invalidToken},
		{"the signature of another token", "Bearer " + swapped, 401, invalidToken},
		{"no signature", "Bearer " + unsigned, 401, invalidToken},
		{"no JWT", "Bearer abc", 401, invalidToken},
	}
}

// apiProgram is a running program of docs/apis.md.
type apiProgram struct {
	address string
	out     *output
}

// programFiles is locked while the files of a program are written: two programs that run concurrently may share their
// directory.
var programFiles sync.Mutex

// writeProgramFiles writes the files that a document has for a directory, except those that exist with that content.
func writeProgramFiles(t *testing.T, files map[string]string, dir string) {
	t.Helper()
	programFiles.Lock()
	defer programFiles.Unlock()
	found := false
	for file, content := range files {
		if path.Dir(file) != filepath.Base(dir) {
			continue
		}
		found = true
		name := filepath.Join(dir, path.Base(file))
		if existing, err := os.ReadFile(name); err != nil || string(existing) != content {
			storagetest.Must(t, os.WriteFile(name, []byte(content), 0o600))
		}
	}
	if !found {
		t.Fatalf("the document has no file of a program in %s", filepath.Base(dir))
	}
}

// startProgramFiles writes the files that a document has for a directory of libraries into that directory, builds and
// starts the program: the last command runs it, with its port in PORT.
func startProgramFiles(
	t *testing.T, files map[string]string, dir string, commands [][]string, address string, env []string,
) *apiProgram {
	t.Helper()
	writeProgramFiles(t, files, dir)
	_, port, err := net.SplitHostPort(address)
	storagetest.Must(t, err)
	env = append(env, "PORT="+port)
	for _, args := range commands[:len(commands)-1] {
		cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
		cmd.Dir, cmd.Env = dir, env
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", args, err, out)
		}
	}
	args := commands[len(commands)-1]
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir, cmd.Env = dir, env
	return &apiProgram{address, startProgram(t, cmd, address)}
}

// call requests the notes.
func (p *apiProgram) call(t *testing.T, authorization string) (status int, challenge, body string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url("/notes"), nil)
	storagetest.Must(t, err)
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	return p.send(t, req)
}

func (p *apiProgram) url(path string) string { return "http://" + p.address + path }

func (p *apiProgram) send(t *testing.T, req *http.Request) (status int, challenge, body string) {
	t.Helper()
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", req.Method, req.URL.Path, err, p.out.tail())
	}
	defer func() { _ = res.Body.Close() }()
	b, err := io.ReadAll(res.Body)
	storagetest.Must(t, err)
	return res.StatusCode, res.Header.Get("WWW-Authenticate"), string(b)
}

// check sends a request and compares the response with the expected one.
func (p *apiProgram) check(t *testing.T, r apiRequest) {
	t.Helper()
	status, challenge, body := p.call(t, r.authorization)
	valid := status == r.status && strings.Contains(challenge, r.challenge)
	if r.status == http.StatusUnauthorized {
		valid = valid && strings.HasPrefix(challenge, "Bearer")
	}
	if r.challenge == "Bearer" { // without credentials there is no error (RFC 6750 §3.1)
		valid = valid && !strings.Contains(challenge, "error=")
	}
	if hasNote := strings.Contains(body, "a note of"); !valid || hasNote != (r.status == http.StatusOK) {
		t.Errorf("GET /notes with %s: %d, WWW-Authenticate %q, body %s, want %d with %q\n%s",
			r.what, status, challenge, body, r.status, r.challenge, p.out.tail())
	}
}

// TestAPIsVerifyAccessTokens sends the same requests to every program of docs/apis.md, and others to the Spring program
// without the decoder bean.
func TestAPIsVerifyAccessTokens(t *testing.T) {
	dir := requireEnv(t, "APIS")
	i := startTestIssuer(t)
	const audience = "https://api.example.com"
	resource := apiResource(audience, "notes.read", "notes.write")
	storagetest.Must(t, i.Store.CreateResource(t.Context(), resource))
	reader := i.ServiceToken(i.Service("notes.read"))
	requests := apiRequests(t, i, audience, reader)
	stockRequests := stockAPIRequests(t, i, audience, reader)
	files, stock := apiFiles(t), storagetest.FreeAddress(t)
	_, stockPort, err := net.SplitHostPort(stock)
	storagetest.Must(t, err)
	env := append(os.Environ(), "ISSUER="+i.Issuer, "AUDIENCE="+audience, "STOCK_PORT="+stockPort)
	for name, commands := range apiPrograms {
		t.Run(name, func(t *testing.T) {
			p := startProgramFiles(t, files, filepath.Join(dir, name), commands, storagetest.FreeAddress(t), env)
			i.down.Store(true)
			if status, _, body := p.call(t, "Bearer "+reader); status < 500 {
				t.Errorf("GET /notes while the JWKS is unavailable: %d %s, want 5xx, as the token is valid", status, body)
			}
			i.down.Store(false)
			for _, r := range requests {
				p.check(t, r)
			}
			if name == "spring" {
				for _, r := range stockRequests {
					(&apiProgram{stock, p.out}).check(t, r)
				}
			}
		})
	}
}

// TestAPIsDocumentNamesTestedVersions compares the versions in docs/apis.md with those that the programs run with.
func TestAPIsDocumentNamesTestedVersions(t *testing.T) {
	t.Parallel()
	checkVersions(t, "../../docs/apis.md", "testdata/apis", map[string]*regexp.Regexp{
		"spring/pom.xml":          regexp.MustCompile(`Spring Boot (\S+) `),
		"node/package.json":       regexp.MustCompile("`jose` ([0-9.]+[0-9])"),
		"go/go.mod":               regexp.MustCompile("`go-oidc` ([0-9.]+[0-9])"),
		"python/requirements.txt": regexp.MustCompile("`PyJWT` ([0-9.]+[0-9])"),
	})
}

// checkVersions checks that the files that pin versions have those that a document names.
func checkVersions(t *testing.T, document, dir string, named map[string]*regexp.Regexp) {
	t.Helper()
	text, err := os.ReadFile(document)
	storagetest.Must(t, err)
	for file, name := range named {
		pinned, err := os.ReadFile(filepath.Join(dir, file))
		storagetest.Must(t, err)
		if m := name.FindSubmatch(text); m == nil || !bytes.Contains(pinned, m[1]) {
			t.Errorf("%s has %q, want the version in %s", document, m, file)
		}
	}
}

// TestAPIsDocumentIntrospects runs the introspection request of docs/apis.md.
func TestAPIsDocumentIntrospects(t *testing.T) {
	t.Parallel()
	script := documentFiles(t, "../../docs/apis.md")["introspection/introspect.sh"]
	s := servertest.Start(t, storagetest.URL(t, storagetest.Engines(t)[0]), servertest.Options{})
	client, api := s.Service("notes.read"), s.Service("unrelated")
	resource := apiResource("https://api.example.com", "notes.read")
	resource.Introspectors = storage.Strings{api.ClientID}
	storagetest.Must(t, s.Store.CreateResource(t.Context(), resource))
	introspect := func(token string) string {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
		cmd.Env = append(os.Environ(), "ISSUER="+s.Issuer, "API_CLIENT_ID="+api.ClientID,
			"API_CLIENT_SECRET="+api.ClientSecret, "TOKEN="+token)
		out, err := cmd.Output()
		storagetest.Must(t, err)
		return string(out)
	}
	token := s.ServiceToken(client)
	if got := introspect(token); !strings.Contains(got, `"active":true`) || !strings.Contains(got, "notes.read") {
		t.Errorf("introspection of an issued token = %s, want it active with notes.read", got)
	}
	storagetest.Must(t, s.Store.RevokeClientTokens(t.Context(), client.ClientID))
	if got := introspect(token); strings.TrimSpace(got) != `{"active":false}` {
		t.Errorf("introspection of a revoked token = %s, want %s", got, `{"active":false}`)
	}
}
