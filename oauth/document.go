package oauth

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// document is a public JSON document, built once and served many times.
type document struct {
	body         []byte
	etag         string
	cacheControl string
}

func documentOf(body []byte, maxAge time.Duration) document {
	sum := sha256.Sum256(body)
	return document{
		body: body, etag: `"` + hex.EncodeToString(sum[:12]) + `"`,
		cacheControl: "public, max-age=" + strconv.Itoa(int(maxAge.Seconds())),
	}
}

func (d document) serve(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", d.cacheControl)
	h.Set("ETag", d.etag)
	if strings.Contains(r.Header.Get("If-None-Match"), d.etag) {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	h.Set("Content-Length", strconv.Itoa(len(d.body)))
	_, _ = w.Write(d.body) // a client that went away
}
