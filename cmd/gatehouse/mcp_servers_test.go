package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

const mcpDocument = "../../docs/mcp.md"

// An mcpServer is a program of docs/mcp.md.
type mcpServer struct {
	dir          string     // of its libraries
	commands     [][]string // that build and, last, run it
	ownMetadata  bool       // its library serves its metadata
	unknownTypes bool       // its library does not check the typ header
	refusesAll   bool       // its library responds 401 while the JWKS is unavailable
}

func mcpServers(dir string) map[string]mcpServer {
	node := suiteNode(filepath.Join(dir, "conformance"))
	run := func(args ...string) [][]string { return [][]string{args} }
	return map[string]mcpServer{
		"Go":         {dir: "go", commands: [][]string{{"go", "build", "-o", "server", "."}, {"./server"}}},
		"TypeScript": {dir: "node", commands: run(node, "--experimental-strip-types", "--no-warnings", "server.ts")},
		"Python":     {dir: "python", commands: run("venv/bin/python", "server.py"), ownMetadata: true},
		"FastMCP": {
			dir: "python", commands: run("venv/bin/python", "fastmcp_server.py"), ownMetadata: true, unknownTypes: true,
			refusesAll: true,
		},
	}
}

// start starts the server at an address, with the environment of its settings.
func (s mcpServer) start(t *testing.T, dir, address string, env ...string) *apiProgram {
	t.Helper()
	env = append(env, "CGO_ENABLED=0") // as scripts/mcp.sh compiled the library
	files := documentFiles(t, mcpDocument)
	files["python/fastmcp_default.py"] = strings.Replace(
		strings.Replace(files["python/fastmcp_server.py"], `, algorithm="ES256"`, "", 1), `"PORT"`, `"DEFAULT_PORT"`, 1)
	files["python/fastmcp_both.py"] = fastMCPPrograms
	return startProgramFiles(t, files, filepath.Join(dir, s.dir), s.commands, address, append(os.Environ(), env...))
}

// fastMCPPrograms runs the FastMCP program of docs/mcp.md, and alongside it the same with the default algorithm: a
// second process would take seconds. The second program starts when the first has imported what both need.
const fastMCPPrograms = `import os
import runpy
import socket
import threading
import time


def run_default():
    while socket.socket().connect_ex(("127.0.0.1", int(os.environ["PORT"]))):
        time.sleep(0.1)
    runpy.run_path("fastmcp_default.py")


threading.Thread(target=run_default, daemon=True).start()
runpy.run_path("fastmcp_server.py")
`

// createMCPResource registers an MCP server with the command of docs/mcp.md, and returns the URL of its metadata.
func createMCPResource(t *testing.T, env map[string]string, identifier string) string {
	t.Helper()
	var created struct {
		MetadataURL string `json:"metadata_url"`
		Challenge   string `json:"www_authenticate"`
	}
	out := mustRun(t, env, "", "resource", "create", "--mcp", identifier, "--name", "Notes",
		"--scope", "notes.read", "--scope", "notes.write")
	storagetest.Must(t, json.Unmarshal([]byte(out), &created))
	if want := `Bearer resource_metadata="` + created.MetadataURL + `"`; created.Challenge != want {
		t.Fatalf("the header to send is %s, want %s", created.Challenge, want)
	}
	return created.MetadataURL
}

const mcpHost, mcpResource = "mcp.example.com", "https://mcp.example.com/mcp"

// callTool calls the tool of the MCP server through a reverse proxy that keeps the host of the resource.
func (p *apiProgram) callTool(t *testing.T, authorization string) (status int, challenge, body string) {
	t.Helper()
	const call = `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"read_notes","arguments":{}}}`
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.url("/mcp"), strings.NewReader(call))
	storagetest.Must(t, err)
	req.Host = mcpHost
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Accept", "application/json, text/event-stream")
	if authorization != "" {
		req.Header.Set("Authorization", authorization)
	}
	return p.send(t, req)
}

// checkTool calls the tool and compares the response with the expected one. metadata is the URL that a refusal names.
func (p *apiProgram) checkTool(t *testing.T, r apiRequest, metadata string) {
	t.Helper()
	status, challenge, body := p.callTool(t, r.authorization)
	valid := status == r.status
	if r.status != http.StatusOK {
		valid = valid && strings.HasPrefix(challenge, "Bearer ") &&
			strings.Contains(challenge, `resource_metadata="`+metadata+`"`)
	}
	if hasNote := strings.Contains(body, "a note of"); !valid || hasNote != (r.status == http.StatusOK) {
		t.Errorf("POST /mcp with %s: %d, WWW-Authenticate %q, body %s, want %d with %s\n%s",
			r.what, status, challenge, body, r.status, metadata, p.out.tail())
	}
}

