package migration

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"
	"github.com/google/uuid"

	"gatehouse/loopback"
)

// KindLDAP is an LDAP directory.
const KindLDAP = "ldap"

// The attributes with the id of an entry.
const (
	LDAPEntryUUID  = "entryUUID"  // RFC 4530
	LDAPObjectGUID = "objectGUID" // Active Directory
)

// maxDirectoryResponse is how much is read of one connection: the TLS handshake and an entry with its groups.
const maxDirectoryResponse = 128 << 10 // bytes

// directory is an LDAP directory (RFC 4511). A search with the account of Gatehouse finds the entry of a name, and a
// bind as this entry checks the password. Referrals are not followed.
type directory struct {
	options Options
	address string
	tls     *tls.Config
	ldaps   bool
	plain   bool // to the local host, without TLS
}

func newDirectory(o Options) (Server, error) {
	u, err := url.Parse(o.URL)
	if err != nil {
		return nil, err
	}
	if _, err := ldap.CompileFilter(filterFor(o.Filter, "name")); err != nil {
		return nil, fmt.Errorf("the filter %q is not valid: %w", o.Filter, err)
	}
	d := directory{options: o, address: u.Host, ldaps: u.Scheme == "ldaps", plain: loopback.IsHost(u.Hostname())}
	d.tls = &tls.Config{ServerName: u.Hostname(), RootCAs: o.RootCAs, MinVersion: tls.VersionTLS12}
	if u.Port() == "" {
		d.address = net.JoinHostPort(u.Hostname(), map[bool]string{true: "636", false: "389"}[d.ldaps])
	}
	return d, nil
}

// filterFor returns a filter in which %s is a name (RFC 4515 §3).
func filterFor(filter, name string) string {
	return strings.ReplaceAll(filter, "%s", ldap.EscapeFilter(name))
}

// Authenticate implements Server.
func (d directory) Authenticate(ctx context.Context, name, password string) (User, error) {
	if password == "" { // a bind without a password always succeeds (RFC 4513 §5.1.2)
		return User{}, ErrIncorrect
	}
	ctx, cancel := context.WithTimeout(ctx, d.options.Timeout)
	defer cancel()
	conn, err := d.connect(ctx)
	if err != nil {
		return User{}, fmt.Errorf("connect to the directory: %w", err)
	}
	defer func() { _ = conn.Close() }() // nothing was changed
	if err := conn.Bind(d.options.ClientID, d.options.Secret); err != nil {
		return User{}, fmt.Errorf("bind to the directory as %s: %w", d.options.ClientID, err)
	}
	entry, err := d.find(conn, name)
	if err != nil {
		return User{}, err
	}
	if entry == nil { // the work is the same, with an entry that does not exist
		entry = &ldap.Entry{DN: "cn=" + rand.Text() + "," + d.options.Base}
	}
	err = conn.Bind(entry.DN, password)
	switch {
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultInvalidCredentials, ldap.LDAPResultNoSuchObject):
		return User{}, ErrIncorrect
	case err != nil:
		return User{}, fmt.Errorf("bind to the directory as the user: %w", err)
	case len(entry.Attributes) == 0:
		return User{}, errors.New("the directory accepted a bind as an entry that it does not have")
	}
	return d.user(entry)
}

// connect returns a connection with TLS, by StartTLS unless the URL is ldaps (RFC 4513 §3). Its deadline is that of the
// context.
func (d directory) connect(ctx context.Context) (*ldap.Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", d.address)
	if err != nil {
		return nil, err
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = raw.SetDeadline(deadline) // a connection has deadlines
	}
	raw = &boundedConn{Conn: raw, left: maxDirectoryResponse}
	if d.ldaps {
		secure := tls.Client(raw, d.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			return nil, errors.Join(err, raw.Close())
		}
		raw = secure
	}
	conn := ldap.NewConn(raw, d.ldaps)
	conn.Start()
	conn.SetTimeout(d.options.Timeout)
	if !d.ldaps && !d.plain {
		if err := conn.StartTLS(d.tls); err != nil {
			return nil, errors.Join(err, conn.Close())
		}
	}
	return conn, nil
}

// boundedConn is a connection of which no more than so many bytes can be read.
type boundedConn struct {
	net.Conn

	left int
}

// Read implements net.Conn.
func (b *boundedConn) Read(p []byte) (int, error) {
	if b.left <= 0 {
		return 0, fmt.Errorf("the directory sent more than %d bytes", maxDirectoryResponse)
	}
	n, err := b.Conn.Read(p[:min(len(p), b.left)])
	b.left -= n
	return n, err
}

// find returns the only entry with a name, or nil.
func (d directory) find(conn *ldap.Conn, name string) (*ldap.Entry, error) {
	result, err := conn.Search(ldap.NewSearchRequest(
		d.options.Base, ldap.ScopeWholeSubtree, ldap.NeverDerefAliases, 2, max(1, int(d.options.Timeout/time.Second)), false,
		filterFor(d.options.Filter, name), []string{
			d.options.IDAttribute, "uid", "sAMAccountName", "mail", "displayName", "cn", "givenName", "sn", "memberOf",
		}, nil,
	))
	if err != nil && !ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) {
		return nil, fmt.Errorf("search the directory: %w", err)
	}
	if err != nil || len(result.Entries) != 1 { // a name that several entries have is the name of none
		return nil, nil
	}
	return result.Entries[0], nil
}

// user returns the user of an entry.
func (d directory) user(e *ldap.Entry) (User, error) {
	u := User{Email: e.GetAttributeValue("mail")}
	u.Profile.GivenName, u.Profile.FamilyName = e.GetAttributeValue("givenName"), e.GetAttributeValue("sn")
	if u.Username = e.GetAttributeValue("uid"); u.Username == "" {
		u.Username = e.GetAttributeValue("sAMAccountName")
	}
	if u.Name = e.GetAttributeValue("displayName"); u.Name == "" {
		u.Name = e.GetAttributeValue("cn")
	}
	for _, member := range e.GetAttributeValues("memberOf") {
		if dn, err := ldap.ParseDN(member); err == nil && len(dn.RDNs) > 0 {
			u.Groups = append(u.Groups, dn.RDNs[0].Attributes[0].Value)
		}
	}
	u.ID = e.GetAttributeValue(d.options.IDAttribute)
	if d.options.IDAttribute == LDAPObjectGUID {
		u.ID = guid(e.GetRawAttributeValue(LDAPObjectGUID))
	}
	if uuid.Validate(u.ID) != nil {
		return User{}, fmt.Errorf("the entry of the user has no UUID in the attribute %s", d.options.IDAttribute)
	}
	return u, nil
}

// guid returns a GUID of Active Directory, whose first three numbers are little-endian, as Windows shows it, or "".
func guid(b []byte) string {
	b = slices.Clone(b)
	if len(b) != len(uuid.UUID{}) {
		return ""
	}
	slices.Reverse(b[0:4])
	slices.Reverse(b[4:6])
	slices.Reverse(b[6:8])
	return uuid.UUID(b).String()
}
