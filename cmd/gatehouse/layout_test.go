package main

import (
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"gatehouse/storage/storagetest"
	"gatehouse/templates"
	"gatehouse/web/page"
)

// layoutPass opens every page in one language at one width.
type layoutPass struct {
	language, scheme string
	width            int64
	scripts          bool // of pages are run
	axe              bool // checks the page, and its colors in the other scheme too
}

// layoutPasses open every page three times. 640 pixels are a window of 1280 pixels at a zoom of 200 % (WCAG 2.2,
// 1.4.4). The color scheme changes only the contrast.
var layoutPasses = []layoutPass{
	{language: "de", scheme: "light", width: 320},
	{language: "en", scheme: "dark", width: 375, scripts: true, axe: true},
	{language: "he", scheme: "light", width: 640, scripts: true},
}

// TestNoPageScrollsSideways opens every page and its states with the longest names that are accepted: in English,
// German and a language that is written from right to left, on phones and zoomed, with and without scripts. A new
// template fails the test until a walk opens it.
func TestNoPageScrollsSideways(t *testing.T) {
	requireEnv(t, "CHROME")
	t.Parallel()
	s, b := startLayoutServer(t, true), openBrowser(t)
	pages := map[string][]layoutPage{}
	for _, language := range []string{"en", "de", "he"} {
		pages[language] = layoutPages(s, language)
	}
	checkTemplatesHavePages(t, pages["en"])
	s.checkWeight(slices.Concat(pages["en"], pages["de"], pages["he"]))
	for _, pass := range layoutPasses {
		b.checkPages("wide", s, pages[pass.language], pass)
	}
	if os.Getenv("SCREENSHOTS") == "" {
		return
	}
	ordinary := startLayoutServer(t, false)
	for _, pass := range []layoutPass{
		{language: "en", scheme: "light", width: 1280, scripts: true}, {language: "de", scheme: "dark", width: 1280},
		{language: "de", scheme: "light", width: 375, scripts: true}, {language: "he", scheme: "dark", width: 375},
	} {
		if pages["ordinary"+pass.language] == nil {
			pages["ordinary"+pass.language] = layoutPages(ordinary, pass.language)
		}
		b.checkPages("ordinary", ordinary, pages["ordinary"+pass.language], pass)
	}
}

// checkTemplatesHavePages checks that a walk opened every template.
func checkTemplatesHavePages(t *testing.T, pages []layoutPage) {
	t.Helper()
	names, err := fs.Glob(templates.FS, "*.html")
	storagetest.Must(t, err)
	for _, name := range names {
		template := strings.TrimSuffix(name, ".html")
		isPage := !strings.HasSuffix(template, "layout") && template != "mail"
		if isPage && !slices.ContainsFunc(pages, func(p layoutPage) bool {
			opened, _, _ := strings.Cut(p.name, "/")
			return opened == template
		}) {
			t.Errorf("the walk opens no page of the template %s", name)
		}
	}
}

// checkPages opens pages as they were sent to the browser of a walk.
func (b *tab) checkPages(prefix string, s *layoutServer, pages []layoutPage, pass layoutPass) {
	b.t.Helper()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, p := range pages {
			if r.URL.Path == "/page/"+p.name {
				page.SetHeaders(w.Header())
				w.Header().Set("Content-Type", "text/html; charset=utf-8")
				_, _ = w.Write([]byte(p.body))
				return
			}
		}
		s.Handler.ServeHTTP(w, r)
	}))
	defer site.Close()
	b.do("set width and color scheme", chromedp.EmulateViewport(pass.width, 800), setScriptsDisabled(!pass.scripts),
		setColorScheme(pass.scheme))
	b.scriptsDisabled = !pass.scripts
	for _, p := range pages {
		if p.name == "form_post" && pass.scripts {
			continue // the form submits itself
		}
		name := strings.Join([]string{
			prefix, p.name, p.language, pass.scheme, strconv.FormatInt(pass.width, 10),
		}, "-")
		b.do("open "+name, chromedp.Navigate(strings.Replace(site.URL, "127.0.0.1", "localhost", 1)+"/page/"+p.name))
		wide := evaluate[bool](b, `document.querySelectorAll("details").forEach(e => e.open = true);
			document.documentElement.scrollWidth > document.documentElement.clientWidth`)
		if wide {
			b.t.Errorf("the page %s scrolls sideways", name)
		}
		b.save(strings.ReplaceAll(name, "/", "-"), false)
		if p.name == "security/codes" && p.language == "en" {
			b.checkRecoveryCodes()
		}
		if pass.axe {
			b.do("show the page in light", setColorScheme("light"))
			b.checkAccessibility(name+", in light", colorRules...)
			b.do("show the page in dark", setColorScheme(pass.scheme))
			b.checkAccessibility(name, wcagRules...)
		}
	}
}

