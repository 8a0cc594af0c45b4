package page

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
)

// staticFile is a file that pages include.
type staticFile struct {
	contentType string
	content     []byte
}

// addFile adds a file that pages include and returns its name, which changes with the content, so that caches can store
// it indefinitely.
func (p *Renderer) addFile(name, extension, contentType string, content []byte) string {
	sum := sha256.Sum256(content)
	hashed := name + "." + hex.EncodeToString(sum[:6]) + extension
	p.files[hashed] = staticFile{contentType: contentType, content: content}
	return hashed
}

// ServeStatic serves GET /static/{file}: the stylesheet, the script and the images of the brand.
func (p *Renderer) ServeStatic(w http.ResponseWriter, r *http.Request) error {
	file, ok := p.files[r.PathValue("file")]
	if !ok {
		return p.NotFound()
	}
	h := w.Header()
	h.Set("Content-Type", file.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Length", strconv.Itoa(len(file.content)))
	// An SVG is a document, when it is opened on its own.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; sandbox")
	_, _ = w.Write(file.content) // fails when the browser has disconnected
	return nil
}
