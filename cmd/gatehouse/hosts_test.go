package main

import (
	"strconv"
	"testing"

	"github.com/chromedp/chromedp"

	"gatehouse/oauth/redirect"
)

// shownURIs are URIs whose hosts URL parsers interpret differently.
var shownURIs = []string{
	"https://a.example/cb", "https://a.example:443/", "https://a.example:8443/", "http://127.0.0.1:80/",
	"http://[::1]:9/", "https://[2001:DB8:0:0:0:0:0:1]/", "https://my_app.example/", "https://%D0%B0pple.com/",
	"https://аpple.com/", "https://xn--pple-43d.com/", "https://BANK.example/", "https://straße.example/",
	"https://stra%C3%9Fe.example/", "https://bank%E3%80%82example/", "https://bank｡example/", "https://127。0。0。1/",
	"https://１２７.0.0.1/", "https://ﬃ.example/", "https://bank.example@evil.example/",
	"https://bank.example%40evil.example/", "https://bank.example%2fevil.example/", `https://bank.example\@evil.example/`,
	`https://bank.example\.evil.example/`, "https://bank.example./", "https://bank..example/", "https://0x7f.1/",
	"https://2130706433/", "https://127.1/", "https://0177.0.0.1/", "https://0x/", "https://1.2.3.4.5/", "https://a.1/",
	"https://a.0x1f/", "https://[::ffff:1.2.3.4]/", "https://bank.example;evil/", "https://xn--a/",
	"https://a--b.example/", "https://-a-.example/", "https://ab--cd.example/", "https://\u202eelpmaxe.bank/",
	"https://bank\u200b.example/", "https://bank\u00ad.example/", "https://क्\u200dष.example/",
	"https://faß.xn--fa-hia.example/", "https://אבג.example/", "https://אa.example/", "https:///evil.example/",
	"https:evil.example", "https://bank.example\t.evil.example/",
}

// TestShownHostIsHostThatChromiumOpens compares the host that pages show with the host that the URL parser of
// Chromium returns.
func TestShownHostIsHostThatChromiumOpens(t *testing.T) {
	b := openBrowser(t)
	b.do("open an empty page", chromedp.Navigate("about:blank"))
	shown := 0
	for _, uri := range shownURIs {
		host := redirect.DestinationOf(uri).Host
		script := `(() => { try { return new URL(` + strconv.QuoteToASCII(uri) + `).host } catch { return "" } })()`
		if opened := evaluate[string](b, script); host != "" && host != opened {
			t.Errorf("%q is shown as %q, want %q, which Chromium opens", uri, host, opened)
		}
		if redirect.Validate(uri) == nil && host == "" {
			t.Errorf("%q can be registered, but no host is shown", uri)
		}
		if host != "" {
			shown++
		}
	}
	if shown < 20 {
		t.Errorf("%d hosts are shown, want at least 20", shown)
	}
}
