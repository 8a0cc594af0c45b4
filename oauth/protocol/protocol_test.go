package protocol_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/oauth/protocol"
)

func TestWriteErrorSetsStatusAndHeaders(t *testing.T) {
	t.Parallel()
	basic := protocol.NewError(protocol.InvalidClient, "x").WithChallenge(protocol.Basic)
	for name, c := range map[string]struct {
		err    *protocol.Error
		status int
		header map[string]string
		body   string
	}{
		"default":           {protocol.NewError(protocol.InvalidGrant, "x"), 400, nil, `{"error":"invalid_grant","error_description":"x"}`},
		"overridden status": {protocol.NewError(protocol.InvalidRequest, "x").WithStatus(413), 413, nil, `{"error":"invalid_request","error_description":"x"}`},
		"basic":             {basic, 401, map[string]string{"WWW-Authenticate": `Basic realm="gatehouse", charset="UTF-8"`}, `{"error":"invalid_client","error_description":"x"}`},
		"no challenge":      {protocol.NewError(protocol.InvalidClient, "x"), 401, nil, `{"error":"invalid_client","error_description":"x"}`},
		"bearer": {
			protocol.BearerError(protocol.InvalidToken, "x"), 401,
			map[string]string{"WWW-Authenticate": `Bearer realm="gatehouse", error="invalid_token", error_description="x"`}, `{"error":"invalid_token","error_description":"x"}`,
		},
		"no token": {
			protocol.MissingTokenError("x"), 401, map[string]string{"WWW-Authenticate": `Bearer realm="gatehouse"`}, `{"error":"invalid_token","error_description":"x"}`,
		},
		"scope": {
			protocol.InsufficientScopeError("a"), 403,
			map[string]string{"WWW-Authenticate": `Bearer realm="gatehouse", error="insufficient_scope", error_description="The access token does not have the scope a.", scope="a"`},
			`{"error":"insufficient_scope","error_description":"The access token does not have the scope a."}`,
		},
		"method":   {protocol.MethodNotAllowed("GET, PUT", "x"), 405, map[string]string{"Allow": "GET, PUT"}, `{"error":"invalid_request","error_description":"x"}`},
		"fault":    {protocol.Unavailable(errors.New("secret")), 503, map[string]string{"Retry-After": "1"}, `{"error":"temporarily_unavailable","error_description":"The server is temporarily unavailable. Retry shortly."}`},
		"internal": {protocol.Internal(errors.New("secret")), 500, nil, `{"error":"server_error","error_description":"Internal server error."}`},
	} {
		w := httptest.NewRecorder()
		protocol.WriteError(w, c.err)
		want := http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "Pragma": {"no-cache"}}
		for key, value := range c.header {
			want.Set(key, value)
		}
		if w.Code != c.status || w.Body.String() != c.body {
			t.Errorf("%s: %d %s, want %d %s", name, w.Code, w.Body, c.status, c.body)
		}
		if diff := cmp.Diff(want, w.Header()); diff != "" {
			t.Errorf("%s: headers (-want +got):\n%s", name, diff)
		}
	}
}

func TestDocumentIsNotSentAgain(t *testing.T) {
	t.Parallel()
	if !(protocol.Document{}).IsEmpty() {
		t.Error("the zero document is not empty")
	}
	d := protocol.NewDocument(map[string]string{"a": "b"}, time.Minute)
	first := httptest.NewRecorder()
	d.ServeHTTP(first, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if first.Body.String() != `{"a":"b"}` || first.Header().Get("Cache-Control") != "public, max-age=60" {
		t.Errorf("got %s with %v", first.Body, first.Header())
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set("If-None-Match", first.Header().Get("ETag"))
	again := httptest.NewRecorder()
	d.ServeHTTP(again, r)
	if again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("with its ETag: %d %s, want 304 and no body", again.Code, again.Body)
	}
}
