package reqevent_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"gatehouse/storage/reqevent"
)

func TestFromContextReturnsEventOfContext(t *testing.T) {
	t.Parallel()
	e := &reqevent.Event{RequestID: "the-id"}
	ctx := reqevent.NewContext(t.Context(), e)
	reqevent.FromContext(ctx).Actor = "user:alice"
	if got := reqevent.FromContext(ctx); got != e || e.Actor != "user:alice" {
		t.Errorf("FromContext = %+v, want the event of NewContext", got)
	}
}

func TestFromContextWithoutEventReturnsSystemEvent(t *testing.T) {
	t.Parallel()
	reqevent.FromContext(t.Context()).Actor = "user:alice"
	if got := reqevent.FromContext(t.Context()).Actor; got != "system" {
		t.Errorf("actor without an event: got %q, want system", got)
	}
}

func TestNewContextCleansHeaderText(t *testing.T) {
	t.Parallel()
	e := &reqevent.Event{UserAgent: "a\x00b\xff" + strings.Repeat("ü", 200), Address: "\x00"}
	reqevent.NewContext(t.Context(), e)
	isValid := len(e.UserAgent) <= 256 && utf8.ValidString(e.UserAgent)
	if !strings.HasPrefix(e.UserAgent, "a?b?ü") || !isValid || e.Address != "?" {
		t.Errorf("user agent %q, address %q, want valid UTF-8 of at most 256 bytes without NUL", e.UserAgent, e.Address)
	}
}

func TestNetworkIsAddressOrPrefix(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.1": "192.0.2.1", "2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"not an address": "not an address", "": "",
	} {
		if got := (&reqevent.Event{Address: address}).Network(); got != want {
			t.Errorf("Network of %q = %q, want %q", address, got, want)
		}
	}
}