// checkRecoveryCodes checks that recovery codes can be copied and downloaded, and that a print has only them.
func (b *tab) checkRecoveryCodes() {
	b.t.Helper()
	codes := evaluate[string](b,
		`[...document.querySelectorAll(".codes code")].map(e => e.textContent).join("\n") + "\n"`)
	file := evaluate[string](b, `decodeURIComponent(document.querySelector("a[download]").href)`)
	if strings.Count(codes, "\n") != 10 || !strings.HasPrefix(file, "data:text/plain;charset=utf-8,") ||
		!strings.HasSuffix(file, "\n\n"+codes) {
		b.t.Errorf("the download of the recovery codes %q is %q", codes, file)
	}
	b.do("copy the codes", press("Copy"), visible("Copied"))
	media := emulation.SetEmulatedMediaParams{Media: "print"}
	b.do("print the page", callStep(emulation.SetEmulatedMedia, media))
	printed := evaluate[string](b, `document.body.innerText`)
	if !strings.Contains(printed, strings.Fields(codes)[9]) || strings.Contains(printed, "Sign out") ||
		strings.Contains(printed, "Copied") || strings.Contains(printed, "Help") {
		b.t.Errorf("a print of the page of the recovery codes has %q", printed)
	}
	media.Media = ""
	b.do("show the page again", callStep(emulation.SetEmulatedMedia, media))
}

// TestDevAtAnotherHostShowsStyledLinkToIssuer opens http://127.0.0.1, which is the same server under another host.
func TestDevAtAnotherHostShowsStyledLinkToIssuer(t *testing.T) {
	requireEnv(t, "CHROME")
	t.Parallel()
	d := startDev(t, t.TempDir(), nil)
	b := openBrowser(t)
	b.do("open a page by IP address", chromedp.Navigate("http://"+d.env["GATEHOUSE_LISTEN"]+"/account"),
		visible("Wrong address"))
	b.checkLayout("wrong-host")
	rules := evaluate[int](b, `document.styleSheets.length && document.styleSheets[0].cssRules.length`)
	if rules == 0 {
		t.Error("the page has no style sheet with rules")
	}
	b.do("follow the link to the issuer", chromedp.Click(`//a[contains(., "Open `+d.issuer+`")]`),
		visible("to see your connected apps"))
}

// TestReloadedSignInTabContinues reloads sign-in pages after the user has signed in in another tab of the same browser.
func TestReloadedSignInTabContinues(t *testing.T) {
	requireEnv(t, "CHROME")
	t.Parallel()
	d := startDev(t, t.TempDir(), nil)
	first := openBrowser(t)
	first.startSignIn(d)
	second, third := first.openTab(), first.openTab()
	third.do("open the account in a third tab", chromedp.Navigate(d.issuer+"/account"),
		visible("to see your connected apps"))
	second.startSignIn(d)
	second.signIn(d)
	second.do("wait for the consent page", visible("wants access"))
	first.do("reload the first tab", chromedp.Reload(), visible("wants access"), press("Allow"),
		visible("You are signed in"))
	third.do("reload the third tab", chromedp.Reload(), visible("Connected apps"))
	third.do("open the sign-in page for another account", followLink("Add an account"), visible("stays signed in here"))
}
