package servertest

import (
	"crypto/rand"
	"net/http"
	"time"

	"github.com/google/uuid"

	"gatehouse/identity"
	"gatehouse/identity/totp"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TOTP is the TOTP authenticator of a user.
type TOTP struct {
	server *Server
	key    totp.Key
}

// TOTP gives a user a TOTP authenticator.
func (s *Server) TOTP(u storage.User) TOTP {
	s.T.Helper()
	k := totp.New()
	storagetest.Must(s.T, s.Store.SetTOTP(s.T.Context(), storage.TOTPSecret{
		ID: u.ID, Secret: k.Secret, Algorithm: k.Algorithm, Digits: int64(k.Digits), Period: int64(k.Period / time.Second),
	}))
	return TOTP{s, k}
}

// Code returns the current code.
func (a TOTP) Code() string { return a.key.Code(a.key.Step(a.server.Clock.Now())) }

// BeginSignIn submits the sign-in form of the page and returns the page of the second factor.
func (b *Browser) BeginSignIn(p Page, username string) Page {
	b.T.Helper()
	form := p.Fields()
	form.Set("username", username)
	form.Set("password", Password)
	response := b.Submit("/login", form)
	if response.Status != http.StatusSeeOther {
		b.T.Fatalf("the first factor of %s: %d %s, want 303", username, response.Status, response.Text())
	}
	return b.Follow(response)
}

// SubmitFactor submits the form of the second factor, with more fields as names and values.
func (b *Browser) SubmitFactor(p Page, code string, more ...string) Page {
	b.T.Helper()
	form := p.Fields()
	form.Set("code", code)
	for i := 0; i+1 < len(more); i += 2 {
		form.Set(more[i], more[i+1])
	}
	return b.Submit("/login/factor", form)
}

// Session starts a session of a user that no browser has.
func (s *Server) Session(u storage.User) *identity.SignedInUser {
	s.T.Helper()
	u, err := s.Store.User(s.T.Context(), u.ID) // its epochs may have changed
	storagetest.Must(s.T, err)
	row := storage.BrowserSession{
		ID: uuid.NewString(), TokenHash: []byte(rand.Text()), UserID: u.ID, UserEpoch: u.Epoch, SignInEpoch: u.SignInEpoch,
		AuthTime: s.Clock.Now(), CreatedAt: s.Clock.Now(), LastSeenAt: s.Clock.Now(),
		ExpiresAt: s.Clock.Now().Add(time.Hour),
	}
	storagetest.Must(s.T, s.Store.CreateSession(s.T.Context(), &row))
	return &identity.SignedInUser{Session: row, User: u}
}
