package server

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/config"
	"gatehouse/storage/storagetest"
)

// TestLargeImagesOfBrandAreRefused covers decision 75. The pages with images of exactly these sizes are weighed by
// TestNoPageScrollsSideways.
func TestLargeImagesOfBrandAreRefused(t *testing.T) {
	t.Parallel()
	const png = "\x89PNG\r\n\x1a\n"
	name := filepath.Join(t.TempDir(), "image.png")
	storagetest.Must(t, os.WriteFile(name, []byte(png+strings.Repeat("x", 16<<10+1-len(png))), 0o600))
	for setting, brand := range map[string]config.Brand{
		"GATEHOUSE_BRAND_LOGO_FILE": {LogoFile: name}, "GATEHOUSE_BRAND_FAVICON_FILE": {FaviconFile: name},
	} {
		want := setting + ": " + name + " has more than 16 KiB"
		if err := CheckPages(config.Config{Brand: brand}, func(string) {}); err == nil ||
			!strings.HasPrefix(err.Error(), want) {
			t.Errorf("CheckPages with an image of 16 KiB and a byte: %v, want %s", err, want)
		}
	}
}
