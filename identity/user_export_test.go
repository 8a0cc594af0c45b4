package identity_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
	"gatehouse/storage/storagetest"
)

// TestExportHasEverything covers PE31: the export has the records of the user, with addresses, and no hash or secret.
func TestExportHasEverything(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newSelfService(t, url, identity.SelfService{})
		f.ctx = reqevent.NewContext(f.ctx, &reqevent.Event{Address: "192.0.2.7"})
		alice, err := f.Create(f.ctx, identity.NewUser{
			Username: "alice", Email: "alice@example.com", Name: "Alice Liddell", Password: password,
		})
		storagetest.Must(t, err)
		user(t, f.Users, "bob")
		storagetest.Must(t, f.store.CreateGroup(f.ctx, storage.Group{Name: "staff"}))
		storagetest.Must(t, f.store.AddGroupMembers(f.ctx, "staff", []string{alice.ID}))
		storagetest.Must(t, f.RequestReset(f.ctx, "alice", english))
		session := storage.BrowserSession{
			ID: "session", TokenHash: []byte("token"), UserID: alice.ID, UserEpoch: alice.Epoch, AuthTime: f.store.Now(),
			SignInEpoch: alice.SignInEpoch, CreatedAt: f.store.Now(), LastSeenAt: f.store.Now(),
			ExpiresAt: f.store.Now().Add(time.Hour), EnrolmentPostponedAt: new(f.store.Now()),
		}
		storagetest.Must(t, f.store.CreateSession(f.ctx, &session))
		for id, parameters := range map[string]string{session.ID: "login_hint=alice", "another": "login_hint=bob"} {
			storagetest.Must(t, f.store.CreateRequest(f.ctx, &storage.AuthorizationRequest{
				ID: "request of " + id, ClientID: "app", Parameters: parameters, SessionID: id, CreatedAt: f.store.Now(),
				ExpiresAt: f.store.Now().Add(time.Hour),
			}))
		}
		out, err := f.Export(f.ctx, alice)
		storagetest.Must(t, err)
		b, err := json.Marshal(out)
		storagetest.Must(t, err)
		for _, want := range []string{
			alice.ID, "Alice Liddell", `"group_name":"staff"`, `"purpose":"reset_password"`, `"mail":"reset_password"`,
			"192.0.2.7", `"changed_at":"20`, audit.UserCreated, `"enrolment_postponed_at":"20`,
			`"parameters":"login_hint=alice"`,
		} {
			if !strings.Contains(string(b), want) {
				t.Errorf("the export has no %q: %s", want, b)
			}
		}
		for _, secret := range []string{"argon2id", "hash", "sealed", "bob", "request of"} {
			if strings.Contains(string(b), secret) {
				t.Errorf("the export has %q: %s", secret, b)
			}
		}
	})
}
