package main

import (
	"image"
	"image/png"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

// The sizes of the largest images that are accepted (decision 75).
const (
	largestLogo    = 16 << 10 // of the brand
	largestFavicon = 16 << 10
	largestAppLogo = 24 << 10
)

// picture returns a PNG file of a size: browsers ignore what follows its end.
func picture(t testing.TB, size int) string {
	t.Helper()
	var b strings.Builder
	storagetest.Must(t, png.Encode(&b, image.NewGray(image.Rect(0, 0, 1, 1))))
	return b.String() + strings.Repeat("x", size-b.Len())
}

// brandImages returns the settings of a logo and a favicon of the largest sizes.
func brandImages(t testing.TB) map[string]string {
	t.Helper()
	settings := map[string]string{}
	for setting, size := range map[string]int{
		"GATEHOUSE_BRAND_LOGO_FILE": largestLogo, "GATEHOUSE_BRAND_FAVICON_FILE": largestFavicon,
	} {
		settings[setting] = filepath.Join(t.TempDir(), "image.png")
		storagetest.Must(t, os.WriteFile(settings[setting], []byte(picture(t, size)), 0o600))
	}
	return settings
}

// appLogo returns the URL of a logo of the largest size, or "" when the names are ordinary.
func (s *layoutServer) appLogo() string {
	s.T.Helper()
	if !s.wide {
		return ""
	}
	host := servertest.NewHost(s.T)
	host.Serve("/logo.png", "image/png", picture(s.T, largestAppLogo))
	return host.URL + "/logo.png"
}

// checkWeight checks that every page has less than 100 KB with its style sheet, script and images (decision 75).
func (s *layoutServer) checkWeight(pages []layoutPage) {
	s.T.Helper()
	sizes, images := map[string]int{}, 0
	for _, p := range pages {
		doc, err := html.Parse(strings.NewReader(p.body))
		storagetest.Must(s.T, err)
		weight, loaded := len(p.body), map[string]bool{}
		for n := range doc.Descendants() {
			path := attribute(n, "src")
			if n.Data == "link" {
				path = attribute(n, "href")
			}
			if loaded[path] || !strings.HasPrefix(path, "/") { // the script of a captcha is on another host
				continue
			}
			loaded[path] = true
			if attribute(n, "class") == "tile" && attribute(n, "loading") != "lazy" {
				s.T.Errorf("the page %s loads logos of a list that are not in view", p.name)
			}
			if sizes[path] == 0 {
				sizes[path] = len(s.Get(path).OK(s.T).Body)
			}
			weight += sizes[path]
			if sizes[path] == largestAppLogo {
				images++
			}
		}
		if weight >= 100_000 || len(loaded) < 4 {
			s.T.Errorf("the page %s in %s has %d bytes with %d files", p.name, p.language, weight, len(loaded))
		}
	}
	if images == 0 {
		s.T.Error("no page has the logo of an app")
	}
}
