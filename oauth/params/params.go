// Package params reads the parameters of a protocol request as strictly as RFC 6749 §3.1 and §3.2 ask: nothing twice,
// nothing malformed, an empty value is no value, credentials never in a query string. What the parameters mean is left
// to the endpoints.
package params

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// FormType is the media type of every form.
const FormType = "application/x-www-form-urlencoded"

// MaxBodySize is the largest request body in bytes.
const MaxBodySize = 64 << 10

// Real clients send fewer than twenty parameters, and lists of a few values. Libraries parse such lists in quadratic
// time, so their values are counted before a library parses them.
const (
	MaxParameters = 100 // of one request, including repeated ones
	MaxValues     = 100 // of one list
)

// Error is a request that cannot be read. Its text is for the developer and quotes parameter names at most.
type Error struct {
	Status      int    // 400, 405, 413 or 415
	Code        string // of the OAuth error; empty: invalid_request
	Description string
}

func (e *Error) Error() string { return e.Description }

// Text is the text of an *Error in err, or a plain word where there is none.
func Description(err error) string {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Description
	}
	return "The request cannot be read."
}

func bad(text string) error { return &Error{Status: http.StatusBadRequest, Description: text} }

// sensitive parameters must not be in a URL, where logs and histories keep them (RFC 6749 §2.3.1, RFC 9700 §4.3.2).
var sensitive = []string{"client_secret", "client_assertion", "password", "code", "code_verifier", "refresh_token", "token", "access_token", "subject_token", "device_code"}

// Form reads the body of a POST. Parameters of the query string are ignored, and refused when they are credentials.
func Form(r *http.Request) (url.Values, error) { return FormWithLists(r, MaxParameters) }

// FormWithLists reads a form like Form, but with up to limit parameters, of which those in lists may be repeated.
func FormWithLists(r *http.Request, limit int, lists ...string) (url.Values, error) {
	if r.Method != http.MethodPost {
		return nil, &Error{Status: http.StatusMethodNotAllowed, Description: "Send this request by POST."}
	}
	query, err := parse(r.URL.RawQuery, MaxParameters)
	if err != nil {
		return nil, err
	}
	for _, name := range sensitive {
		if query.Has(name) {
			return nil, bad("The parameter " + name + " must be in the request body, never in the URL.")
		}
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != FormType {
		return nil, &Error{Status: http.StatusBadRequest, Description: "Send the parameters as " + FormType + "."}
	}
	if r.ContentLength > MaxBodySize {
		return nil, tooLarge
	}
	body, err := read(r)
	if err != nil {
		return nil, bad("The request body could not be read.")
	}
	if len(body) > MaxBodySize {
		return nil, tooLarge
	}
	return parse(string(body), limit, lists...)
}

var tooLarge = &Error{Status: http.StatusRequestEntityTooLarge, Description: "The request body is larger than 64 KiB."}

// read reads the body, no more than is needed to see that it is too large, into just the room it needs where that is told.
func read(r *http.Request) ([]byte, error) {
	if r.ContentLength < 0 {
		return io.ReadAll(io.LimitReader(r.Body, MaxBodySize+1))
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, body)
	return body, err
}

// lists are the parameters with a space-separated list as value, and the error code when it is too long.
var lists = []struct{ name, code string }{
	{"scope", "invalid_scope"}, {"audience", ""}, {"prompt", ""}, {"acr_values", ""}, {"ui_locales", ""}, {"claims_locales", ""},
	{"response_type", ""}, {"grant_type", ""},
}

// CheckListLengths returns an *Error when a list parameter has more than MaxValues values.
func CheckListLengths(values url.Values) error {
	for _, list := range lists {
		for _, v := range values[list.name] {
			if CountSeparators(v) >= MaxValues {
				return &Error{Status: http.StatusBadRequest, Code: list.code, Description: fmt.Sprintf("The parameter %s has more than %d values.", list.name, MaxValues)}
			}
		}
	}
	if len(values["resource"]) > MaxValues {
		return &Error{Status: http.StatusBadRequest, Code: "invalid_target", Description: fmt.Sprintf("The parameter resource has more than %d values.", MaxValues)}
	}
	return nil
}

// CountSeparators returns the number of characters in s that some parser treats as a separator.
func CountSeparators(s string) (n int) {
	for _, r := range s {
		if unicode.IsSpace(r) {
			n++
		}
	}
	return n
}

// CheckParameterCount returns an *Error when an encoded query or form has more parameters than max.
func CheckParameterCount[T string | []byte](raw T, max int) error {
	n := 1
	for i := range len(raw) {
		if raw[i] == '&' {
			n++
		}
	}
	if n > max {
		return bad(fmt.Sprintf("The request has more than %d parameters.", max))
	}
	return nil
}

// Query reads the parameters of a GET.
func Query(r *http.Request) (url.Values, error) {
	if len(r.URL.RawQuery) > MaxBodySize {
		return nil, bad("The query string is larger than 64 KiB.")
	}
	return parse(r.URL.RawQuery, MaxParameters)
}

// parse decodes and checks parameters. Only resource (RFC 8707 §2) and those in lists may be repeated.
func parse(raw string, limit int, lists ...string) (url.Values, error) {
	if err := CheckParameterCount(raw, limit); err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, bad("The parameters are not valid application/x-www-form-urlencoded.")
	}
	for name, list := range values {
		if len(list) > 1 && name != "resource" && !slices.Contains(lists, name) {
			return nil, bad("The parameter " + Sanitize(name) + " is given more than once.")
		}
		kept := list[:0]
		for _, v := range list {
			if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
				return nil, bad("The parameter " + Sanitize(name) + " is not valid UTF-8 text.")
			}
			if v != "" {
				kept = append(kept, v)
			}
		}
		if len(kept) == 0 {
			delete(values, name)
			continue
		}
		values[name] = kept
	}
	return values, nil
}

// Sanitize returns s cut to 60 characters, with what an error_description may not hold (RFC 6749 §5.2) replaced by "?".
func Sanitize(s string) string {
	out := make([]byte, 0, 64)
	for _, r := range s {
		if len(out) == 60 {
			break
		}
		if r < 0x20 || r > 0x7e || r == '"' || r == '\\' {
			r = '?'
		}
		out = append(out, string(r)...)
	}
	return string(out)
}
