package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/oauth2"

	"gatehouse/storage/storagetest"
)

const kubernetesPage = "../../docs/relying-parties/kubernetes.md"

// kubernetesUser is a user as the API server sees it.
type kubernetesUser struct {
	Name   string
	Groups []string
}

// kubernetesAuthenticator is the authenticator of the Kubernetes API server in a process of its own.
type kubernetesAuthenticator struct {
	in  io.Writer
	out *bufio.Reader
}

// startKubernetes starts the authenticator with the configuration of docs/relying-parties/kubernetes.md.
func startKubernetes(t *testing.T, dir string, p *provider, clientID string) *kubernetesAuthenticator {
	t.Helper()
	ca := "url: " + p.issuer + "\n    certificateAuthority: |\n"
	for line := range strings.Lines(readFile(t, p.cert)) {
		ca += "      " + line
	}
	config := strings.NewReplacer("url: https://id.example.com\n", ca, "CLIENT_ID", clientID).
		Replace(documentFiles(t, kubernetesPage)["authentication.yaml"])
	file := filepath.Join(t.TempDir(), "authentication.yaml")
	storagetest.Must(t, os.WriteFile(file, []byte(config), 0o600))
	cmd := exec.Command(filepath.Join(dir, "kubernetes", "kubernetes"), file) // it ends with its input
	stdin, err := cmd.StdinPipe()
	storagetest.Must(t, err)
	stdout, err := cmd.StdoutPipe()
	storagetest.Must(t, err)
	errs := &strings.Builder{}
	cmd.Stderr = errs
	storagetest.Must(t, cmd.Start())
	t.Cleanup(func() {
		_ = stdin.Close() // this ends the process
		if err := cmd.Wait(); err != nil {
			t.Errorf("the authenticator: %v: %s", err, errs)
		}
	})
	k := &kubernetesAuthenticator{stdin, bufio.NewReader(stdout)}
	if line, err := k.out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("the authenticator printed %q, %v, want ready: %s", line, err, errs)
	}
	return k
}

// authenticate returns the user of a token, or the error.
func (k *kubernetesAuthenticator) authenticate(t *testing.T, token string) (u kubernetesUser, refusal string) {
	t.Helper()
	_, err := fmt.Fprintln(k.in, token)
	storagetest.Must(t, err)
	line, err := k.out.ReadString('\n')
	storagetest.Must(t, err)
	if refusal, ok := strings.CutPrefix(line, "error: "); ok {
		return u, refusal
	}
	storagetest.Must(t, json.Unmarshal([]byte(line), &u))
	return u, ""
}

// testKubernetes signs in as kubelogin does and authenticates the ID tokens as the API server does.
func testKubernetes(t *testing.T, dir string, p *provider) {
	var client struct {
		ID string `json:"client_id"`
	}
	for _, args := range documentCommands(t, readFile(t, kubernetesPage)) {
		if out := mustRun(t, p.env, "", args...); args[0] == "client" && args[1] == "create" {
			storagetest.Must(t, json.Unmarshal([]byte(out), &client))
		}
	}
	k := startKubernetes(t, dir, p, client.ID)
	ctx := context.WithValue(t.Context(), oauth2.HTTPClient, newTrustingClient(t, p.cert))
	issuer, err := oidc.NewProvider(ctx, p.issuer)
	storagetest.Must(t, err)
	// kubelogin lets the library find out how the client authenticates, too.
	c := &oauth2.Config{
		ClientID: client.ID, Endpoint: issuer.Endpoint(), RedirectURL: "http://localhost:18000",
		Scopes: []string{oidc.ScopeOpenID, "profile", "groups", oidc.ScopeOfflineAccess},
	}
	verifier := oauth2.GenerateVerifier()
	authorize := c.AuthCodeURL("the state", oauth2.S256ChallengeOption(verifier), oidc.Nonce("the nonce"))
	callback := consentInNewBrowser(t, authorize, "alice", rpPassword, p.cert)
	token, err := c.Exchange(ctx, callback.Query().Get("code"), oauth2.VerifierOption(verifier))
	storagetest.Must(t, err)

	idToken := func(token *oauth2.Token) string { return fmt.Sprint(token.Extra("id_token")) }
	want := kubernetesUser{Name: "gatehouse:alice", Groups: []string{"gatehouse:cluster-admins"}}
	got, refusal := k.authenticate(t, idToken(token))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("user of the ID token: %s (-want +got):\n%s", refusal, diff)
	}
	if _, refusal := k.authenticate(t, token.AccessToken); refusal == "" {
		t.Error("the API server accepts an access token, want an ID token only")
	}

	mustRun(t, p.env, "", "client", "update", client.ID, "--required-group", "any")
	mustRun(t, p.env, "", "group", "remove", "cluster-admins", "alice")
	token.Expiry = token.Expiry.AddDate(-1, 0, 0)
	token, err = c.TokenSource(ctx, token).Token()
	storagetest.Must(t, err)
	got, refusal = k.authenticate(t, idToken(token))
	if diff := cmp.Diff(kubernetesUser{Name: "gatehouse:alice", Groups: []string{}}, got); diff != "" {
		t.Errorf("user without groups: %s (-want +got):\n%s", refusal, diff)
	}

	mustRun(t, p.env, "", "client", "update", client.ID, "--required-group", "cluster-admins")
	token.Expiry = token.Expiry.AddDate(-1, 0, 0)
	if _, err := c.TokenSource(ctx, token).Token(); !strings.Contains(fmt.Sprint(err), "invalid_grant") {
		t.Errorf("refresh without the required group: %v, want invalid_grant", err)
	}
}
