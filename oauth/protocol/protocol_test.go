package protocol_test

import (
	"errors"
	"maps"
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
	tooLarge := protocol.NewError(protocol.InvalidRequest, "x").WithStatus(413)
	challenge := func(value string) http.Header { return http.Header{"Www-Authenticate": {value}} }
	for name, c := range map[string]struct {
		err               *protocol.Error
		status            int
		header            http.Header
		code, description string
	}{
		"default":           {protocol.NewError(protocol.InvalidGrant, "x"), 400, nil, "invalid_grant", "x"},
		"overridden status": {tooLarge, 413, nil, "invalid_request", "x"},
		"basic":             {basic, 401, challenge(`Basic realm="gatehouse", charset="UTF-8"`), "invalid_client", "x"},
		"no challenge":      {protocol.NewError(protocol.InvalidClient, "x"), 401, nil, "invalid_client", "x"},
		"bearer": {
			protocol.BearerError(protocol.InvalidToken, "x"), 401,
			challenge(`Bearer realm="gatehouse", error="invalid_token", error_description="x"`), "invalid_token", "x",
		},
		"no token": {
			protocol.MissingTokenError("x"), 401, challenge(`Bearer realm="gatehouse"`), "invalid_token", "x",
		},
		"scope": {
			protocol.InsufficientScopeError("a"), 403,
			challenge(`Bearer realm="gatehouse", error="insufficient_scope", ` +
				`error_description="The access token does not have the scope a.", scope="a"`),
			"insufficient_scope", "The access token does not have the scope a.",
		},
		"method": {
			protocol.MethodNotAllowedError("GET, PUT", "x"), 405, http.Header{"Allow": {"GET, PUT"}}, "invalid_request", "x",
		},
		"unavailable": {
			protocol.UnavailableError(errors.New("secret")), 503, http.Header{"Retry-After": {"1"}},
			"temporarily_unavailable", "The server is temporarily unavailable. Retry shortly.",
		},
		"internal": {protocol.InternalError(errors.New("secret")), 500, nil, "server_error", "Internal server error."},
	} {
		w := httptest.NewRecorder()
		protocol.WriteError(w, c.err)
		want := http.Header{"Content-Type": {"application/json"}, "Cache-Control": {"no-store"}, "Pragma": {"no-cache"}}
		maps.Copy(want, c.header)
		body := `{"error":"` + c.code + `","error_description":"` + c.description + `"}`
		if w.Code != c.status || w.Body.String() != body {
			t.Errorf("%s: %d %s, want %d %s", name, w.Code, w.Body, c.status, body)
		}
		if diff := cmp.Diff(want, w.Header()); diff != "" {
			t.Errorf("%s: headers (-want +got):\n%s", name, diff)
		}
	}
}

func TestDocumentWithMatchingETagIsNotModified(t *testing.T) {
	t.Parallel()
	if !(protocol.Document{}).IsEmpty() {
		t.Error("the zero document is not empty")
	}
	d := protocol.NewDocument(map[string]string{"a": "b"}, time.Minute)
	first := httptest.NewRecorder()
	d.ServeHTTP(first, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil))
	if got := first.Body.String(); got != `{"a":"b"}` {
		t.Errorf("body = %s, want %s", got, `{"a":"b"}`)
	}
	if got := first.Header().Get("Cache-Control"); got != "public, max-age=60" {
		t.Errorf("Cache-Control = %q, want public, max-age=60", got)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set("If-None-Match", first.Header().Get("ETag"))
	again := httptest.NewRecorder()
	d.ServeHTTP(again, r)
	if again.Code != http.StatusNotModified || again.Body.Len() != 0 {
		t.Errorf("request with the ETag: %d %s, want 304 and no body", again.Code, again.Body)
	}
}
