package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
)

// tab is a tab of a real Chromium.
type tab struct {
	context.Context

	t testing.TB
	// scriptsDisabled is set when the browser runs no JavaScript of pages, as if a user had disabled it.
	scriptsDisabled bool
}

// openBrowser starts Chromium with a new profile.
func openBrowser(t testing.TB, more ...chromedp.ExecAllocatorOption) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(requireEnv(t, "CHROME")), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox,
		chromedp.WSURLReadTimeout(waitTimeout))
	for _, disabled := range []string{"gpu", "quic", "background-networking", "component-update", "sync"} {
		options = append(options, chromedp.Flag("disable-"+disabled, true))
	}
	options = append(options, more...)
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // starts Chromium, which ends with the context of this call
		t.Fatal(err)
	}
	return &tab{Context: ctx, t: t}
}

// openTab opens another tab of the same browser.
func (b *tab) openTab() *tab { return b.open(b.t) }

// openProfile opens a tab with a new profile, without cookies, in the Chromium of another test. To start Chromium takes
// as long as most flows.
func (b *tab) openProfile(t testing.TB) *tab { return b.open(t, chromedp.WithNewBrowserContext()) }

func (b *tab) open(t testing.TB, options ...chromedp.ContextOption) *tab {
	t.Helper()
	ctx, cancel := chromedp.NewContext(b.Context, options...)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatal(err)
	}
	return &tab{Context: ctx, t: t}
}

// do runs actions. When they fail, it saves the page.
func (b *tab) do(what string, actions ...step) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.Context, waitTimeout)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.save("failed-"+strings.ReplaceAll(b.t.Name(), "/", "-"), true)
		b.t.Fatalf("%s: %v; the page is %s", what, err, b.text())
	}
}

// evaluate runs JavaScript in the page.
func evaluate[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.Context, waitTimeout)
	defer cancel()
	v, err := chromedp.Run(ctx, chromedp.Evaluate[T](expression))
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// step is an action on a page.
type step = chromedp.Action[chromedp.Void]

// visible waits for text on the page.
func visible(text string) step {
	return chromedp.WaitVisible(`//body//*[text()[contains(normalize-space(.), "` + text + `")]]`)
}

func button(label string) string { return `//button[normalize-space(.)="` + label + `"]` }

func press(label string) step { return chromedp.Click(button(label)) }

// followLink clicks the link with the text.
func followLink(text string) step { return chromedp.Click(`//a[normalize-space(.)="` + text + `"]`) }

// fill types a value into the field with the id.
func fill(id, value string) step { return chromedp.SendKeys(chromedp.CSS("#"+id), value) }

// setColorScheme returns a step that sets the color scheme that the user prefers.
func setColorScheme(scheme string) step {
	return callStep(emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
}

// callStep returns a step that calls a method of the DevTools protocol.
func callStep[P any](method cdp.Command[P, cdp.Empty], params P) step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, method, params)
		return err
	})
}

// disableJavaScript disables the scripts of pages in the tab.
func (b *tab) disableJavaScript() {
	b.t.Helper()
	b.do("disable JavaScript", setScriptsDisabled(true))
	b.scriptsDisabled = true
}

func setScriptsDisabled(disabled bool) step {
	return callStep(emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: disabled})
}

// text returns the URL and the text of the page.
func (b *tab) text() string {
	ctx, cancel := context.WithTimeout(b.Context, 10*time.Second)
	defer cancel()
	url, err := chromedp.Run(ctx, chromedp.Location())
	if err != nil {
		return err.Error()
	}
	text, err := chromedp.Run(ctx, chromedp.Text(chromedp.CSS("body")))
	if err != nil {
		return url + ": " + err.Error()
	}
	return url + "\n" + text
}

