package migration_test

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-ldap/ldap/v3"

	"gatehouse/identity/migration"
	"gatehouse/storage/storagetest"
)

// directoryServer is OpenLDAP with users below dc=example,dc=com.
type directoryServer struct {
	plain, tls string // URLs
	roots      *x509.CertPool
}

const (
	searcher         = "cn=gatehouse,dc=example,dc=com"
	searcherPassword = "s3cret"
)

// startDirectory starts OpenLDAP until the test ends. Without it the test is skipped, or fails when CI is set.
func startDirectory(t *testing.T) directoryServer {
	t.Helper()
	program := findSlapd(t)
	dir := t.TempDir()
	s := directoryServer{roots: x509.NewCertPool()}
	source := httptest.NewTLSServer(nil) // whose certificate is for 127.0.0.1 and example.com
	certificate := source.TLS.Certificates[0]
	s.roots.AddCert(source.Certificate())
	source.Close()
	key, err := x509.MarshalPKCS8PrivateKey(certificate.PrivateKey)
	storagetest.Must(t, err)
	write := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		storagetest.Must(t, os.WriteFile(path, content, 0o600))
		return path
	}
	pemFile := func(name, kind string, b []byte) string {
		return write(name, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: b}))
	}
	certFile := pemFile("cert.pem", "CERTIFICATE", certificate.Certificate[0])
	config := write("slapd.conf", fmt.Appendf(nil, `include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
moduleload memberof
TLSCACertificateFile %[2]s
TLSCertificateFile %[2]s
TLSCertificateKeyFile %[3]s
database mdb
suffix dc=example,dc=com
rootdn %[4]s
rootpw %[5]s
directory %[1]s
overlay memberof
`, dir, certFile, pemFile("key.pem", "PRIVATE KEY", key), searcher, searcherPassword))
	plain, secure := storagetest.FreeAddress(t), storagetest.FreeAddress(t)
	s.plain, s.tls = "ldap://"+plain, "ldaps://"+secure
	cmd := exec.CommandContext(t.Context(), program, "-d", "0", "-f", config, "-h", s.plain+" "+s.tls)
	storagetest.Must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	storagetest.Eventually(t, "OpenLDAP accepts connections", func() bool {
		conn, err := ldap.DialURL(s.plain)
		if err != nil {
			return false
		}
		defer func() { _ = conn.Close() }()
		return s.addEntries(t, conn)
	})
	return s
}

// findSlapd returns the path of OpenLDAP.
func findSlapd(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"slapd", "/usr/sbin/slapd"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	storagetest.Missing(t, "slapd is not installed; `make setup` installs it")
	return ""
}

func (s directoryServer) addEntries(t *testing.T, conn *ldap.Conn) bool {
	t.Helper()
	if conn.Bind(searcher, searcherPassword) != nil {
		return false
	}
	add := func(dn string, attributes ...string) {
		request := ldap.NewAddRequest(dn+"dc=example,dc=com", nil)
		for i := 0; i < len(attributes); i += 2 {
			request.Attribute(attributes[i], strings.Split(attributes[i+1], "|"))
		}
		storagetest.Must(t, conn.Add(request))
	}
	add("", "objectClass", "dcObject|organization", "dc", "example", "o", "Example")
	addUser := func(uid, mail, password string) {
		add("uid="+uid+",", "objectClass", "inetorgperson", "uid", uid, "cn", "Alice Example", "sn", "Example", "givenName",
			"Alice", "mail", mail, "userPassword", password)
	}
	addUser("alice", "alice@example.com", "päss=word & more")
	addUser("same1", "same@example.com", "same")
	addUser("same2", "same@example.com", "same")
	add("cn=staff,", "objectClass", "groupOfNames", "cn", "staff", "member", "uid=alice,dc=example,dc=com")
	return true
}

