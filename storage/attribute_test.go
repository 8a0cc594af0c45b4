package storage_test

import (
	"errors"
	"fmt"
	"testing"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

func TestAttributesAreBounded(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		create := func(name, claim string) error {
			return f.CreateAttribute(t.Context(), storage.Attribute{Name: name, Claim: claim})
		}
		storagetest.Must(t, create("a0", "a0"))
		for _, err := range []error{create("a0", "b"), create("b", "A0")} {
			if !errors.Is(err, storage.ErrConflict) {
				t.Errorf("second attribute of the name or claim: %v, want ErrConflict", err)
			}
		}
		for i := 1; i < storage.MaxAttributes; i++ {
			name := fmt.Sprintf("a%d", i)
			storagetest.Must(t, create(name, name))
		}
		if err := create("b", "b"); !errors.Is(err, storage.ErrTooManyAttributes) {
			t.Errorf("attribute %d: %v, want ErrTooManyAttributes", storage.MaxAttributes+1, err)
		}
	})
}

// TestLocaleIsSetOnlyWhereAllowed tests that a language is stored for a user without one, or in place of some, and that
// only this has an event.
func TestLocaleIsSetOnlyWhereAllowed(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		for _, x := range []struct {
			locale   string
			replaces []string
			want     string
			events   int64
		}{
			{"de", nil, "de", 1},
			{"en", nil, "de", 1},
			{"en", []string{"en", "de"}, "en", 2},
			{"en", []string{"en", "de"}, "en", 2},
			{"de", []string{"fr"}, "en", 2},
		} {
			_, err := f.SetLocale(t.Context(), f.user.ID, x.locale, x.replaces)
			storagetest.Must(t, err)
			u, err := f.User(t.Context(), f.user.ID)
			storagetest.Must(t, err)
			n, err := f.Audit.CountRows(t.Context(), audit.Filter{Event: audit.UserLanguageSet})
			if err != nil || u.Profile.Locale != x.want || n != x.events {
				t.Errorf("after SetLocale %+v: %q with %d events, %v", x, u.Profile.Locale, n, err)
			}
		}
		if _, err := f.SetLocale(t.Context(), "unknown", "de", nil); !errors.Is(err, storage.ErrNotFound) {
			t.Errorf("SetLocale of an unknown user = %v, want ErrNotFound", err)
		}
	})
}
