package main

import (
	"context"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"golang.org/x/oauth2"

	"gatehouse/templates"
)

// TestNoPageScrollsSideways opens every page at 320 pixels with the longest names that are accepted, none of which has
// a place to break. A new template fails the test until it is opened here.
func TestNoPageScrollsSideways(t *testing.T) {
	needs(t, "CHROME")
	t.Parallel()
	const password = "a password of the test"
	long := func(n int) string { return "<b>" + strings.Repeat("W", n-3) }
	host := strings.Repeat(strings.Repeat("w", 63)+".", 3) + "example" // 199 characters
	d := startDev(t, t.TempDir(), map[string]string{"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_REGISTRATION_SCOPES": "openid,profile,email,long." + strings.Repeat("w", 90)})
	scope := "long." + strings.Repeat("w", 90)
	if _, stderr, code := command(t, d.env, "", "scope", "create", scope, "--description", long(300)); code != exitOK {
		t.Fatal(stderr)
	}
	email := func(first string) string {
		return first + strings.Repeat("w", 63) + "@" + strings.Repeat(strings.Repeat("w", 40)+".", 4) + "example"
	}
	for first, name := range map[string]string{"a": long(200), "b": strings.Repeat("M", 200)} {
		if _, stderr, code := command(t, d.env, password+"\n", "user", "create", "--username", first+strings.Repeat("w", 63), "--email", email(first), "--name", name,
			"--given-name", long(200), "--website", "https://"+host+"/", "--password-stdin"); code != exitOK {
			t.Fatal(stderr)
		}
	}
	metadata, err := json.Marshal(map[string]any{
		"client_name": long(100), "redirect_uris": []string{"https://" + host + "/cb"}, "post_logout_redirect_uris": []string{"https://" + host + "/out"}, "scope": "openid " + scope,
		"policy_uri": "https://" + host + "/policy", "tos_uri": "https://" + host + "/tos", "initiate_login_uri": "https://" + host + "/start", "token_endpoint_auth_method": "none",
	})
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.issuer+"/oauth2/register", strings.NewReader(string(metadata)))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	var registered struct {
		ID          string `json:"client_id"`
		Description string `json:"error_description"`
	}
	err = json.NewDecoder(res.Body).Decode(&registered)
	_ = res.Body.Close()
	if err != nil || registered.ID == "" {
		t.Fatalf("%d %s %v", res.StatusCode, registered.Description, err)
	}
	app := &oauth2.Config{ClientID: registered.ID, RedirectURL: "https://" + host + "/cb", Scopes: []string{"openid", scope}, Endpoint: oauth2.Endpoint{AuthURL: d.issuer + "/oauth2/authorize"}}
	authorize := func(parameters ...string) step {
		more := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(oauth2.GenerateVerifier())}
		for i := 0; i < len(parameters); i += 2 {
			more = append(more, oauth2.SetAuthURLParam(parameters[i], parameters[i+1]))
		}
		return chromedp.Navigate(app.AuthCodeURL("state", more...))
	}
	b := openBrowser(t)
	signIn := func(name string) {
		b.do("sign in", chromedp.SetValue(chromedp.CSS("#username"), name), chromedp.SendKeys(chromedp.CSS("#password"), password), press("Sign in"))
	}
	logout := "/oauth2/logout?" + url.Values{"client_id": {registered.ID}, "post_logout_redirect_uri": {"https://" + host + "/out"}}.Encode()

	seen := map[string]bool{}
	opened := func(page, text string) {
		t.Helper()
		b.do("open "+page, visible(text))
		b.looks("narrow-" + page)
		seen[page] = true
	}
	b.do("without scripts, or the form posts itself", withoutJavaScript(), chromedp.EmulateViewport(320, 800), authorize("login_hint", email("a")))
	opened("login", "to continue to")
	signIn(email("a"))
	opened("consent", "wants access to your account")
	b.do("without following", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, network.SetBlockedURLs, network.SetBlockedURLsParams{URLPatterns: []*network.BlockPattern{{URLPattern: "https://*:*/*", Block: true}}})
		return err
	}), authorize("prompt", "consent", "response_mode", "form_post"), visible("wants access"), press("Allow"))
	opened("form_post", "JavaScript is off in this browser")
	b.do("add an account", chromedp.Navigate(d.issuer+"/login?another=1"), visible("stays signed in here"))
	signIn(email("b"))
	opened("account", "Where you are signed in")
	b.do("choose", authorize("prompt", "select_account"))
	opened("select", "Choose an account")
	b.do("edit the profile", chromedp.Navigate(d.issuer+"/account/profile"))
	opened("profile", "Contact")
	b.do("open the sign-out page", chromedp.Navigate(d.issuer+logout))
	opened("logout", "Sign out?")
	b.do("be the first user again", chromedp.Navigate(d.issuer+"/select"), chromedp.Click(chromedp.CSS("button.account")), visible("Connected apps"))
	if !strings.Contains(b.text(), "Withdraw access") {
		b.do("be the other user", chromedp.Navigate(d.issuer+"/select"), chromedp.Click(`(//button[@class="account"])[2]`), visible("Connected apps"))
	}
	b.looks("narrow-account-app")
	b.do("withdraw", chromedp.Click(`//a[normalize-space(.)="Withdraw access"]`))
	opened("withdraw", "Withdraw the access of")
	b.do("sign out", chromedp.Navigate(d.issuer+"/account"), press("Sign out"))
	opened("signed_out", "These accounts are still signed in")
	b.do("a faulty request", chromedp.Navigate(d.issuer+"/oauth2/authorize?client_id="+strings.Repeat("w", 60)))
	opened("error", "For the app’s developer")

	names, err := fs.Glob(templates.FS, "*.html")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if page := strings.TrimSuffix(name, ".html"); page != "layout" && !seen[page] {
			t.Errorf("the page %s was not opened", page)
		}
	}
}

// TestDevAtAnotherHostShowsStyledLinkToIssuer: 127.0.0.1 is the same server and another host.
func TestDevAtAnotherHostShowsStyledLinkToIssuer(t *testing.T) {
	needs(t, "CHROME")
	t.Parallel()
	d := startDev(t, t.TempDir(), nil)
	b := openBrowser(t)
	b.do("open it by its address", chromedp.Navigate("http://"+d.env["GATEHOUSE_LISTEN"]+"/account"), visible("Wrong address"))
	b.looks("wrong-host")
	if rules := evaluate[int](b, `document.styleSheets.length && document.styleSheets[0].cssRules.length`); rules == 0 {
		t.Error("the page has no style")
	}
	b.do("follow the link", chromedp.Click(`//a[contains(., "Open `+d.issuer+`")]`), visible("to see your connected apps"))
}

// TestReloadedSignInTabContinues: the user signed in in another tab of the same browser.
func TestReloadedSignInTabContinues(t *testing.T) {
	needs(t, "CHROME")
	t.Parallel()
	d := startDev(t, t.TempDir(), nil)
	first := openBrowser(t)
	first.begin(d)
	second, third := first.another(), first.another()
	third.do("open the account in a third tab", chromedp.Navigate(d.issuer+"/account"), visible("to see your connected apps"))
	second.begin(d)
	second.signIn(d)
	second.do("reach the consent page", visible("wants access"))
	first.do("reload the first tab", chromedp.Reload(), visible("wants access"), press("Allow"), visible("You are signed in"))
	third.do("reload the third tab", chromedp.Reload(), visible("Connected apps"))
	third.do("add an account all the same", chromedp.Click(`//a[normalize-space(.)="Add an account"]`), visible("stays signed in here"))
}
