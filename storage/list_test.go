package storage_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse/storage"
	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

// userNames returns the usernames of all pages of a list, which have at most limit users.
func (f *fixture) userNames(t *testing.T, search string, limit int) []string {
	t.Helper()
	names := []string{}
	for next := (&storage.Position{}); next != nil; {
		var users []storage.User
		var err error
		users, next, err = f.UserPage(t.Context(), search, *next, limit)
		storagetest.Must(t, err)
		if len(users) > limit {
			t.Fatalf("a page has %d users, want at most %d", len(users), limit)
		}
		for _, u := range users {
			names = append(names, u.Username)
		}
	}
	return names
}

// listed adds users to alice of the fixture.
func (f *fixture) listed(t *testing.T) {
	t.Helper()
	for _, u := range []struct{ username, email, name string }{
		{"bob", "b.obrien@corp.example", "Bob O’Brien-Straße"}, {"Zoe", "zoe@corp.example", "Zoë Müller"},
		{"carol", "carol@example.com", "Carol Bobkin"}, {"_dave", "dave@example.com", ""},
	} {
		n := f.newUser(u.username)
		n.UsernameKey, n.Email, n.EmailKey, n.Name = strings.ToLower(u.username), u.email, u.email, u.name
		storagetest.Must(t, f.CreateUser(t.Context(), n, "hash", nil))
	}
}

func TestUsersAreListedInPagesByUsername(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.listed(t)
		want := []string{"_dave", "alice", "bob", "carol", "Zoe"}
		for limit := 1; limit <= 6; limit++ {
			if got := f.userNames(t, "", limit); !slices.Equal(got, want) {
				t.Errorf("pages of %d: %v, want %v", limit, got, want)
			}
		}
		// A record that is deleted, and one that is inserted, do not shift the page that follows.
		_, next, err := f.UserPage(t.Context(), "", storage.Position{}, 2)
		storagetest.Must(t, err)
		storagetest.Must(t, f.DeleteUser(t.Context(), f.user.ID, 0))
		storagetest.Must(t, f.CreateUser(t.Context(), f.newUser("aaron"), "hash", nil))
		users, _, err := f.UserPage(t.Context(), "", *next, 2)
		storagetest.Must(t, err)
		if len(users) != 2 || users[0].Username != "bob" || users[1].Username != "carol" {
			t.Errorf("after changes the second page is %v, want bob and carol", users)
		}
	})
}

func TestUsersAreFoundByTheBeginningOfWords(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		f.listed(t)
		for search, want := range map[string][]string{
			"ALI":                 {"alice"},
			"bob":                 {"bob", "carol"}, // and Bobkin
			"bob carol":           {"carol"},
			"carol bob":           {"carol"},
			"o’brien":             {"bob"},
			"brien":               {"bob"},
			"strasse":             {"bob"},
			"zoë muller":          {"Zoe"},
			"corp.example":        {"bob", "Zoe"},
			"b.obrien@corp":       {"bob"},
			"com":                 {},
			"dave":                {"_dave"},
			"bob nothing":         {},
			"%":                   {},
			"\U0010FFFF":          {},
			" \t":                 {"_dave", "alice", "bob", "carol", "Zoe"},
			"a@example.com alice": {"alice"},
		} {
			for limit := 1; limit <= 3; limit++ {
				got := f.userNames(t, search, limit)
				slices.SortFunc(got, func(a, b string) int {
					return strings.Compare(strings.ToLower(a), strings.ToLower(b))
				})
				if !slices.Equal(got, want) {
					t.Errorf("search for %q in pages of %d: %v, want %v", search, limit, got, want)
				}
			}
		}
	})
}

func TestSearchesFollowChanges(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		_, err := f.UpdateUser(t.Context(), f.user.ID, func(u *storage.User) error {
			u.Name, u.Email, u.EmailKey = "Alicia Keys", "keys@example.net", "keys@example.net"
			return nil
		})
		storagetest.Must(t, err)
		_, err = f.ImportUsers(t.Context(), "test", []storage.ImportedUser{{User: *f.newUser("imported"), ExternalID: "1"}}, false)
		storagetest.Must(t, err)
		for search, want := range map[string]int{"keys": 1, "a@example.com": 0, "imported": 1} {
			if got := f.userNames(t, search, 5); len(got) != want {
				t.Errorf("search for %q finds %v, want %d users", search, got, want)
			}
		}
		storagetest.Must(t, f.UpdateClient(t.Context(), f.client.ID, func(c *storage.Client) (storage.ClientUpdate, error) {
			c.Name, c.Owner = "Shop Front", "Team Blue"
			return storage.ClientUpdate{}, nil
		}))
		for search, want := range map[string]int{"app": 0, "front": 1, "blue shop": 1, "gc1": 1} {
			found, _, err := f.ClientPage(t.Context(), search, storage.Position{}, 5)
			if err != nil || len(found) != want {
				t.Errorf("search for %q finds %d clients, %v, want %d", search, len(found), err, want)
			}
		}
		storagetest.Must(t, f.DeleteUser(t.Context(), f.user.ID, 0))
		storagetest.Must(t, f.DeleteClient(t.Context(), f.client.ID))
		if got := f.userNames(t, "keys", 5); len(got) > 0 {
			t.Errorf("a deleted user is found: %v", got)
		}
	})
}

func TestRecordsOfEarlierVersionsAreIndexed(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		for _, table := range []string{"user_terms", "client_terms"} {
			storagetest.Must(t, db.Exec(t.Context(), f.Write, "DELETE FROM "+table))
		}
		storagetest.Concurrently(4, func(int) { storagetest.Must(t, f.IndexRecords(t.Context())) })
		clients, _, err := f.ClientPage(t.Context(), "app", storage.Position{}, 5)
		if got := f.userNames(t, "alice", 5); err != nil || len(got) != 1 || len(clients) != 1 {
			t.Errorf("found %v and %d clients, %v, want one of each", got, len(clients), err)
		}
	})
}

// TestSearchesForFrequentWordsAreBounded searches for two words that many users have, but none both.
func TestSearchesForFrequentWordsAreBounded(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		var many []storage.ImportedUser
		for i := range 4500 {
			u := f.newUser(fmt.Sprint("u", i))
			u.Name = [2]string{"Hans", "Frieda"}[i%2]
			many = append(many, storage.ImportedUser{User: *u, ExternalID: u.ID})
		}
		both := f.newUser("both")
		both.Name = "Frieda zu Hans"
		many = append(many, storage.ImportedUser{User: *both, ExternalID: both.ID})
		for chunk := range slices.Chunk(many, 500) {
			_, err := f.ImportUsers(t.Context(), "test", chunk, false)
			storagetest.Must(t, err)
		}
		if got := f.userNames(t, "u hans", 5); len(got) != 2250 {
			t.Errorf("%d users are found, want 2250", len(got))
		}
		if got := f.userNames(t, "frieda hans", 5); !slices.Equal(got, []string{"both"}) {
			t.Errorf("found %v, want both", got)
		}
	})
}
