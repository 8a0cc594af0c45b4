package identity

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/keyed"
	"gatehouse/storage"
)

// cookie returns a cookie that is HttpOnly, SameSite=Lax and, over https, Secure and bound to this host. On loopback
// http browsers refuse the __Host- prefix, so it is omitted.
func (u *Users) cookie(name, value string, maxAge time.Duration) *http.Cookie {
	return &http.Cookie{
		Name: u.cookieName(name), Value: value, Path: "/", MaxAge: int(maxAge.Seconds()),
		HttpOnly: true, Secure: u.options.Secure, SameSite: http.SameSiteLaxMode,
	}
}

func (u *Users) cookieName(name string) string {
	if u.options.Secure {
		return "__Host-gatehouse_" + name
	}
	return "gatehouse_" + name
}

// cookieValue returns the value of a cookie, or "" when it is missing, sent twice or longer than Gatehouse sets it.
func (u *Users) cookieValue(r *http.Request, name string) string {
	found := r.CookiesNamed(u.cookieName(name))
	if len(found) != 1 || len(found[0].Value) > 1024 {
		return ""
	}
	return found[0].Value
}

// randomToken returns 256 random bits in base64url.
func randomToken() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: the runtime ends the program instead
	return base64.RawURLEncoding.EncodeToString(b)
}

func hash(s string) []byte {
	sum := sha256.Sum256([]byte(s))
	return sum[:]
}

const browserCookie = "browser"

// EnsureBrowser returns the hash of the cookie that identifies a browser before a user signs in, and sets the cookie
// when there is none. It grants nothing and does not change at sign-in, so that several tabs can wait for one
// sign-in.
func (u *Users) EnsureBrowser(w http.ResponseWriter, r *http.Request) []byte {
	if h := u.Browser(r); h != nil {
		return h
	}
	v := randomToken()
	http.SetCookie(w, u.cookie(browserCookie, v, 0))
	return hash(v)
}

// Browser returns the hash of the cookie that EnsureBrowser sets, or nil when the request has none.
func (u *Users) Browser(r *http.Request) []byte {
	v := u.cookieValue(r, browserCookie)
	if len(v) != 43 {
		return nil
	}
	return hash(v)
}

const (
	deviceCookie   = "device"
	deviceTTL      = 365 * 24 * time.Hour
	maxDeviceUsers = 8
)

// Device is a cookie with the users who signed in with a browser before. Its only effect is that limits that brute
// force from elsewhere triggers on their accounts do not apply in this browser.
type Device struct {
	nonce    string
	userTags []string
	mac      func(parts ...string) string
}

// Device returns the device cookie of the browser.
func (u *Users) Device(r *http.Request) Device {
	d := Device{mac: func(parts ...string) string {
		return base64.RawURLEncoding.EncodeToString(keyed.MAC(u.options.DeviceKey, parts...)[:18])
	}}
	if parts := strings.Split(u.cookieValue(r, deviceCookie), "."); len(parts) > 1 && len(parts) <= maxDeviceUsers+1 &&
		len(parts[0]) == 43 {
		d.nonce, d.userTags = parts[0], parts[1:]
	}
	return d
}

// userTag returns the cookie value of a user. It depends on the user's epochs, so that browsers from before the user
// was disabled, got a new password or reported an event of another are unknown.
func (d Device) userTag(u storage.User) string {
	parts := []string{d.nonce, u.ID, strconv.FormatInt(u.Epoch, 10)}
	if u.SignInEpoch > 0 { // cookies from before there was this epoch stay valid
		parts = append(parts, strconv.FormatInt(u.SignInEpoch, 10))
	}
	return d.mac(parts...)
}

// hasSignedIn reports whether the user signed in with this browser before, in the user's current epochs.
func (d Device) hasSignedIn(u storage.User) bool {
	if d.nonce == "" || u.ID == "" {
		return false
	}
	want, ok := d.userTag(u), false
	for _, m := range d.userTags {
		ok = keyed.Equal([]byte(m), []byte(want)) || ok
	}
	return ok
}

func (d Device) id() string { return hex.EncodeToString(hash(d.nonce)[:8]) }

// addToDevice adds the user to the device cookie of the browser.
func (u *Users) addToDevice(w http.ResponseWriter, r *http.Request, user storage.User) {
	d := u.Device(r)
	if d.hasSignedIn(user) {
		return
	}
	if d.nonce == "" {
		d.nonce = randomToken()
	}
	u.setDevice(w, d, append([]string{d.userTag(user)}, d.userTags...))
}

// KeepDevice keeps the browser in which a user changed or reset the password, undid a change, reported an event of
// another or deleted the account, among those in which the user signed in before: the change made all of them unknown.
// before is the user before the change.
func (u *Users) KeepDevice(w http.ResponseWriter, r *http.Request, before storage.User) error {
	d := u.Device(r)
	if !d.hasSignedIn(before) {
		return nil
	}
	user, err := u.store.User(r.Context(), before.ID)
	if err != nil {
		return err
	}
	old := d.userTag(before)
	others := slices.DeleteFunc(slices.Clone(d.userTags), func(tag string) bool { return tag == old })
	u.setDevice(w, d, append([]string{d.userTag(user)}, others...))
	return nil
}

// setDevice sets the device cookie with the tags of users.
func (u *Users) setDevice(w http.ResponseWriter, d Device, tags []string) {
	if len(tags) > maxDeviceUsers {
		tags = tags[:maxDeviceUsers]
	}
	http.SetCookie(w, u.cookie(deviceCookie, d.nonce+"."+strings.Join(tags, "."), deviceTTL))
}
