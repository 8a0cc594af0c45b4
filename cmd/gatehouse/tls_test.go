package main

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"gatehouse/cmd/gatehouse/server"
	"gatehouse/config"
	"gatehouse/storage/storagetest"
)

// trusting is a client that trusts the certificate in a file and negotiates HTTP/2 as browsers do.
func trusting(t *testing.T, cert string) *http.Client {
	t.Helper()
	b, err := os.ReadFile(cert)
	storagetest.Must(t, err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(b)
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// TestTLS: 1.2 at least, HTTP/2, HSTS; a changed certificate is in force without a restart, and a broken one leaves the last
// good one.
func TestTLS(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	get := func() (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.issuer+"/healthz", nil)
		storagetest.Must(t, err)
		res, err := trusting(t, p.cert).Do(req)
		if err == nil {
			_ = res.Body.Close()
		}
		return res, err
	}
	res, err := get()
	storagetest.Must(t, err)
	if res.ProtoMajor != 2 || res.TLS.Version != tls.VersionTLS13 || res.Header.Get("Strict-Transport-Security") != "max-age=31536000" {
		t.Errorf("%s, TLS %x, HSTS %q", res.Proto, res.TLS.Version, res.Header.Get("Strict-Transport-Security"))
	}
	first := res.TLS.PeerCertificates[0]
	dial := func(most uint16) (*tls.Conn, error) {
		return tls.Dial("tcp", p.env["GATEHOUSE_LISTEN"], &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: most})
	}
	if conn, err := dial(tls.VersionTLS11); err == nil {
		_ = conn.Close()
		t.Error("it speaks TLS 1.1")
	}
	conn, err := dial(tls.VersionTLS12)
	storagetest.Must(t, err)
	storagetest.Must(t, conn.Close())

	presented := func() *x509.Certificate {
		conn, err := dial(tls.VersionTLS13)
		storagetest.Must(t, err)
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0]
	}
	storagetest.Must(t, os.WriteFile(p.cert, []byte("half a file"), 0o600))
	storagetest.Eventually(t, "the log reports the broken file", func() bool {
		if !presented().Equal(first) {
			t.Fatal("another certificate")
		}
		return p.server.stderr.contains("changed TLS certificate is unusable")
	})
	selfSigned(t, p.cert, p.key)
	storagetest.Eventually(t, "the new certificate is in force", func() bool { return !presented().Equal(first) })
	if _, err := get(); err != nil {
		t.Errorf("with the new certificate: %v", err)
	}
}

// TestTLS12AcceptsOnlyTheSuitesOfRFC9325 makes a real handshake with every suite of TLS 1.2 that Go can offer, against
// a listener with an ECDSA and one with an RSA certificate, so that no suite is refused only for its kind of key.
func TestTLS12AcceptsOnlyTheSuitesOfRFC9325(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	storagetest.Must(t, err)
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	storagetest.Must(t, err)
	accepted := map[string]bool{}
	tried := 0
	for kind, private := range map[string]crypto.Signer{"RSA": rsaKey, "ECDSA": ecdsaKey} {
		dir := t.TempDir()
		cfg := config.Config{Listen: "127.0.0.1:0", TLSCertFile: dir + "/cert.pem", TLSKeyFile: dir + "/key.pem", RequestTimeout: time.Second}
		selfSignedBy(t, private, cfg.TLSCertFile, cfg.TLSKeyFile)
		listeners, err := server.Listen(t.Context(), cfg, slog.New(slog.DiscardHandler), cfg.Listen)
		storagetest.Must(t, err)
		t.Cleanup(func() { storagetest.Must(t, listeners.Shutdown(t.Context(), time.Second)) })
		for _, suite := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
			if !slices.Contains(suite.SupportedVersions, tls.VersionTLS12) {
				continue
			}
			tried++
			conn, err := tls.Dial("tcp", listeners.Address(cfg.Listen).String(), &tls.Config{
				InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite.ID},
			})
			if err != nil {
				continue
			}
			if got := conn.ConnectionState().CipherSuite; got != suite.ID || !strings.Contains(suite.Name, kind) {
				t.Errorf("with an %s certificate: offered %s, got %s", kind, suite.Name, tls.CipherSuiteName(got))
			}
			accepted[suite.Name] = true
			storagetest.Must(t, conn.Close())
		}
	}
	want := map[string]bool{
		"TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": true, "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": true,
		"TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": true, "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": true,
	}
	if tried < 30 || !maps.Equal(accepted, want) {
		t.Errorf("of %d handshakes with TLS 1.2, accepted = %v, want %v", tried, accepted, want)
	}
}

// TestSlowReadersOccupyNoSlot sends more requests than there are slots and reads no response.
func TestSlowReadersOccupyNoSlot(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.env["GATEHOUSE_MAX_REQUESTS"] = "4"
	p.serve(t)
	page := func() (int, string) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.issuer+"/login", nil)
		storagetest.Must(t, err)
		res, err := trusting(t, p.cert).Do(req)
		storagetest.Must(t, err)
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		storagetest.Must(t, err)
		return res.StatusCode, string(b)
	}
	_, text := page()
	sheet := regexp.MustCompile(`/static/style[^"]+`).FindString(text)
	conn, err := tls.Dial("tcp", p.env["GATEHOUSE_LISTEN"], &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"}})
	storagetest.Must(t, err)
	defer func() { _ = conn.Close() }()
	_, err = io.WriteString(conn, http2.ClientPreface)
	storagetest.Must(t, err)
	framer := http2.NewFramer(conn, conn)
	storagetest.Must(t, framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	const streams = 40
	for i := range uint32(streams) {
		var head bytes.Buffer
		encoder := hpack.NewEncoder(&head)
		for _, f := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", p.env["GATEHOUSE_LISTEN"]}, {":path", sheet}} {
			storagetest.Must(t, encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
		}
		storagetest.Must(t, framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*i + 1, BlockFragment: head.Bytes(), EndStream: true, EndHeaders: true}))
	}
	for responses := 0; responses < streams; { // the headers arrive, the bodies exceed the window
		frame, err := framer.ReadFrame()
		storagetest.Must(t, err)
		if frame.Header().Type == http2.FrameHeaders {
			responses++
		}
	}
	for range 5 {
		if status, _ := page(); status != http.StatusOK {
			t.Errorf("another client gets %d", status)
		}
	}
}
