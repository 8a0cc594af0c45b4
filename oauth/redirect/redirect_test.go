package redirect_test

import (
	"net/url"
	"strings"
	"testing"

	"gatehouse/loopback"
	"gatehouse/oauth/redirect"
)

func TestMatchIgnoresOnlyLoopbackPort(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		registered, requested string
		want                  bool
	}{
		{"https://a.example/cb", "https://a.example/cb", true},
		{"https://a.example/cb", "https://a.example/cb/", false},
		{"https://a.example/cb", "https://a.example:443/cb", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:1/cb", true},
		{"http://127.0.0.1/cb", "http://127.0.0.1:65535/cb", true},
		{"http://127.0.0.1:8080/cb", "http://127.0.0.1:9090/cb", true},
		{"http://127.0.0.1/cb?x=1", "http://127.0.0.1:9/cb?x=1", true},
		{"http://[::1]/cb", "http://[::1]:9/cb", true},
		{"http://127.0.0.1", "http://127.0.0.1:9", true},
		{"http://127.0.0.1/cb", "http://127.0.0.1:0/cb", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:065/cb", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:65536/cb", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:/cb", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:9/cb?", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:9@evil.example/cb", false},
		{"http://127.0.0.1/cb", "http://[::1]:9/cb", false},
		{"http://localhost:1/cb", "http://localhost:2/cb", false},
		{"https://127.0.0.1/cb", "https://127.0.0.1:9/cb", false},
		{"com.example.app:/cb", "com.example.app:/cb", true},
		{"com.example.app:/cb", "com.example.app:/CB", false},
	} {
		registered := []string{"https://other.example/", c.registered}
		if got := redirect.Match(registered, c.requested, false); got != c.want {
			t.Errorf("Match(%q, %q, false) = %t, want %t", c.registered, c.requested, got, c.want)
		}
	}
}

func TestMatchIgnoresThePortOfLocalhostOnlyIfAllowed(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		registered, requested string
		want                  bool
	}{
		{"http://localhost/cb", "http://localhost:3334/cb", true},
		{"http://localhost:3334/cb", "http://localhost:9/cb", true},
		{"http://localhost:3334/cb", "http://localhost/cb", true},
		{"http://127.0.0.1/cb", "http://127.0.0.1:9/cb", true},
		{"http://localhost/cb", "http://127.0.0.1:9/cb", false},
		{"http://127.0.0.1/cb", "http://localhost/cb", false},
		{"http://[::1]/cb", "http://localhost:1/cb", false},
		{"http://localhost/cb", "https://localhost:9/cb", false},
		{"http://localhost/cb", "http://localhost:9/other", false},
		{"http://localhost/cb", "http://localhost:9@evil.example/cb", false},
		{"http://localhost/cb", "http://localhost.evil.example/cb", false},
		{"http://localhost/cb", "http://localhost:0/cb", false},
		{"http://localhost/cb", "http://LOCALHOST:9/cb", false},
	} {
		if got := redirect.Match([]string{c.registered}, c.requested, true); got != c.want {
			t.Errorf("Match(%q, %q, true) = %t, want %t", c.registered, c.requested, got, c.want)
		}
	}
}

func TestValidateRefusesSchemesThatBrowsersAndSystemsOpenThemselves(t *testing.T) {
	t.Parallel()
	for _, uri := range []string{
		"javascript:alert(1)", "data:text/html,x", "blob:https://a.example/x", "file:///etc/passwd", "about:blank",
		"vbscript:x", "view-source:https://a.example/", "chrome://settings", "ws://a.example/", "wss://a.example/",
		"ftp://a.example/", "intent://x#Intent;end", "filesystem:https://a.example/x", "mailto:a@a.example",
		"ms-msdt:/id", "search-ms:query=x", "c:/windows", "x:/cb", "x-apple.systempreferences:x", "ms-access:x",
		"itmss://x", "feed:javascript:x", "chrome-native://x", "facetime:x",
	} {
		if err := redirect.Validate(uri); err == nil {
			t.Errorf("Validate(%q) = nil, want an error", uri)
		}
	}
	for _, uri := range []string{
		"cursor://anysphere.cursor-mcp/oauth/callback", "vscode://vscode.github-authentication/did-authenticate",
		"myapp:/cb", "com.example.app:/cb",
	} {
		if err := redirect.Validate(uri); err != nil {
			t.Errorf("Validate(%q) = %v, want nil", uri, err)
		}
	}
}

func TestAllowsImpersonationOnlyWithoutHTTPS(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]bool{
		"https://a.example:8443/cb?x": false, "http://127.0.0.1:9/cb": true, "com.example.app:/cb": true,
	} {
		if got := redirect.AllowsImpersonation(uri); got != want {
			t.Errorf("AllowsImpersonation(%q) = %t, want %t", uri, got, want)
		}
	}
}

