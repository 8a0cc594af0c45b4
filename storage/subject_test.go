package storage_test

import (
	"errors"
	"testing"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestUserAndClientNeverShareID refuses a user with the id of a client and a client with that of a user: both are the
// sub of tokens (RFC 9068 §5; PE57).
func TestUserAndClientNeverShareID(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s := storagetest.Open(t, url, storagetest.NewClock())
		const user, client = "2a117809-8285-4718-a131-bd61fb57cd1f", "9d0c4a3e-6a4b-4a39-9d8d-0e7f2a6d5c11"
		newUser := func(id, name string) error {
			u := storage.User{ID: id, Username: name, UsernameKey: name, Email: name + "@example.com", Epoch: 1}
			u.EmailKey = u.Email
			return s.CreateUser(t.Context(), &u, "$argon2id$", nil)
		}
		storagetest.Must(t, newUser(user, "alice"))
		storagetest.Must(t, s.CreateClient(t.Context(), &storage.Client{ID: client, Name: "app"}, nil))
		if err := newUser(client, "bob"); !errors.Is(err, storage.ErrIDOfClient) {
			t.Errorf("user with the id of a client = %v, want ErrIDOfClient", err)
		}
		err := s.CreateClient(t.Context(), &storage.Client{ID: user, Name: "app"}, nil)
		if !errors.Is(err, storage.ErrIDOfUser) {
			t.Errorf("client with the id of a user = %v, want ErrIDOfUser", err)
		}
		storagetest.Must(t, newUser("5d0c4a3e-6a4b-4a39-9d8d-0e7f2a6d5c55", "bob"))
	})
}
