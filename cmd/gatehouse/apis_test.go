package main

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// documentFiles returns the files that a document marks: a comment with the name, then a code block.
func documentFiles(t *testing.T, document string) map[string]string {
	t.Helper()
	b, err := os.ReadFile(document)
	storagetest.Must(t, err)
	files := map[string]string{}
	for _, m := range regexp.MustCompile("(?s)<!-- file: (\\S+) -->\n```[a-z]*\n(.*?)\n```\n").FindAllStringSubmatch(string(b), -1) {
		files[m[1]] = m[2] + "\n"
	}
	return files
}

// apiPrograms are the commands that run a program of docs/apis.md in the directory of its libraries. The first ones
// build it.
var apiPrograms = map[string][][]string{
	"spring": {
		{"javac", "-parameters", "-proc:none", "-cp", "lib/*", "-d", "classes", "Api.java"},
		{"java", "-XX:TieredStopAtLevel=1", "-cp", "classes:lib/*:.", "example.Api"},
	},
	"node":   {{"node", "api.mjs"}},
	"go":     {{"go", "build", "-o", "api", "."}, {"./api"}},
	"python": {{"venv/bin/python", "api.py"}},
}

// issuerWithTestKey is a Gatehouse behind a proxy that adds a key to its JWKS, so that the test can sign tokens that
// Gatehouse never issues. While down is set, nothing behind the proxy can be reached.
func issuerWithTestKey(t *testing.T, down *atomic.Bool) (s *servertest.Server, sign func(typ string, claims map[string]any) string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	storagetest.Must(t, err)
	public := jose.JSONWebKey{Key: private.Public(), KeyID: "test", Algorithm: string(jose.ES256), Use: "sig"}
	front := httptest.NewUnstartedServer(nil)
	s = servertest.Start(t, storagetest.URL(t, storagetest.Engines(t)[0]), servertest.Options{Issuer: "http://" + front.Listener.Addr().String()})
	behind, err := url.Parse(s.URL)
	storagetest.Must(t, err)
	proxy := httputil.NewSingleHostReverseProxy(behind)
	proxy.ModifyResponse = func(res *http.Response) error {
		if !strings.HasSuffix(res.Request.URL.Path, "/jwks.json") {
			return nil
		}
		var set jose.JSONWebKeySet
		if err := json.NewDecoder(res.Body).Decode(&set); err != nil {
			return err
		}
		set.Keys = append(set.Keys, public)
		b, err := json.Marshal(set)
		res.Body, res.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
		res.Header.Set("Content-Length", fmt.Sprint(len(b)))
		return err
	}
	front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() {
			http.Error(w, "down", http.StatusServiceUnavailable)
			return
		}
		proxy.ServeHTTP(w, r)
	})
	front.Start()
	t.Cleanup(front.Close)
	return s, func(typ string, claims map[string]any) string {
		options := (&jose.SignerOptions{}).WithType(jose.ContentType(typ)).WithHeader("kid", "test")
		signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: private}, options)
		storagetest.Must(t, err)
		payload, err := json.Marshal(claims)
		storagetest.Must(t, err)
		signed, err := signer.Sign(payload)
		storagetest.Must(t, err)
		token, err := signed.CompactSerialize()
		storagetest.Must(t, err)
		return token
	}
}

func apiResource(identifier string, scopes ...string) storage.Resource {
	return storage.Resource{Identifier: identifier, Name: identifier, Scopes: scopes, Introspectors: storage.Strings{}, CreatedAt: time.Now()}
}