func TestDestinationIsHostThatBrowsersOpen(t *testing.T) {
	t.Parallel()
	for uri, want := range map[string]redirect.Destination{
		"https://a.example/cb":                 {Host: "a.example"},
		"https://a.example:443/cb":             {Host: "a.example"},
		"https://a.example:8443/cb?x":          {Host: "a.example:8443"},
		"https://my_app.example/":              {Host: "my_app.example"},
		"http://127.0.0.1:9/cb":                {Host: "127.0.0.1:9", OnDevice: true},
		"http://[::1]:9/cb":                    {Host: "[::1]:9", OnDevice: true},
		"https://%D0%B0pple.com/cb":            {Host: "xn--pple-43d.com"}, // Cyrillic a
		"https://\u0430pple.com/cb":            {Host: "xn--pple-43d.com"},
		"https://xn--pple-43d.com/cb":          {Host: "xn--pple-43d.com"},
		"https://BANK.example/":                {Host: "bank.example"},
		"https://stra%C3%9Fe.example/":         {Host: "xn--strae-oqa.example"},
		"https://bank%E3%80%82example/":        {Host: "bank.example"}, // ideographic full stop
		"https://127%E3%80%820%E3%80%820.1/":   {Host: "127.0.0.1", OnDevice: true},
		"https://%EF%BC%91%EF%BC%92.example/":  {Host: "12.example"}, // full-width digits
		"https://bank.example@evil.example/":   {Host: "evil.example"},
		"https://bank.example%40evil.example/": {},
		"https://bank.example%2fevil.example/": {},
		"https://bank.example\\@evil.example/": {},
		"https://bank.example\t.evil.example/": {},
		"https://bank.example./":               {},
		"https://bank..example/":               {},
		"https://0x7f.1/":                      {},
		"https://2130706433/":                  {},
		"https://127.1/":                       {},
		"https://0177.0.0.1/":                  {},
		"https://1.2.3.4.5/":                   {},
		"https://[::ffff:1.2.3.4]/":            {},
		"https://bank.example;evil/":           {},
		"https://bank.example,evil/":           {},
		"https://xn--a/":                       {},
		"https://%E2%80%AEelpmaxe.bank/":       {}, // right-to-left override
		"https:///evil.example/":               {},
		"https:evil.example":                   {},
		"":                                     {},
		"com.example.app:/cb":                  {Scheme: "com.example.app", OnDevice: true},
		"bank.example://bank.example/cb":       {Scheme: "bank.example", OnDevice: true},
	} {
		if got := redirect.DestinationOf(uri); got != want {
			t.Errorf("DestinationOf(%q) = %+v, want %+v", uri, got, want)
		}
		if want.Scheme != "" {
			continue
		}
		// A URI that may be registered is displayed as it is written.
		if err := redirect.Validate(uri); err == nil && !strings.HasPrefix(strings.SplitN(uri, "://", 2)[1], want.Host) {
			t.Errorf("Validate(%q) accepts a URI that is displayed as %q", uri, want.Host)
		}
		if err := redirect.CheckHost(uri); err == nil && want.Host == "" {
			t.Errorf("CheckHost(%q) = nil, want an error: the host is not displayed", uri)
		}
	}
}

// FuzzMatch checks with a URL parser that a matching URI has the same scheme, host name, path and query and no user,
// and that only the port of a loopback address differs.
func FuzzMatch(f *testing.F) {
	for _, s := range []string{
		"https://a.example/cb", "http://127.0.0.1:8/cb", "http://127.0.0.1:8@evil.example/cb", "http://[::1]:9/cb",
		"http://127.0.0.1:8\\@evil/cb", "http://127.0.0.1:08/cb",
	} {
		f.Add("http://127.0.0.1/cb", s)
		f.Add("https://a.example/cb", s)
	}
	f.Fuzz(func(t *testing.T, registered, requested string) {
		if redirect.Validate(registered) != nil || !redirect.Match([]string{registered}, requested, true) {
			return
		}
		a, err := url.Parse(registered)
		if err != nil {
			t.Fatal(err)
		}
		b, err := url.Parse(requested)
		if err != nil {
			t.Fatalf("Match(%q, %q) = true, but the requested URI is not a URL: %v", registered, requested, err)
		}
		if a.Scheme != b.Scheme || a.Hostname() != b.Hostname() || a.EscapedPath() != b.EscapedPath() ||
			a.RawQuery != b.RawQuery || a.Fragment != b.Fragment || b.User != nil {
			t.Errorf("Match(%q, %q) = true, want false", registered, requested)
		}
		if a.Port() != b.Port() && !loopback.IsHost(a.Hostname()) {
			t.Errorf("Match(%q, %q) = true, want false: the port differs and the host is not a loopback address",
				registered, requested)
		}
	})
}

// FuzzValidate checks that a valid URI uses https, a loopback address or a private-use scheme, and is displayed
// correctly.
func FuzzValidate(f *testing.F) {
	for _, s := range []string{
		"https://a.example/cb", "javascript:x", "http://localhost/cb", "com.example:/cb", "https://a@b/",
		"https://a.example/cb#", "https://[::1", "a.b:c", "https://a;b/", "https://%D0%B0pple.com/", "https://0x7f.1/",
		"https://a.example./",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		if redirect.Validate(uri) != nil {
			return
		}
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatalf("Validate(%q) = nil, want an error: it is not a URL", uri)
		}
		if u.User != nil || strings.ContainsAny(uri, "#*\\ \r\n\t") || u.Scheme == "javascript" || u.Scheme == "data" {
			t.Errorf("Validate(%q) = nil, want an error", uri)
		}
		if u.Scheme == "http" && !loopback.IsHost(u.Hostname()) {
			t.Errorf("Validate(%q) = nil, want an error: http on a host that is not loopback", uri)
		}
		switch d := redirect.DestinationOf(uri); {
		case u.Scheme != "http" && u.Scheme != "https":
			if d.Scheme != u.Scheme || d.Host != "" {
				t.Errorf("DestinationOf(%q) = %+v, want the scheme %s alone", uri, d, u.Scheme)
			}
		case !strings.HasPrefix(uri, u.Scheme+"://"+d.Host) || strings.ContainsFunc(d.Host, isUnexpectedInHost):
			t.Errorf("DestinationOf(%q) = %+v, want the host as the URI has it", uri, d)
		}
	})
}

func isUnexpectedInHost(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune("/@\\%?#;,'", r)
}
