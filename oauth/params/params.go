// Package params parses the parameters of a protocol request as strictly as RFC 6749 §3.1 and §3.2 require: no repeated
// or malformed parameters, an empty value counts as omitted, no credentials in a query string. The meaning of the
// parameters is left to the endpoints.
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

	"gatehouse/display"
	"gatehouse/oauth/granttype"
)

// FormType is the media type of every form.
const FormType = "application/x-www-form-urlencoded"

// MaxBodySize is the maximum size of a request body in bytes.
const MaxBodySize = 64 << 10

// Real clients send fewer than twenty parameters, and lists of a few values. Libraries parse such lists in quadratic
// time, so their values are counted before a library parses them.
const (
	MaxParameters = 100 // of one request, including repeated ones
	MaxValues     = 100 // of one list
)

// Error is returned for a request that cannot be parsed. The description is for the client's developer and quotes at
// most parameter names.
type Error struct {
	Status      int    // 400, 405, 413 or 415
	Code        string // of the OAuth error; empty: invalid_request
	Description string
}

// Error returns the description.
func (e *Error) Error() string { return e.Description }

// DescriptionOf returns the description of an *Error in err, or a general one if there is none.
func DescriptionOf(err error) string {
	if e := (*Error)(nil); errors.As(err, &e) {
		return e.Description
	}
	return "The request cannot be parsed."
}

func badRequest(description string) error {
	return &Error{Status: http.StatusBadRequest, Description: description}
}

// sensitive lists the parameters that must not be in a URL, which logs and histories store (RFC 6749 §2.3.1,
// RFC 9700 §4.3.2): those of the grant types, and those of several endpoints.
var sensitive = append(granttype.Credentials(),
	"client_secret", "client_assertion", "password", "token", "access_token", "subject_token", "device_code")

// Form parses the body of a POST. It ignores parameters of the query string, except that credentials there are an
// error.
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
			return nil, badRequest("The parameter " + name + " must be in the request body, not in the URL.")
		}
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != FormType {
		return nil, &Error{Status: http.StatusBadRequest, Description: "Send the parameters as " + FormType + "."}
	}
	if r.ContentLength > MaxBodySize {
		return nil, errTooLarge
	}
	body, err := readBody(r)
	if err != nil {
		return nil, badRequest("The request body could not be read.")
	}
	if len(body) > MaxBodySize {
		return nil, errTooLarge
	}
	return parse(string(body), limit, lists...)
}

var errTooLarge = &Error{
	Status:      http.StatusRequestEntityTooLarge,
	Description: "The request body is larger than 64 KiB.",
}

// readBody reads at most one byte more than MaxBodySize. It allocates exactly Content-Length bytes if that is known.
func readBody(r *http.Request) ([]byte, error) {
	if r.ContentLength < 0 {
		return io.ReadAll(io.LimitReader(r.Body, MaxBodySize+1))
	}
	body := make([]byte, r.ContentLength)
	_, err := io.ReadFull(r.Body, body)
	return body, err
}

// listParameters has the parameters with a space-separated list as value, and the error code if the list is too long.
var listParameters = []struct{ name, code string }{
	{"scope", "invalid_scope"}, {"audience", ""}, {"prompt", ""}, {"acr_values", ""}, {"ui_locales", ""},
	{"claims_locales", ""}, {"response_type", ""}, {"grant_type", ""},
}

// CheckListLengths returns an *Error if a list parameter has more than MaxValues values.
func CheckListLengths(values url.Values) error {
	for _, list := range listParameters {
		for _, v := range values[list.name] {
			if CountSeparators(v) >= MaxValues {
				return &Error{
					Status:      http.StatusBadRequest,
					Code:        list.code,
					Description: fmt.Sprintf("The parameter %s has more than %d values.", list.name, MaxValues),
				}
			}
		}
	}
	if len(values["resource"]) > MaxValues {
		return &Error{
			Status:      http.StatusBadRequest,
			Code:        "invalid_target",
			Description: fmt.Sprintf("The parameter resource has more than %d values.", MaxValues),
		}
	}
	return nil
}

// CountSeparators returns the number of characters in s that some parsers treat as a separator.
func CountSeparators(s string) (n int) {
	for _, r := range s {
		if unicode.IsSpace(r) {
			n++
		}
	}
	return n
}

// CheckParameterCount returns an *Error if an encoded query or form has more parameters than limit.
func CheckParameterCount[T string | []byte](raw T, limit int) error {
	n := 1
	for i := range len(raw) {
		if raw[i] == '&' {
			n++
		}
	}
	if n > limit {
		return badRequest(fmt.Sprintf("The request has more than %d parameters.", limit))
	}
	return nil
}

// Query parses the parameters of a GET.
func Query(r *http.Request) (url.Values, error) {
	if len(r.URL.RawQuery) > MaxBodySize {
		return nil, badRequest("The query string is larger than 64 KiB.")
	}
	return parse(r.URL.RawQuery, MaxParameters)
}

// parse decodes and validates parameters. Only resource (RFC 8707 §2) and those in lists may be repeated.
func parse(raw string, limit int, lists ...string) (url.Values, error) {
	if err := CheckParameterCount(raw, limit); err != nil {
		return nil, err
	}
	values, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("The parameters are not valid application/x-www-form-urlencoded.")
	}
	for name, list := range values {
		if len(list) > 1 && name != "resource" && !slices.Contains(lists, name) {
			return nil, badRequest("The parameter " + Sanitize(name) + " is repeated.")
		}
		nonEmpty := list[:0]
		for _, v := range list {
			if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
				return nil, badRequest("The parameter " + Sanitize(name) + " is not valid UTF-8.")
			}
			if v != "" {
				nonEmpty = append(nonEmpty, v)
			}
		}
		if len(nonEmpty) == 0 {
			delete(values, name)
			continue
		}
		values[name] = nonEmpty
	}
	return values, nil
}

// Sanitize returns the first 60 characters of s, with characters that an error_description cannot contain
// (RFC 6749 §5.2) replaced by "?".
func Sanitize(s string) string {
	out := make([]byte, 0, 64)
	for _, r := range s {
		if len(out) == 60 {
			break
		}
		if r != ' ' && !display.IsVisibleASCIIRune(r) || r == '"' || r == '\\' {
			r = '?'
		}
		out = append(out, string(r)...)
	}
	return string(out)
}
