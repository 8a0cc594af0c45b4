package main

import (
	"bytes"
	"encoding/json"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"

	"gatehouse/storage/storagetest"
)

// mcpCheck is a result of the MCP conformance suite.
type mcpCheck struct {
	ID           string
	Status       string
	ErrorMessage string
}

// TestMCPConformance runs the authorization server tests of the MCP conformance suite (MC43). A client registers
// itself, as MCP clients do, and requests a token for an MCP server; Chromium is the user's browser.
func TestMCPConformance(t *testing.T) {
	dir := filepath.Join(requireEnv(t, "MCP"), "conformance")
	requireEnv(t, "CHROME")
	p := newProvider(t)
	p.env["GATEHOUSE_CLIENT_DOCUMENT_HOSTS"] = "well-known" // so that the metadata announces the documents
	p.serve(t)
	const server = "https://mcp.example.com/mcp"
	mustRun(t, p.env, "", "resource", "create", server, "--scope", "mcp.read", "--open-to-apps")
	results := t.TempDir()
	_, port, err := net.SplitHostPort(storagetest.FreeAddress(t))
	storagetest.Must(t, err)
	const suite = "node_modules/@modelcontextprotocol/conformance/dist/index.js"
	cmd := exec.CommandContext(t.Context(), suiteNode(dir), suite, "authorization", "--url", p.issuer,
		"--client-id", registerMCPClient(t, p), "--resource", server, "--port", port, "--output-dir", results)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "NODE_EXTRA_CA_CERTS="+p.cert)
	out, ended := newOutput(), make(chan struct{})
	cmd.Stdout, cmd.Stderr = out, out
	storagetest.Must(t, cmd.Start())
	go func() {
		err = cmd.Wait()
		close(ended)
	}()
	out.waitFor(t, "Waiting up to", ended)
	openBrowser(t, chromedp.Flag("ignore-certificate-errors", true)).do("sign in",
		chromedp.Navigate(lineWith(t, out.String(), p.issuer+"/oauth2/authorize?")), visible("to continue to"),
		fill("username", "alice"), fill("password", rpPassword), press("Sign in"), visible("wants access"), press("Allow"),
		chromedp.WaitVisible(`//body[contains(., "You can close this page")]`))
	<-ended
	if err != nil {
		t.Errorf("the suite: %v\n%s", err, out)
	}
	checkMCPResults(t, results)
}

// suiteNode returns the Node.js that runs the suite: the one that scripts/mcp.sh installed because the system's is too
// old for the suite, or the system's.
func suiteNode(dir string) string {
	installed, err := filepath.Glob(filepath.Join(dir, "node_modules", "node-linux-*", "bin", "node"))
	if err != nil || len(installed) == 0 {
		return "node"
	}
	return installed[0]
}

// registerMCPClient registers a public client dynamically, as command-line MCP clients do: without a port, which is
// chosen when the client runs.
func registerMCPClient(t *testing.T, p *provider) string {
	t.Helper()
	body := []byte(`{"client_name":"MCP conformance","redirect_uris":["http://127.0.0.1/callback"],
		"token_endpoint_auth_method":"none","grant_types":["authorization_code","refresh_token"]}`)
	endpoint := p.issuer + "/oauth2/register"
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, endpoint, bytes.NewReader(body))
	storagetest.Must(t, err)
	req.Header.Set("Content-Type", "application/json")
	res, err := newTrustingClient(t, p.cert).Do(req)
	storagetest.Must(t, err)
	defer func() { _ = res.Body.Close() }()
	var registered struct {
		ClientID string `json:"client_id"`
	}
	storagetest.Must(t, json.NewDecoder(res.Body).Decode(&registered))
	if registered.ClientID == "" {
		t.Fatalf("registration: status %d without a client_id", res.StatusCode)
	}
	return registered.ClientID
}

// lineWith returns the line of a text that begins with a prefix.
func lineWith(t *testing.T, text, prefix string) string {
	t.Helper()
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			return strings.TrimSpace(line)
		}
	}
	t.Fatalf("no line begins with %s:\n%s", prefix, text)
	return ""
}

// checkMCPResults reports each check of the suite that did not succeed, and scenarios that did not run.
func checkMCPResults(t *testing.T, results string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(results, "*", "checks.json"))
	storagetest.Must(t, err)
	status := map[string]string{}
	for _, file := range files {
		var checks []mcpCheck
		storagetest.Must(t, json.Unmarshal([]byte(readFile(t, file)), &checks))
		for _, c := range checks {
			status[c.ID] = c.Status
			t.Logf("%s: %s %s", c.ID, c.Status, c.ErrorMessage)
		}
	}
	for _, id := range []string{"authorization-server-metadata", "authorization-code-grant"} {
		if status[id] != "SUCCESS" {
			t.Errorf("check %s = %q, want SUCCESS", id, status[id])
		}
	}
	for id, s := range status {
		if s != "SUCCESS" && s != "INFO" {
			t.Errorf("check %s = %s, want SUCCESS", id, s)
		}
	}
}
