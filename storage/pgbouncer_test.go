package storage_test

import (
	"context"
	"fmt"
	"testing"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

// TestPgBouncerNeedsNoSetting uses many connections concurrently, so that in transaction mode consecutive statements
// are executed by different servers.
func TestPgBouncerNeedsNoSetting(t *testing.T) {
	t.Parallel()
	storagetest.ThroughPgBouncer(t, func(t *testing.T, b *storagetest.PgBouncer) {
		f := newFixture(t, b.URL)
		stores := []*storage.Store{f.Store, follower(t, b.URL, f.clock), follower(t, b.URL, f.clock)}
		storagetest.Concurrently(12, func(i int) {
			for n := range 20 {
				if !createAndRevoke(t, stores[i%len(stores)], *f.client, fmt.Sprint("client", i, ".", n)) {
					return
				}
			}
		})
	})
}

// createAndRevoke creates a client with the id and a secret, revokes its tokens, and reads it again. It returns false
// when the client was not created.
func createAndRevoke(t *testing.T, s *storage.Store, c storage.Client, id string) bool {
	t.Helper()
	ctx := context.Background()
	c.ID = id
	c.Secrets = []storage.ClientSecret{{ID: "s" + id, ClientID: id, Hash: []byte("hash"), CreatedAt: s.Now()}}
	if err := s.CreateClient(ctx, &c, nil); err != nil {
		t.Errorf("CreateClient(%s) = %v, want no error", id, err)
		return false
	}
	if err := s.RevokeClientTokens(ctx, id); err != nil {
		t.Errorf("RevokeClientTokens(%s) = %v, want no error", id, err)
	}
	if got, err := s.Client(ctx, id); err != nil || got.Epoch != 2 || len(got.Secrets) != 1 {
		t.Errorf("Client(%s) = %+v, %v, want epoch 2 and one secret", id, got, err)
	}
	if err := s.ApplyChanges(ctx); err != nil {
		t.Errorf("ApplyChanges = %v, want no error", err)
	}
	return true
}
