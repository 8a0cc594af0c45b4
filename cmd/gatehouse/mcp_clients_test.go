package main

import (
	"errors"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"gatehouse/storage/storagetest"
)

// An mcpClient is a program with an unmodified MCP client. The URL of the MCP server is added to the command.
type mcpClient struct {
	server  string // one of mcpServers
	dir     string
	command []string
	calls   int    // of the tool
	stdin   string // after it the program waits for more input, until it is killed
}

func mcpClients(dir string) map[string]mcpClient {
	node := suiteNode(filepath.Join(dir, "conformance"))
	return map[string]mcpClient{
		"TypeScript SDK 2": {server: "TypeScript", dir: "node", command: []string{node, "client.mjs", "2"}, calls: 2},
		"TypeScript SDK 1": {server: "Go", dir: "node", command: []string{node, "client.mjs", "1"}, calls: 2},
		"Python SDK":       {server: "Python", dir: "python", command: []string{"venv/bin/python", "client.py"}, calls: 2},
		"FastMCP": {
			server: "FastMCP", dir: "python", command: []string{"venv/bin/python", "fastmcp_client.py"}, calls: 1,
		},
		"mcp-remote": {
			server: "Go", dir: "node", command: []string{node, "node_modules/mcp-remote/dist/proxy.js"}, calls: 1,
			stdin: `{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},` +
				`"clientInfo":{"name":"test","version":"1.0.0"}}}` + "\n" +
				`{"jsonrpc":"2.0","method":"notifications/initialized"}` + "\n" +
				`{"jsonrpc":"2.0","id":2,"method":"tools/call","params":{"name":"read_notes","arguments":{}}}` + "\n",
		},
	}
}

// mcpAuthorization matches the URL that a client opens in the user's browser.
var mcpAuthorization = regexp.MustCompile(`https://\S+/oauth2/authorize\?\S*code_challenge_method=S256\S*`)

// run runs a client with more arguments until it has called the tool. When it prompts for authorization, allow is
// called with the URL.
func (c mcpClient) run(t *testing.T, dir string, env []string, allow func(string), more ...string) {
	t.Helper()
	args := append(c.command[1:len(c.command):len(c.command)], more...)
	cmd := exec.CommandContext(t.Context(), c.command[0], args...)
	cmd.Dir, cmd.Env = filepath.Join(dir, c.dir), env
	stdin, err := cmd.StdinPipe()
	storagetest.Must(t, err)
	out, ended := newOutput(), make(chan struct{})
	cmd.Stdout, cmd.Stderr = out, out
	storagetest.Must(t, cmd.Start())
	go func() {
		err = cmd.Wait()
		close(ended)
	}()
	_, writeErr := io.WriteString(stdin, c.stdin)
	storagetest.Must(t, writeErr)
	if allow != nil {
		out.waitFor(t, "code_challenge_method=S256", ended)
		allow(mcpAuthorization.FindString(out.String()))
	}
	if c.stdin != "" {
		out.waitFor(t, "a note of ", ended)
		storagetest.Must(t, cmd.Process.Kill())
	}
	<-ended
	if n := strings.Count(out.String(), "a note of "); n != c.calls || err != nil && c.stdin == "" {
		t.Errorf("%v: %v, %d results, want %d:\n%s", cmd.Args, err, n, c.calls, out.tail())
	}
	if prompted := mcpAuthorization.MatchString(out.String()); prompted != (allow != nil) {
		t.Errorf("%v: prompted for authorization = %t:\n%s", cmd.Args, prompted, out.tail())
	}
}

