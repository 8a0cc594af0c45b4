package page

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io/fs"
	"net/http"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/message"
)

// Brand is what an operator changes about the look of all pages. Zero values are the look of the product.
type Brand struct {
	Name                               string
	Logo, Favicon                      []byte // PNG, JPEG, GIF, WebP, SVG or, of a favicon, ICO
	Accent                             string // #rrggbb
	SupportURL, ImprintURL, PrivacyURL string
}

// site is what all pages of a server have in common.
type site struct {
	Base, Host                         string
	Name                               string // of the brand
	Logo                               string // file name, "" for the mark of the product
	Stylesheet, Script, Favicon        string // file names
	SupportURL, ImprintURL, PrivacyURL string
	Languages                          []*message.Language
}

// BrandName returns the name of the service.
func (p *Renderer) BrandName() string { return p.site.Name }

func (p *Renderer) newSite() (*site, error) {
	b, issuer := p.options.Brand, p.options.Issuer
	s := &site{
		Base: issuer.Path, Host: issuer.Host, Name: b.Name, Languages: p.catalogue.Languages(),
		SupportURL: b.SupportURL, ImprintURL: b.ImprintURL, PrivacyURL: b.PrivacyURL,
	}
	if s.Name == "" {
		s.Name = p.catalogue.Match().Text("product")
	}
	style, err := fs.ReadFile(p.options.Files, "style.css")
	if err != nil {
		return nil, err
	}
	accent := ""
	if b.Accent != "" {
		if accent, err = accentStyle(b.Accent); err != nil {
			return nil, err
		}
	}
	s.Stylesheet = p.addFile("style", ".css", "text/css; charset=utf-8", append(style, accent...))
	script, err := fs.ReadFile(p.options.Files, "page.js")
	if err != nil {
		return nil, err
	}
	s.Script = p.addFile("page", ".js", "text/javascript; charset=utf-8", script)
	if b.Logo != nil {
		if s.Logo, err = p.addImage("logo", b.Logo); err != nil {
			return nil, err
		}
	}
	switch {
	case b.Favicon != nil:
		s.Favicon, err = p.addImage("favicon", b.Favicon)
	case s.Logo != "":
		s.Favicon = s.Logo // browsers load it once
	default:
		s.Favicon, err = p.addImage("favicon", []byte(defaultFavicon))
	}
	return s, err
}

// defaultFavicon is the mark of the product.
const defaultFavicon = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">` +
	`<rect width="32" height="32" rx="8" fill="#14634a"/>` +
	`<path d="M8 24V13a8 8 0 0 1 16 0v11M8 24h16M13 24v-7a3 3 0 0 1 6 0v7" fill="none" stroke="#fff" ` +
	`stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round"/></svg>`

// imageExtensions are the file name extensions of images by their content type.
var imageExtensions = map[string]string{
	"image/png": ".png", "image/jpeg": ".jpg", "image/gif": ".gif", "image/webp": ".webp", "image/x-icon": ".ico",
	"image/svg+xml": ".svg",
}

// addImage adds an image of the brand, whose type is read from its content.
func (p *Renderer) addImage(name string, content []byte) (string, error) {
	contentType, err := ImageType(content)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	return p.addFile(name, imageExtensions[contentType], contentType, content), nil
}

// ImageType returns the content type of an image of a brand. It returns an error when it is not an image that browsers
// show.
func ImageType(content []byte) (string, error) {
	contentType := http.DetectContentType(content)
	start := bytes.TrimSpace(content[:min(len(content), 4096)])
	if bytes.HasPrefix(start, []byte("<")) && bytes.Contains(start, []byte("<svg")) {
		contentType = "image/svg+xml"
	}
	if imageExtensions[contentType] == "" {
		return "", fmt.Errorf("the file is not a PNG, JPEG, GIF, WebP, SVG or ICO image")
	}
	return contentType, nil
}

// tileColors is the number of colors of tiles in style.css.
const tileColors = 6

// tileColor returns the color of the tile of a name, always the same.
func tileColor(name string) int {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name))
	return int(h.Sum32() % tileColors)
}

// monogram returns the first letters of the first and last word of a name, for a tile.
func monogram(name string) string {
	var letters []rune
	for _, word := range strings.Fields(name) {
		r, _ := utf8.DecodeRuneInString(strings.TrimLeftFunc(word, func(r rune) bool {
			return !unicode.IsLetter(r) && !unicode.IsDigit(r)
		}))
		if r != utf8.RuneError {
			letters = append(letters, unicode.ToUpper(r))
		}
	}
	switch n := len(letters); {
	case n == 0:
		return "?"
	case n > 2:
		return string([]rune{letters[0], letters[n-1]})
	}
	return string(letters)
}
