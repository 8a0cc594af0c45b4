package server

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/identity/passkey"
	"gatehouse/identity/passkey/passkeytest"
	"gatehouse/storage/storagetest"
)

// TestMetadataFileIsReadAgain changes the file of the FIDO Metadata Service while the server runs (PE9): a new file is
// used, and an invalid one is not.
func TestMetadataFileIsReadAgain(t *testing.T) {
	t.Parallel()
	vendor, dir := passkeytest.NewVendor(t), t.TempDir()
	settings := config.Passkeys{
		MetadataFile: filepath.Join(dir, "blob.jwt"), MetadataRootFile: filepath.Join(dir, "root.pem"),
	}
	write := func(name string, content []byte) {
		storagetest.Must(t, os.WriteFile(name, content, 0o600))
	}
	model := passkeytest.Model{AAGUID: [16]byte{1}, Status: "FIDO_CERTIFIED"}
	check := func(want error) {
		t.Helper()
		err := CheckMetadata(config.Config{Passkeys: settings})
		if !errors.Is(err, want) || err != nil && !strings.HasPrefix(err.Error(), "GATEHOUSE_PASSKEY_METADATA_") {
			t.Errorf("CheckMetadata: %v, want %v with the name of the setting", err, want)
		}
	}
	check(os.ErrNotExist)
	write(settings.MetadataRootFile, vendor.Root())
	check(os.ErrNotExist)
	write(settings.MetadataFile, []byte("x"))
	check(passkey.ErrMetadataInvalid)
	write(settings.MetadataFile, vendor.Metadata("2020-01-01", model))
	check(passkey.ErrMetadataExpired)
	m := &passkeyMetadata{settings: settings, now: time.Now, log: slog.New(slog.DiscardHandler)}
	models := func() int {
		current, err := m.get()
		storagetest.Must(t, err)
		return current.Models()
	}
	if n := models(); n != 1 {
		t.Errorf("the file has %d models, want 1", n)
	}
	write(settings.MetadataFile, vendor.Metadata("2099-01-01", model, passkeytest.Model{AAGUID: [16]byte{2}}))
	check(nil)
	if n := models(); n != 2 {
		t.Errorf("after a change of the file: %d models, want 2", n)
	}
	write(settings.MetadataFile, []byte("x"))
	if n := models(); n != 2 {
		t.Errorf("after a change to an invalid file: %d models, want those of the previous one", n)
	}
}
