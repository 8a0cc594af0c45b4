package sample

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// Names of cookies, without the prefix that they have on https.
const (
	sessionCookie = "sample_session"
	pendingCookie = "sample_sign_in" // the sign-ins in progress, sealed
	noticeCookie  = "sample_notice"  // what the next page reports, sealed
)

const (
	sessionLifetime = 24 * time.Hour
	pendingLifetime = 15 * time.Minute
	noticeLifetime  = time.Minute
	maxNotice       = 2000 // bytes: browsers drop a cookie above 4096
)

// sealer encrypts cookies of one process.
type sealer struct{ cipher.AEAD }

func newSealer() (sealer, error) {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never returns an error
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return sealer{aead}, err
}

// cookieName returns the name of a cookie: with the prefix __Host- on https, so that no other host of the domain can
// set it.
func (a *app) cookieName(name string) string {
	if a.secure() {
		return "__Host-" + name
	}
	return name
}

func (a *app) secure() bool { return strings.HasPrefix(a.config.URL, "https://") }

func (a *app) setCookie(w http.ResponseWriter, name, value string, lifetime time.Duration) {
	c := &http.Cookie{
		Name: a.cookieName(name), Value: value, Path: "/", MaxAge: int(lifetime.Seconds()),
		HttpOnly: true, Secure: a.secure(), SameSite: http.SameSiteLaxMode,
	}
	if value == "" {
		c.MaxAge = -1
	}
	http.SetCookie(w, c)
}

func (a *app) cookie(r *http.Request, name string) string {
	c, err := r.Cookie(a.cookieName(name))
	if err != nil {
		return ""
	}
	return c.Value
}

// setSealed puts a value into a cookie that only this process can read.
func (a *app) setSealed(w http.ResponseWriter, name string, v any, lifetime time.Duration) {
	b, err := json.Marshal(v)
	if err != nil {
		return // the types below can always be encoded
	}
	sealed := a.sealer.Seal(nil, nil, b, []byte(name)) //nolint:gosec // the AEAD adds a random nonce
	a.setCookie(w, name, base64.RawURLEncoding.EncodeToString(sealed), lifetime)
}

// readSealed decrypts a value that setSealed wrote, and reports whether there is one.
func (a *app) readSealed(r *http.Request, name string, v any) bool {
	b, err := base64.RawURLEncoding.DecodeString(a.cookie(r, name))
	if err != nil {
		return false
	}
	b, err = a.sealer.Open(nil, nil, b, []byte(name))
	return err == nil && json.Unmarshal(b, v) == nil
}

// pending is a sign-in in progress: its state, its nonce, and its PKCE verifier (RFC 7636). It is stored in the browser
// that started it, so that an attacker who starts many uses no memory of the server.
type pending struct {
	State, Nonce, Verifier string
	Started                time.Time
}

// maxPending is the maximum number of sign-ins in progress in one browser, one per tab. The oldest is dropped.
const maxPending = 5

// pendingOf returns the sign-ins of a browser that have not expired.
func (a *app) pendingOf(r *http.Request) []pending {
	var all, valid []pending
	a.readSealed(r, pendingCookie, &all)
	for _, p := range all {
		if time.Since(p.Started) < pendingLifetime {
			valid = append(valid, p)
		}
	}
	return valid
}

// notice is a message on the next page.
type notice struct {
	Text   string
	Failed bool
}
