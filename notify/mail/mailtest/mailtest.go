// Package mailtest starts Mailpit, a mail server for tests, and reads the emails that it accepted.
package mailtest

import (
	"cmp"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/storage/storagetest"
)

// Server is a Mailpit process on ports of the loopback interface.
type Server struct {
	Address string         // host:port of SMTP
	CA      *x509.CertPool // of its certificate, which is for CertificateName and 127.0.0.1

	t     testing.TB
	api   string // host:port of its API
	dir   string
	tls   bool
	arg   []string
	cmd   *exec.Cmd
	ended <-chan struct{} // closed when the process has ended
}

// CertificateName is a name in the certificates of servers.
const CertificateName = "mail.example"

// The user of servers that require authentication.
const (
	Username = "gatehouse"
	Password = "p@ss/word%1"
)

// Start runs Mailpit with additional arguments until the test ends. The arguments --smtp-require-starttls and
// --smtp-require-tls get a certificate. Without Mailpit the test is skipped, or fails when CI is set.
func Start(t testing.TB, arguments ...string) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir(), Address: storagetest.FreeAddress(t), api: storagetest.FreeAddress(t)}
	for _, a := range arguments {
		s.tls = s.tls || a == "--smtp-require-starttls" || a == "--smtp-require-tls"
	}
	s.arg = append([]string{
		"--smtp", s.Address, "--listen", s.api, "--database", filepath.Join(s.dir, "mailpit.db"), "--smtp-disable-rdns",
		"--quiet",
	}, arguments...)
	if s.tls {
		s.createCertificate()
		s.arg = append(s.arg, "--smtp-tls-cert", s.file("cert.pem"), "--smtp-tls-key", s.file("key.pem"))
	} else {
		s.arg = append(s.arg, "--smtp-auth-allow-insecure")
	}
	s.Restart()
	t.Cleanup(s.Stop)
	return s
}

// RequireUser returns the arguments of a server that requires Username and Password.
func RequireUser(t testing.TB) []string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "users")
	storagetest.Must(t, os.WriteFile(name, []byte(Username+":"+Password+"\n"), 0o600))
	return []string{"--smtp-auth-file", name}
}

// Restart runs the server on the same port and returns when it accepts emails.
func (s *Server) Restart() {
	s.t.Helper()
	program, err := exec.LookPath(cmp.Or(os.Getenv("MAILPIT"), "mailpit"))
	if err != nil {
		storagetest.Missing(s.t, "Mailpit is not installed; set MAILPIT to the output of scripts/mailpit.sh")
	}
	output, err := os.Create(s.file("output"))
	storagetest.Must(s.t, err)
	s.cmd = exec.CommandContext(context.Background(), program, s.arg...) //nolint:gosec // the tests have the arguments
	s.cmd.Stdout, s.cmd.Stderr = output, output
	storagetest.Must(s.t, s.cmd.Start())
	storagetest.Must(s.t, output.Close())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = s.cmd.Wait() // killed
	}()
	s.ended = ended
	storagetest.Eventually(s.t, "Mailpit is ready", func() bool {
		select {
		case <-ended:
			output, _ := os.ReadFile(s.file("output"))
			s.t.Fatalf("Mailpit does not start:\n%s", output)
		default:
		}
		res, err := http.Get("http://" + s.api + "/readyz") //nolint:noctx // of a test server
		return err == nil && res.Body.Close() == nil && res.StatusCode == http.StatusOK
	})
	storagetest.Eventually(s.t, "Mailpit accepts emails", func() bool {
		conn, err := (&net.Dialer{}).DialContext(s.t.Context(), "tcp", s.Address)
		return err == nil && conn.Close() == nil
	})
}

// Stop ends the server.
func (s *Server) Stop() {
	if s.ended != nil {
		_ = s.cmd.Process.Kill() // it may have ended
		<-s.ended
	}
}

func (s *Server) file(name string) string { return filepath.Join(s.dir, name) }

// createCertificate creates a certificate that is its own authority.
func (s *Server) createCertificate() {
	s.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	storagetest.Must(s.t, err)
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: CertificateName}, DNSNames: []string{CertificateName},
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	storagetest.Must(s.t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	storagetest.Must(s.t, err)
	for name, block := range map[string]*pem.Block{
		"cert.pem": {Type: "CERTIFICATE", Bytes: der}, "key.pem": {Type: "PRIVATE KEY", Bytes: private},
	} {
		storagetest.Must(s.t, os.WriteFile(s.file(name), pem.EncodeToMemory(block), 0o600))
	}
	parsed, err := x509.ParseCertificate(der)
	storagetest.Must(s.t, err)
	s.CA = x509.NewCertPool()
	s.CA.AddCert(parsed)
}

// Mail is an email that the server accepted.
type Mail struct {
	ID      string
	Subject string
	Text    string
	HTML    string
	Raw     string              // with the header
	Header  map[string][]string `json:"-"`
}

// Mails returns the emails to an address, the last one first.
func (s *Server) Mails(to string) []Mail {
	s.t.Helper()
	var found struct{ Messages []Mail }
	s.get("/api/v1/search?query="+url.QueryEscape(`to:"`+to+`"`), &found)
	for i, m := range found.Messages {
		s.get("/api/v1/message/"+m.ID, &found.Messages[i])
		s.get("/api/v1/message/"+m.ID+"/headers", &found.Messages[i].Header)
		found.Messages[i].Raw = string(s.read("/api/v1/message/" + m.ID + "/raw"))
	}
	return found.Messages
}

// Wait waits for an email to an address and returns the last one.
func (s *Server) Wait(to string) Mail {
	s.t.Helper()
	var mails []Mail
	storagetest.Eventually(s.t, "an email to "+to+" arrives", func() bool {
		mails = s.Mails(to)
		return len(mails) > 0
	})
	return mails[0]
}

func (s *Server) get(path string, into any) {
	s.t.Helper()
	storagetest.Must(s.t, json.Unmarshal(s.read(path), into))
}

func (s *Server) read(path string) []byte {
	s.t.Helper()
	res, err := http.Get("http://" + s.api + path) //nolint:noctx // of a test server
	storagetest.Must(s.t, err)
	body, err := io.ReadAll(res.Body)
	storagetest.Must(s.t, err)
	storagetest.Must(s.t, res.Body.Close())
	if res.StatusCode != http.StatusOK {
		s.t.Fatalf("GET %s of Mailpit: %d %s, want 200", path, res.StatusCode, body)
	}
	return body
}
