package passwordhash

import (
	"crypto/md5"  //nolint:gosec // for hashes of other systems
	"crypto/sha1" //nolint:gosec // for hashes of other systems
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"hash"
	"slices"
	"strings"

	"gatehouse/keyed"
)

// ldapScheme is a scheme of userPassword (RFC 2307 §5.3): one hash of the password and, in the salted schemes, of a
// salt, which is stored behind the sum.
type ldapScheme struct {
	name   string
	kind   Kind
	size   int
	new    func() hash.Hash
	salted bool
}

var ldapSchemes = []ldapScheme{
	{"MD5", MD5, md5.Size, md5.New, false},
	{"SMD5", SMD5, md5.Size, md5.New, true},
	{"SHA", SHA, sha1.Size, sha1.New, false},
	{"SSHA", SSHA, sha1.Size, sha1.New, true},
	{"SHA256", SHA256, sha256.Size, sha256.New, false},
	{"SSHA256", SSHA256, sha256.Size, sha256.New, true},
	{"SHA512", SHA512, sha512.Size, sha512.New, false},
	{"SSHA512", SSHA512, sha512.Size, sha512.New, true},
}

type ldapHash struct {
	scheme    ldapScheme
	sum, salt []byte
}

// parseLDAP parses {SCHEME}VALUE. {CRYPT} has a hash of crypt(3), and OpenLDAP's {ARGON2} and {PBKDF2-…} another
// notation. The value of a scheme without salt may be hexadecimal.
func parseLDAP(s string) (Hash, error) {
	name, value, _ := strings.Cut(strings.TrimPrefix(s, "{"), "}")
	name = strings.ToUpper(name)
	switch name {
	case "CRYPT", "ARGON2":
		if !strings.HasPrefix(value, "$") {
			return nil, ErrUnknown
		}
		return Parse(value)
	case "PBKDF2", "PBKDF2-SHA256", "PBKDF2-SHA512":
		return parsePBKDF2(pbkdf2Kind(strings.ToLower(name)), value)
	}
	i := slices.IndexFunc(ldapSchemes, func(scheme ldapScheme) bool { return scheme.name == name })
	if i < 0 {
		return nil, ErrUnknown
	}
	scheme := ldapSchemes[i]
	if b, err := hex.DecodeString(value); err == nil && len(b) == scheme.size && !scheme.salted {
		return &ldapHash{scheme, b, nil}, nil
	}
	b, err := decode(value)
	if err != nil {
		return nil, err
	}
	if len(b) < scheme.size || len(b) > scheme.size+maxSalt || scheme.salted == (len(b) == scheme.size) {
		return nil, errors.New("the password hash does not have the length of its scheme")
	}
	return &ldapHash{scheme, b[:scheme.size], b[scheme.size:]}, nil
}

func (h *ldapHash) Kind() Kind   { return h.scheme.kind }
func (h *ldapHash) Memory() int  { return 0 }
func (h *ldapHash) IsWeak() bool { return true }

func (h *ldapHash) Verify(password string) bool {
	d := h.scheme.new()
	_, _ = d.Write(slices.Concat([]byte(password), h.salt)) // a hash never fails
	return keyed.Equal(d.Sum(nil), h.sum)
}

func (h *ldapHash) String() string {
	return "{" + h.scheme.name + "}" + base64.StdEncoding.EncodeToString(slices.Concat(h.sum, h.salt))
}