func TestAPIsVerifyAccessTokens(t *testing.T) {
	dir := needs(t, "APIS")
	files := documentFiles(t, "../../docs/apis.md")
	var down atomic.Bool
	s, sign := issuerWithTestKey(t, &down)
	const audience = "https://api.example.com"
	storagetest.Must(t, s.Store.CreateResource(t.Context(), apiResource(audience, "notes.read", "notes.write")))
	storagetest.Must(t, s.Store.CreateResource(t.Context(), apiResource("https://other.example.com", "other")))
	reader, writer, other := s.ServiceToken(s.Service("notes.read")), s.ServiceToken(s.Service("notes.write")), s.ServiceToken(s.Service("other"))
	claims := func(changes map[string]any) map[string]any {
		now := time.Now().Unix()
		c := map[string]any{"iss": s.Issuer, "aud": audience, "sub": "subject", "client_id": "client", "iat": now - 7200, "exp": now + 600, "jti": "j", "scope": "notes.read"}
		for name, v := range changes {
			c[name] = v
		}
		return c
	}
	header, payload, _ := strings.Cut(reader, ".")
	payload, _, _ = strings.Cut(payload, ".")
	_, otherSignature, _ := strings.Cut(strings.SplitN(writer, ".", 2)[1], ".")
	unsigned := "eyJhbGciOiJub25lIiwidHlwIjoiYXQrand0In0." + payload + "."

	for name, commands := range apiPrograms {
		t.Run(name, func(t *testing.T) {
			found := 0
			for file, content := range files {
				if strings.HasPrefix(file, name+"/") {
					found++
					storagetest.Must(t, os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600))
				}
			}
			if found == 0 {
				t.Fatalf("docs/apis.md has no file for %s", name)
			}
			address := storagetest.FreeAddress(t)
			_, port, err := net.SplitHostPort(address)
			storagetest.Must(t, err)
			env := append(os.Environ(), "ISSUER="+s.Issuer, "AUDIENCE="+audience, "PORT="+port)
			for _, args := range commands[:len(commands)-1] {
				cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
				cmd.Dir, cmd.Env = filepath.Join(dir, name), env
				if out, err := cmd.CombinedOutput(); err != nil {
					t.Fatalf("%v: %v\n%s", args, err, out)
				}
			}
			args := commands[len(commands)-1]
			cmd := exec.Command(args[0], args[1:]...)
			cmd.Dir, cmd.Env = filepath.Join(dir, name), env
			out := startProgram(t, cmd, address)
			call := func(what, authorization string) (status int, challenge, body string) {
				req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/notes", nil)
				storagetest.Must(t, err)
				if authorization != "" {
					req.Header.Set("Authorization", authorization)
				}
				res, err := http.DefaultClient.Do(req)
				if err != nil {
					t.Fatalf("%s: %v\n%s", what, err, out.tail())
				}
				b, err := io.ReadAll(res.Body)
				storagetest.Must(t, err)
				storagetest.Must(t, res.Body.Close())
				return res.StatusCode, res.Header.Get("WWW-Authenticate"), string(b)
			}
			down.Store(true)
			if status, _, body := call("an issuer that is down", "Bearer "+reader); status < 500 {
				t.Errorf("with the keys out of reach: %d %s, want 5xx: the token is valid", status, body)
			}
			down.Store(false)
			for _, c := range []struct {
				what, authorization string
				status              int
				challenge           string
			}{
				{"an access token", "Bearer " + reader, 200, ""},
				{"the scheme in lower case", "bearer " + reader, 200, ""},
				{"a token of the test key", "Bearer " + sign("at+jwt", claims(nil)), 200, ""},
				{"several audiences", "Bearer " + sign("at+jwt", claims(map[string]any{"aud": []string{"https://other.example.com", audience}})), 200, ""},
				{"several scopes", "Bearer " + sign("at+jwt", claims(map[string]any{"scope": "openid notes.read"})), 200, ""},
				{"no token", "", 401, "Bearer"},
				{"another scheme", "Basic YTpi", 401, "Bearer"},
				{"another scope", "Bearer " + writer, 403, `error="insufficient_scope"`},
				{"a scope that begins alike", "Bearer " + sign("at+jwt", claims(map[string]any{"scope": "notes.read.all"})), 403, `error="insufficient_scope"`},
				{"no scope", "Bearer " + sign("at+jwt", claims(map[string]any{"scope": ""})), 403, `error="insufficient_scope"`},
				{"a token for another API", "Bearer " + other, 401, `error="invalid_token"`},
				{"the type of an ID token", "Bearer " + sign("JWT", claims(nil)), 401, `error="invalid_token"`},
				{"another audience", "Bearer " + sign("at+jwt", claims(map[string]any{"aud": "https://other.example.com"})), 401, `error="invalid_token"`},
				{"another issuer", "Bearer " + sign("at+jwt", claims(map[string]any{"iss": s.Issuer + "/other"})), 401, `error="invalid_token"`},
				{"an expired token", "Bearer " + sign("at+jwt", claims(map[string]any{"exp": time.Now().Unix() - 3600})), 401, `error="invalid_token"`},
				{"the signature of another token", "Bearer " + header + "." + payload + "." + otherSignature, 401, `error="invalid_token"`},
				{"no signature", "Bearer " + unsigned, 401, `error="invalid_token"`},
				{"no JWT", "Bearer abc", 401, `error="invalid_token"`},
			} {
				status, challenge, body := call(c.what, c.authorization)
				if status != c.status || !strings.Contains(challenge, c.challenge) || c.status == 401 && !strings.HasPrefix(challenge, "Bearer") ||
					c.challenge == "Bearer" && strings.Contains(challenge, "error=") || (c.status == 200) != strings.Contains(body, "a note of") {
					t.Errorf("%s: got %d, %q, %s, want %d with %q\n%s", c.what, status, challenge, body, c.status, c.challenge, out.tail())
				}
			}
		})
	}
}

// TestAPIsDocumentNamesTestedVersions compares the versions in docs/apis.md with those that the programs run with.
func TestAPIsDocumentNamesTestedVersions(t *testing.T) {
	t.Parallel()
	document, err := os.ReadFile("../../docs/apis.md")
	storagetest.Must(t, err)
	for file, named := range map[string]*regexp.Regexp{
		"spring/pom.xml": regexp.MustCompile(`Spring Boot (\S+) `), "node/package.json": regexp.MustCompile("`jose` ([0-9.]+[0-9])"),
		"go/go.mod": regexp.MustCompile("`go-oidc` ([0-9.]+[0-9])"), "python/requirements.txt": regexp.MustCompile("`PyJWT` ([0-9.]+[0-9])"),
	} {
		pinned, err := os.ReadFile(filepath.Join("testdata/apis", file))
		storagetest.Must(t, err)
		if m := named.FindSubmatch(document); m == nil || !bytes.Contains(pinned, m[1]) {
			t.Errorf("docs/apis.md names %q, and %s has another version", m, file)
		}
	}
}

// TestAPIsDocumentIntrospects runs the request of docs/apis.md.
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
		cmd.Env = append(os.Environ(), "ISSUER="+s.Issuer, "API_CLIENT_ID="+api.ClientID, "API_CLIENT_SECRET="+api.ClientSecret, "TOKEN="+token)
		out, err := cmd.Output()
		storagetest.Must(t, err)
		return string(out)
	}
	token := s.ServiceToken(client)
	if got := introspect(token); !strings.Contains(got, `"active":true`) || !strings.Contains(got, "notes.read") {
		t.Errorf("an active token: %s", got)
	}
	storagetest.Must(t, s.Store.RevokeClientTokens(t.Context(), client.ClientID))
	if got := introspect(token); strings.TrimSpace(got) != `{"active":false}` {
		t.Errorf("a revoked token: %s", got)
	}
}