// TestDirectoryBindDecidesAndNamesAreEscaped checks passwords in OpenLDAP, by LDAPS, by StartTLS and on the local host
// without TLS; names are escaped (PE58).
func TestDirectoryBindDecidesAndNamesAreEscaped(t *testing.T) {
	t.Parallel()
	s := startDirectory(t)
	o := migration.Options{
		Kind: migration.KindLDAP, URL: s.tls, ClientID: searcher, Secret: searcherPassword, Base: "dc=example,dc=com",
		Filter: "(|(uid=%s)(mail=%s))", IDAttribute: migration.LDAPEntryUUID, RootCAs: s.roots,
	}
	byTLS := newServer(t, o)
	var id string
	for url, server := range map[string]migration.Server{
		s.tls: byTLS,
		s.plain: newServer(t, migration.Options{
			Kind: o.Kind, URL: s.plain, ClientID: searcher, Secret: searcherPassword, Base: o.Base, Filter: o.Filter,
			IDAttribute: o.IDAttribute,
		}),
		"StartTLS": migration.WithStartTLS(newServer(t, migration.Options{
			Kind: o.Kind, URL: s.plain, ClientID: searcher, Secret: searcherPassword, Base: o.Base, Filter: o.Filter,
			IDAttribute: o.IDAttribute, RootCAs: s.roots,
		})),
	} {
		for _, name := range []string{"alice", "alice@example.com"} {
			u, err := server.Authenticate(t.Context(), name, "päss=word & more")
			if err != nil || u.Username != "alice" || u.Email != "alice@example.com" || u.EmailVerified || len(u.ID) != 36 ||
				u.Name != "Alice Example" || u.Profile.GivenName != "Alice" || !slices.Equal(u.Groups, []string{"staff"}) ||
				id != "" && u.ID != id {
				t.Errorf("%s: Authenticate(%s) = %+v, %v, want alice", url, name, u, err)
			}
			id = u.ID
		}
	}
	for name, password := range map[string]string{
		"alice": "a guess", "unknown": "päss=word & more", "*": "päss=word & more", "ali*": "päss=word & more",
		"alice)(uid=*": "päss=word & more", "alice@example.com ": "", "same@example.com": "same", "same1\x00": "same",
	} {
		if u, err := byTLS.Authenticate(t.Context(), name, password); !errors.Is(err, migration.ErrIncorrect) {
			t.Errorf("Authenticate(%q, %q) = %+v, %v, want ErrIncorrect", name, password, u, err)
		}
	}
	for what, change := range map[string]func(o *migration.Options){
		"password of Gatehouse": func(o *migration.Options) { o.Secret = "x" },
		"certificate":           func(o *migration.Options) { o.RootCAs = nil },
		"base":                  func(o *migration.Options) { o.Base = "dc=example,dc=net" },
		"attribute":             func(o *migration.Options) { o.IDAttribute = migration.LDAPObjectGUID },
		"port":                  func(o *migration.Options) { o.URL = "ldaps://" + storagetest.FreeAddress(t) },
		"protocol":              func(o *migration.Options) { o.URL = strings.Replace(s.plain, "ldap:", "ldaps:", 1) },
	} {
		changed := o
		changed.Timeout = 5 * time.Second
		change(&changed)
		if u, err := newServer(t, changed).Authenticate(t.Context(), "alice", "päss=word & more"); err == nil ||
			errors.Is(err, migration.ErrIncorrect) || strings.Contains(err.Error(), "more") {
			t.Errorf("Authenticate with another %s = %+v, %v, want an error that is not ErrIncorrect", what, u, err)
		}
	}
	o.Filter = "(uid=%s"
	if _, err := migration.New(o); err == nil {
		t.Error("New with an invalid filter = nil, want an error")
	}
}

// FuzzFilter checks that a name cannot change a filter.
func FuzzFilter(f *testing.F) {
	for _, name := range []string{"alice", "*", "a)(uid=*", `\2a`, "\x00", "ä", "\xff", "(|", "%s"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		packet, err := ldap.CompileFilter(migration.FilterFor("(uid=%s)", name))
		if name == "" {
			return // which is the presence of an empty value
		}
		if err != nil || packet.Tag != ldap.FilterEqualityMatch || packet.Children[1].Data.String() != name {
			t.Errorf("the filter for %q = %+v, %v, want an equality match with the name", name, packet, err)
		}
	})
}

// TestGUIDOfActiveDirectory compares the bytes of an objectGUID with the string that Windows shows (MS-DTYP §2.3.4).
func TestGUIDOfActiveDirectory(t *testing.T) {
	t.Parallel()
	b := []byte{0x78, 0x56, 0x34, 0x12, 0x34, 0x12, 0x78, 0x56, 0x9a, 0xbc, 0xde, 0xf0, 0x12, 0x34, 0x56, 0x78}
	if got := migration.GUID(b); got != "12345678-1234-5678-9abc-def012345678" {
		t.Errorf("guid = %q, want 12345678-1234-5678-9abc-def012345678", got)
	}
	if got := migration.GUID(b[1:]); got != "" {
		t.Errorf("guid of 15 bytes = %q, want none", got)
	}
}