// checkMetadata checks the metadata that the program serves. Clients compare the URLs byte for byte.
func (p *apiProgram) checkMetadata(t *testing.T, metadata, issuer string) {
	t.Helper()
	u, err := url.Parse(metadata)
	storagetest.Must(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url(u.Path), nil)
	storagetest.Must(t, err)
	req.Host = u.Host
	_, _, body := p.send(t, req)
	var got struct {
		Resource             string
		AuthorizationServers []string `json:"authorization_servers"`
	}
	storagetest.Must(t, json.Unmarshal([]byte(body), &got))
	if got.Resource != mcpResource || !slices.Equal(got.AuthorizationServers, []string{issuer}) {
		t.Errorf("metadata = %s, want the resource %s of %s", body, mcpResource, issuer)
	}
}

// TestMCPServersVerifyAccessTokens sends the requests of TestAPIsVerifyAccessTokens to the programs of docs/mcp.md.
func TestMCPServersVerifyAccessTokens(t *testing.T) {
	t.Parallel()
	dir := requireEnv(t, "MCP")
	for name, server := range mcpServers(dir) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			i := startTestIssuer(t)
			env := map[string]string{
				"GATEHOUSE_ISSUER": i.Issuer, "GATEHOUSE_DATABASE_URL": i.DB, "GATEHOUSE_SECRET_KEY": keyText,
			}
			metadata, byDefault := createMCPResource(t, env, mcpResource), storagetest.FreeAddress(t)
			_, port, err := net.SplitHostPort(byDefault)
			storagetest.Must(t, err)
			if name == "FastMCP" {
				server.commands[0][1] = "fastmcp_both.py"
			}
			p := server.start(t, dir, storagetest.FreeAddress(t), "ISSUER="+i.Issuer, "RESOURCE="+mcpResource,
				"METADATA="+metadata, "DEFAULT_PORT="+port)
			if server.ownMetadata {
				metadata = "https://" + mcpHost + "/.well-known/oauth-protected-resource/mcp"
				p.checkMetadata(t, metadata, i.Issuer)
			}
			reader := i.ServiceToken(i.Service("notes.read"))
			if !server.refusesAll {
				i.down.Store(true)
				if status, _, body := p.callTool(t, "Bearer "+reader); status < 500 {
					t.Errorf("POST /mcp while the JWKS is unavailable: %d %s, want 5xx, as the token is valid", status, body)
				}
				i.down.Store(false)
			}
			for _, r := range apiRequests(t, i, mcpResource, reader) {
				if !server.unknownTypes || r.what != "the type of an ID token" {
					p.checkTool(t, r, metadata)
				}
			}
			if name == "FastMCP" {
				storagetest.Eventually(t, "FastMCP listens", func() bool { return isListening(t, byDefault) })
				mustRun(t, env, "", "resource", "update", mcpResource, "--token-alg", "RS256")
				checkFastMCPDefault(t, i, &apiProgram{byDefault, p.out}, reader, metadata)
			}
		})
	}
}

// checkFastMCPDefault sends requests to FastMCP with its default algorithm, after `resource update --token-alg RS256`.
// es256 is an access token that was issued before.
func checkFastMCPDefault(t *testing.T, i *testIssuer, p *apiProgram, es256, metadata string) {
	t.Helper()
	storagetest.Must(t, i.Store.UpdateResource(t.Context(), "https://other.example.com", func(r *storage.Resource) error {
		r.TokenAlg = "RS256"
		return nil
	}))
	i.User("alice")
	idToken := i.Tokens(i.RelyingParty(), "alice", "scope", "openid").Text("id_token")
	for _, r := range []apiRequest{
		{"an access token with RS256", "Bearer " + i.ServiceToken(i.Service("notes.read")), 200, ""},
		{"no token", "", 401, ""},
		{"another scope", "Bearer " + i.ServiceToken(i.Service("notes.write")), 403, ""},
		{"a token for another API", "Bearer " + i.ServiceToken(i.Service("other")), 401, ""},
		{"an ID token", "Bearer " + idToken, 401, ""},
		{"an access token with ES256", "Bearer " + es256, 401, ""},
	} {
		p.checkTool(t, r, metadata)
	}
}

// TestMCPDocumentNamesTestedVersions compares the versions in docs/mcp.md with those that the programs run with.
func TestMCPDocumentNamesTestedVersions(t *testing.T) {
	t.Parallel()
	checkVersions(t, mcpDocument, "testdata/mcp", map[string]*regexp.Regexp{
		"go/go.mod":               regexp.MustCompile("`go-sdk` ([0-9.]+[0-9])"),
		"node/package.json":       regexp.MustCompile("`@modelcontextprotocol/server` ([0-9.]+[0-9])"),
		"python/requirements.in":  regexp.MustCompile("`mcp` ([0-9.]+[0-9])"),
		"python/requirements.txt": regexp.MustCompile("`fastmcp` ([0-9.]+[0-9])"),
	})
}