// TestMCPClientsConnect connects MCP clients to the servers of docs/mcp.md as users do: the only setting of a client is
// the URL of the MCP server, and Chromium is the user's browser.
func TestMCPClientsConnect(t *testing.T) {
	dir := requireEnv(t, "MCP")
	requireEnv(t, "CHROME")
	p := startProvider(t)
	b := openBrowser(t, chromedp.Flag("ignore-certificate-errors", true))
	b.do("sign in", chromedp.Navigate(p.issuer+"/login"), fill("username", "alice"), fill("password", rpPassword),
		press("Sign in"), visible("Alice Example"))
	trust := []string{"SSL_CERT_FILE=" + p.cert, "NODE_EXTRA_CA_CERTS=" + p.cert}
	for name, c := range mcpClients(dir) {
		t.Run(name, func(t *testing.T) {
			address := storagetest.FreeAddress(t)
			url := "http://" + address + "/mcp"
			metadata := createMCPResource(t, p.env, url)
			mcpServers(dir)[c.server].start(t, dir, address,
				append(trust, "ISSUER="+p.issuer, "RESOURCE="+url, "METADATA="+metadata)...)
			home := t.TempDir() // for what the client stores
			env := append(os.Environ(), append(trust, "HOME="+home, "BROWSER=echo %s", "PYTHONUNBUFFERED=1")...)
			c.run(t, dir, env, func(authorization string) {
				b.do("allow "+name, chromedp.Navigate(authorization), visible("wants access"), visible("Notes"), press("Allow"))
			}, url)
			if c.stdin != "" { // the next start uses what the client stored
				c.run(t, dir, env, nil, url)
			}
		})
	}
}

// TestMCPClientsConnectWithDocuments connects MCP clients that do not register themselves, but use the URL of a client
// ID metadata document, which a TLS server serves.
func TestMCPClientsConnectWithDocuments(t *testing.T) {
	dir := requireEnv(t, "MCP")
	requireEnv(t, "CHROME")
	p := newProvider(t)
	host := storagetest.FreeAddress(t)
	document := serveDocument(t, p, host)
	maps.Copy(p.env, map[string]string{
		"GATEHOUSE_CLIENT_DOCUMENT_HOSTS": host, "GATEHOUSE_FETCH_ALLOW_HOSTS": "127.0.0.1", "SSL_CERT_FILE": p.cert,
	})
	serveChild(t, p.env)
	b := openBrowser(t, chromedp.Flag("ignore-certificate-errors", true))
	b.do("sign in", chromedp.Navigate(p.issuer+"/login"), fill("username", "alice"), fill("password", rpPassword),
		press("Sign in"), visible("Alice Example"))
	trust := []string{"SSL_CERT_FILE=" + p.cert, "NODE_EXTRA_CA_CERTS=" + p.cert}
	clients := mcpClients(dir)
	for _, name := range []string{"TypeScript SDK 2", "TypeScript SDK 1", "Python SDK"} {
		t.Run(name, func(t *testing.T) {
			c, address := clients[name], storagetest.FreeAddress(t)
			url := "http://" + address + "/mcp"
			metadata := createMCPResource(t, p.env, url)
			mcpServers(dir)[c.server].start(t, dir, address,
				append(trust, "ISSUER="+p.issuer, "RESOURCE="+url, "METADATA="+metadata)...)
			c.run(t, dir, append(os.Environ(), append(trust, "HOME="+t.TempDir(), "PYTHONUNBUFFERED=1")...),
				func(authorization string) {
					b.do("allow "+name, chromedp.Navigate(authorization), visible("wants access"), visible("Editor"),
						press("Allow"))
				}, url, document)
		})
	}
	if list := mustRun(t, p.env, "", "client", "list"); !strings.Contains(list, document) ||
		strings.Contains(list, "SDK") {
		t.Errorf("clients:\n%s\nwant only the one with the document", list)
	}
}

// serveDocument serves a client ID metadata document over TLS at the address, and returns its URL.
func serveDocument(t *testing.T, p *provider, address string) string {
	t.Helper()
	document := "https://" + address + "/editor/client.json"
	server := &http.Server{
		Addr: address, ReadHeaderTimeout: waitTimeout,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"client_id":"`+document+`","client_name":"Editor",
				"redirect_uris":["http://localhost/callback"],"token_endpoint_auth_method":"none",
				"grant_types":["authorization_code","refresh_token"]}`)
		}),
	}
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServeTLS(p.cert, p.key) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-ended; !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the server of the document: %v", err)
		}
	})
	return document
}
