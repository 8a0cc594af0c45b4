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

// newTrustingClient returns a client that trusts the certificates in the files and negotiates HTTP/2 as browsers do.
func newTrustingClient(t *testing.T, files ...string) *http.Client {
	t.Helper()
	roots := x509.NewCertPool()
	for _, file := range files {
		roots.AppendCertsFromPEM([]byte(readFile(t, file)))
	}
	transport := &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// dialTLS connects with TLS up to a version, and accepts any certificate.
func dialTLS(p *provider, maxVersion uint16) (*tls.Conn, error) {
	return tls.Dial("tcp", p.env["GATEHOUSE_LISTEN"], &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: maxVersion,
	})
}

func TestTLSHasVersion12AtLeastWithHTTP2AndHSTS(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	res := getHealth(t, p)
	hsts := res.Header.Get("Strict-Transport-Security")
	if res.ProtoMajor != 2 || res.TLS.Version != tls.VersionTLS13 || hsts != "max-age=31536000" {
		t.Errorf("protocol %s, TLS %x, HSTS %q, want HTTP/2.0, TLS %x and max-age=31536000",
			res.Proto, res.TLS.Version, hsts, tls.VersionTLS13)
	}
	if conn, err := dialTLS(p, tls.VersionTLS11); err == nil {
		_ = conn.Close()
		t.Error("a handshake with TLS 1.1 succeeded")
	}
	conn, err := dialTLS(p, tls.VersionTLS12)
	storagetest.Must(t, err)
	storagetest.Must(t, conn.Close())
}

// getHealth requests /healthz with a client that trusts the provider's certificate.
func getHealth(t *testing.T, p *provider) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.issuer+"/healthz", nil)
	storagetest.Must(t, err)
	return send(t, newTrustingClient(t, p.cert), req)
}

// TestChangedCertificateIsServedWithoutRestart also writes an unusable file, which must not replace the certificate.
func TestChangedCertificateIsServedWithoutRestart(t *testing.T) {
	t.Parallel()
	p := startProvider(t)
	presented := func() *x509.Certificate {
		conn, err := dialTLS(p, tls.VersionTLS13)
		storagetest.Must(t, err)
		defer func() { _ = conn.Close() }()
		return conn.ConnectionState().PeerCertificates[0]
	}
	first := presented()
	storagetest.Must(t, os.WriteFile(p.cert, []byte("half a file"), 0o600))
	storagetest.Eventually(t, "the log reports the unusable file", func() bool {
		if got := presented(); !got.Equal(first) {
			t.Fatalf("the server presents the certificate %x, want the last usable one, %x", got.Raw, first.Raw)
		}
		return p.server.stderr.contains("changed TLS certificate is unusable")
	})
	selfSigned(t, p.cert, p.key)
	storagetest.Eventually(t, "the server presents the new certificate", func() bool { return !presented().Equal(first) })
	getHealth(t, p)
}

// TestTLS12AcceptsOnlySuitesOfRFC9325 makes a handshake with every suite of TLS 1.2 that Go can offer, with a listener
// that has an ECDSA certificate and one that has an RSA certificate, so that no suite is refused only for its key type.
func TestTLS12AcceptsOnlySuitesOfRFC9325(t *testing.T) {
	t.Parallel()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	storagetest.Must(t, err)
	ecdsaKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	storagetest.Must(t, err)
	accepted := map[string]bool{}
	tried := 0
	for kind, private := range map[string]crypto.Signer{"RSA": rsaKey, "ECDSA": ecdsaKey} {
		dir := t.TempDir()
		cfg := config.Config{
			Listen: "127.0.0.1:0", TLSCertFile: dir + "/cert.pem", TLSKeyFile: dir + "/key.pem",
			RequestTimeout: time.Second,
		}
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
				InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12,
				CipherSuites: []uint16{suite.ID},
			})
			if err != nil {
				continue
			}
			if got := conn.ConnectionState().CipherSuite; got != suite.ID || !strings.Contains(suite.Name, kind) {
				t.Errorf("suite with an %s certificate = %s, want %s, the only one offered",
					kind, tls.CipherSuiteName(got), suite.Name)
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
		t.Errorf("%d handshakes with TLS 1.2, accepted = %v, want at least 30 and %v", tried, accepted, want)
	}
}

// TestSlowReadersOccupyNoSlot sends more requests than there are slots and reads no body of a response.
func TestSlowReadersOccupyNoSlot(t *testing.T) {
	t.Parallel()
	p := newProvider(t)
	p.env["GATEHOUSE_MAX_REQUESTS"] = "4"
	p.serve(t)
	page := func() (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.issuer+"/login", nil)
		storagetest.Must(t, err)
		res, err := newTrustingClient(t, p.cert).Do(req)
		storagetest.Must(t, err)
		defer func() { _ = res.Body.Close() }()
		b, err := io.ReadAll(res.Body)
		storagetest.Must(t, err)
		return res.StatusCode, string(b)
	}
	_, text := page()
	sheet := regexp.MustCompile(`/static/style[^"]+`).FindString(text)
	requestWithoutReading(t, p.env["GATEHOUSE_LISTEN"], sheet, 40)
	for range 5 {
		if status, _ := page(); status != http.StatusOK {
			t.Errorf("GET /login of another client: %d, want 200", status)
		}
	}
}

// requestWithoutReading requests a path n times on one HTTP/2 connection, which stays open until the test ends. Its
// flow-control window is empty, so the server can send the headers of the responses, but not their bodies.
func requestWithoutReading(t *testing.T, address, path string, n uint32) {
	t.Helper()
	conn, err := tls.Dial("tcp", address, &tls.Config{
		InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2"},
	})
	storagetest.Must(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, http2.ClientPreface)
	storagetest.Must(t, err)
	framer := http2.NewFramer(conn, conn)
	storagetest.Must(t, framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0}))
	for i := range n {
		var head bytes.Buffer
		encoder := hpack.NewEncoder(&head)
		for _, f := range [][2]string{
			{":method", "GET"}, {":scheme", "https"}, {":authority", address}, {":path", path},
		} {
			storagetest.Must(t, encoder.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
		}
		storagetest.Must(t, framer.WriteHeaders(http2.HeadersFrameParam{
			StreamID: 2*i + 1, BlockFragment: head.Bytes(), EndStream: true, EndHeaders: true,
		}))
	}
	for responses := uint32(0); responses < n; {
		frame, err := framer.ReadFrame()
		storagetest.Must(t, err)
		if frame.Header().Type == http2.FrameHeaders {
			responses++
		}
	}
}
