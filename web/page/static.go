package page

import (
	"net/http"
	"strconv"

	"gatehouse/templates"
)

// staticFile is a file that pages include. Its name changes with its content, so that caches can store it indefinitely.
type staticFile struct {
	name, contentType string
	content           []byte
}

func readStatic(name, extension, contentType string) (staticFile, error) {
	content, err := templates.FS.ReadFile(name + extension)
	return staticFile{name: hashedName(name, content, extension), contentType: contentType, content: content}, err
}

// Script returns the file name of the script that submits a form_post page.
func (p *Renderer) Script() string { return p.script.name }

// ServeStatic serves GET /static/{file}: the stylesheet and the script.
func (p *Renderer) ServeStatic(w http.ResponseWriter, r *http.Request) error {
	var file staticFile
	switch r.PathValue("file") {
	case p.stylesheet.name:
		file = p.stylesheet
	case p.script.name:
		file = p.script
	default:
		return p.NotFound()
	}
	h := w.Header()
	h.Set("Content-Type", file.contentType)
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("Content-Length", strconv.Itoa(len(file.content)))
	_, _ = w.Write(file.content) // fails when the browser has disconnected
	return nil
}
