package main

import (
	"context"
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
}

// openBrowser starts Chromium with a profile of its own.
func openBrowser(t testing.TB, more ...chromedp.ExecAllocatorOption) *tab {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(needs(t, "CHROME")), chromedp.UserDataDir(t.TempDir()), chromedp.NoSandbox,
		chromedp.Flag("disable-gpu", true), chromedp.Flag("disable-quic", true), chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true), chromedp.Flag("disable-sync", true), chromedp.WSURLReadTimeout(time.Minute))
	options = append(options, more...)
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	t.Cleanup(cancel)
	ctx, cancel := chromedp.NewContext(allocator)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 2*time.Minute)
	t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil { // the first call starts it and must not have a limit of its own
		t.Fatal(err)
	}
	return &tab{ctx, t}
}

// another opens a second tab of the same browser.
func (b *tab) another() *tab {
	ctx, cancel := chromedp.NewContext(b.Context)
	b.t.Cleanup(cancel)
	if err := chromedp.Do(ctx); err != nil {
		b.t.Fatal(err)
	}
	return &tab{ctx, b.t}
}

// do runs actions. When they fail it stores a screenshot and the page's HTML in the directory SCREENSHOTS.
func (b *tab) do(what string, actions ...step) {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.Context, 40*time.Second)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		b.save("failed-"+strings.ReplaceAll(b.t.Name(), "/", "-"), true)
		b.t.Fatalf("%s: %v\non the page: %s", what, err, b.text())
	}
}

// evaluate runs JavaScript in the page.
func evaluate[T any](b *tab, expression string) T {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.Context, 40*time.Second)
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

func (b *tab) text() string {
	ctx, cancel := context.WithTimeout(b.Context, 5*time.Second)
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

// save stores a screenshot, and the HTML, in the directory SCREENSHOTS.
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

// looks saves the page on a narrow and an ordinary phone and a desktop, light and dark, and leaves the desktop's light
// one.
func (b *tab) looks(name string) {
	b.t.Helper()
	for _, scheme := range []string{"dark", "light"} {
		for _, width := range []int64{320, 375, 1280} {
			b.do("measure it", chromedp.EmulateViewport(width, 800), chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
				_, err := cdp.Call(ctx, t, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}})
				return err
			}))
			if evaluate[bool](b, `document.documentElement.scrollWidth > document.documentElement.clientWidth`) {
				b.t.Errorf("%s scrolls sideways at %d pixels", name, width)
			}
			b.save(name+"-"+scheme+"-"+map[int64]string{320: "narrow", 375: "phone", 1280: "desktop"}[width], false)
		}
	}
}
