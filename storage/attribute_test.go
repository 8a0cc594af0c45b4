package storage_test

import (
	"errors"
	"fmt"
	"testing"

	"gatehouse/storage"
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