// save stores a screenshot, and on request the HTML, in the directory SCREENSHOTS.
func (b *tab) save(name string, withHTML bool) {
	b.t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	ctx, cancel := context.WithTimeout(b.Context, 10*time.Second)
	defer cancel()
	png, err := chromedp.Run(ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Logf("screenshot: %v", err)
		return
	}
	html, err := chromedp.Run(ctx, chromedp.OuterHTML(chromedp.CSS("html")))
	if err != nil {
		b.t.Logf("HTML: %v", err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o600); err != nil {
		b.t.Log(err)
	}
	if withHTML {
		if err := os.WriteFile(filepath.Join(dir, name+".html"), []byte(html), 0o600); err != nil {
			b.t.Log(err)
		}
	}
}

// checkLayout checks that the page does not scroll sideways, and saves it, at the widths of a narrow phone, an ordinary
// phone and a desktop, dark and light. Afterwards the tab has the desktop's width and is light.
func (b *tab) checkLayout(name string) {
	b.t.Helper()
	for i, scheme := range []string{"dark", "light"} {
		for _, width := range []int64{320, 375, 1280} {
			b.do("set width and color scheme", chromedp.EmulateViewport(width, 800), setColorScheme(scheme))
			if evaluate[bool](b, `document.documentElement.scrollWidth > document.documentElement.clientWidth`) {
				b.t.Errorf("page %s scrolls sideways at %d pixels", name, width)
			}
			device := map[int64]string{320: "narrow", 375: "phone", 1280: "desktop"}[width]
			b.save(name+"-"+scheme+"-"+device, false)
		}
		rules := wcagRules
		if i > 0 {
			rules = colorRules // the style sheet has the same layout in both schemes
		}
		b.checkAccessibility(name+", "+scheme, rules...)
	}
}

// wcagRules are the rules of axe-core for WCAG 2.2 AA.
var wcagRules = []string{"wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"}

// colorRules are those of them that depend on colors.
var colorRules = []string{"color-contrast", "link-in-text-block"}

// axeScript runs axe-core with sets of rules and returns its violations, one per line. It does not describe the
// elements that violate no rule, nor how to select them, which took half of its time.
const axeScript = `axe.run(document, { runOnly: %s, resultTypes: ["violations"], selectors: false }).then(
	r => r.violations.map(
	v => v.id + ": " + v.help + ": " + v.nodes.map(n => n.html).join(" ")).join("\n"))`

// checkAccessibility checks a page with rules of axe-core, when it is installed.
func (b *tab) checkAccessibility(name string, rules ...string) {
	b.t.Helper()
	if violations := b.violations(rules...); violations != "" {
		b.t.Errorf("the page %s violates rules of axe-core:\n%s", name, violations)
	}
}

// violations returns the rules of axe-core, of those or of those sets, that the page violates.
func (b *tab) violations(rules ...string) string {
	b.t.Helper()
	dir := os.Getenv("AXE")
	if dir == "" && os.Getenv("CI") == "" {
		return ""
	}
	if b.scriptsDisabled {
		b.do("enable JavaScript", setScriptsDisabled(false))
		defer b.do("disable JavaScript", setScriptsDisabled(true))
	}
	if !evaluate[bool](b, `"axe" in window`) { // since the page was opened
		axe, err := os.ReadFile(filepath.Join(dir, "node_modules", "axe-core", "axe.min.js"))
		if err != nil {
			b.t.Fatal(err)
		}
		evaluate[bool](b, string(axe)+";true")
	}
	list, err := json.Marshal(rules)
	if err != nil {
		b.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(b.Context, waitTimeout)
	defer cancel()
	script := fmt.Sprintf(axeScript, list)
	violations, err := chromedp.Run(ctx, chromedp.Evaluate[string](script, chromedp.EvalAwaitPromise))
	if err != nil {
		b.t.Fatal(err)
	}
	return violations
}

// TestAccessibilityCheckFindsViolationsInBrowser checks the check of pages.
func TestAccessibilityCheckFindsViolationsInBrowser(t *testing.T) {
	requireEnv(t, "CHROME")
	requireEnv(t, "AXE")
	t.Parallel()
	b := openBrowser(t)
	b.disableJavaScript()
	b.do("open a page with faults",
		chromedp.Navigate(`data:text/html,<title>x</title><p style="color:silver">text<img src="x"><input>`))
	violations := b.violations(wcagRules...)
	for _, rule := range []string{"html-has-lang", "image-alt", "label"} {
		if !strings.Contains(violations, rule+":") {
			t.Errorf("axe-core reports\n%s\nwant %s among them", violations, rule)
		}
	}
	if violations := b.violations(colorRules...); !strings.HasPrefix(violations, "color-contrast:") {
		t.Errorf("axe-core reports\n%s\nwith the rules about colors, want color-contrast", violations)
	}
}
