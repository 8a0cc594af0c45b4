package protocol

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// WriteJSON writes a response that no cache may store (RFC 6749 §5.1).
func WriteJSON(w http.ResponseWriter, status int, body any) {
	b, err := json.Marshal(body)
	if err != nil { // structs of strings and numbers always marshal
		status, b = http.StatusInternalServerError, []byte(`{"error":"server_error"}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("Pragma", "no-cache")
	w.WriteHeader(status)
	_, _ = w.Write(b) // fails when the client has disconnected
}

// Document is a public JSON document, marshalled once and served many times. The zero value is empty.
type Document struct {
	body         []byte
	etag         string
	cacheControl string
}

// NewDocument returns the JSON of body, which caches may store for maxAge. It panics when body cannot be marshalled.
func NewDocument(body any, maxAge time.Duration) Document {
	b, err := json.Marshal(body)
	if err != nil {
		panic("marshal a document: " + err.Error())
	}
	sum := sha256.Sum256(b)
	return Document{
		body: b, etag: `"` + hex.EncodeToString(sum[:12]) + `"`,
		cacheControl: "public, max-age=" + strconv.Itoa(int(maxAge.Seconds())),
	}
}

// IsEmpty reports whether there is nothing to serve.
func (d Document) IsEmpty() bool { return d.body == nil }

// ServeHTTP writes the document, or status 304 when the client has it.
func (d Document) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", d.cacheControl)
	h.Set("ETag", d.etag)
	if strings.Contains(r.Header.Get("If-None-Match"), d.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(d.body)))
	_, _ = w.Write(d.body) // fails when the client has disconnected
}
