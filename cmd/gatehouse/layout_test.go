package main

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"golang.org/x/oauth2"

	"gatehouse/identity/totp"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
	"gatehouse/templates"
)

// The names of a wideServer are the longest that are accepted. A browser cannot break a line within them.
var (
	wideHost  = strings.Repeat(strings.Repeat("w", 63)+".", 3) + "example" // 199 characters
	wideScope = "long." + strings.Repeat("w", 90)
	moreScope = "more." + strings.Repeat("w", 90) // which is requested later
)

const widePassword = "a password of the test"

// wideText returns a text of n characters, which would be markup if a page did not escape it.
func wideText(n int) string { return "<b>" + strings.Repeat("W", n-3) }

// wideEmail returns the email address of the user whose names begin with a letter.
func wideEmail(letter string) string {
	return letter + strings.Repeat("w", 63) + "@" + strings.Repeat(strings.Repeat("w", 40)+".", 4) + "example"
}

// wideServer is a server whose users, scope and client have the longest names that are accepted.
type wideServer struct {
	*devServer

	clientID, limitedID string // limitedID: a client that requires a group without members
	strictID            string // a client that requires a passkey
	documentID          string // a client with a document at a long URL
	store               *storage.Store
}

// hebrewDirectory returns a directory of templates with a language that is written from right to left, in which every
// message is English.
func hebrewDirectory(t *testing.T) string {
	t.Helper()
	files := t.TempDir()
	storagetest.Must(t, os.Mkdir(filepath.Join(files, "messages"), 0o700))
	hebrew := `{"language.name": "עברית", "language.direction": "rtl", "product": "Gatehouse"}`
	storagetest.Must(t, os.WriteFile(filepath.Join(files, "messages", "he.json"), []byte(hebrew), 0o600))
	return files
}

func startWideServer(t *testing.T) *wideServer {
	t.Helper()
	d := startDev(t, t.TempDir(), map[string]string{
		"GATEHOUSE_TEMPLATES_DIR": hebrewDirectory(t), "GATEHOUSE_BRAND_NAME": strings.Repeat("W", 60),
		"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_SIGN_IN_CODES": "true",
		"GATEHOUSE_TERMS_URL": "https://" + wideHost + "/terms", "GATEHOUSE_TERMS_VERSION": "1",
		"GATEHOUSE_REGISTRATION_SCOPES": "openid,profile,email," + wideScope + "," + moreScope,
		"GATEHOUSE_CLIENT_DOCUMENTS":    "open", "GATEHOUSE_SECRET_KEY": keyText,
	})
	for _, scope := range []string{wideScope, moreScope} {
		mustRun(t, d.env, "", "scope", "create", scope, "--description", wideText(300))
	}
	for letter, name := range map[string]string{"a": wideText(200), "b": strings.Repeat("M", 200)} {
		mustRun(t, d.env, widePassword+"\n", "user", "create", "--username", letter+strings.Repeat("w", 63),
			"--email", wideEmail(letter), "--name", name, "--given-name", wideText(200),
			"--website", "https://"+wideHost+"/", "--password-stdin")
	}
	for _, access := range []string{"read", "edit"} {
		mustRun(t, d.env, "", "attribute", "create", access, "--scope", moreScope, "--label", wideText(150),
			"--type", "strings", "--user-access", access)
		mustRun(t, d.env, "", "user", "update", "b"+strings.Repeat("w", 63), "--attribute", access+"="+wideText(150))
	}
	metadata, err := json.Marshal(map[string]any{
		"client_name": wideText(100), "token_endpoint_auth_method": "none", "scope": "openid " + wideScope + " " + moreScope,
		"redirect_uris":             []string{"https://" + wideHost + "/cb"},
		"post_logout_redirect_uris": []string{"https://" + wideHost + "/out"},
		"policy_uri":                "https://" + wideHost + "/policy", "tos_uri": "https://" + wideHost + "/tos",
		"initiate_login_uri": "https://" + wideHost + "/start",
	})
	storagetest.Must(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, d.issuer+"/oauth2/register",
		bytes.NewReader(metadata))
	storagetest.Must(t, err)
	req.Header.Set("Content-Type", "application/json")
	res, err := http.DefaultClient.Do(req)
	storagetest.Must(t, err)
	defer func() { _ = res.Body.Close() }()
	var registered struct {
		ID          string `json:"client_id"`
		Description string `json:"error_description"`
	}
	storagetest.Must(t, json.NewDecoder(res.Body).Decode(&registered))
	if registered.ID == "" {
		t.Fatalf("registration: %d %q, want a client_id", res.StatusCode, registered.Description)
	}
	group := strings.Repeat("w", 100)
	mustRun(t, d.env, "", "group", "create", group)
	limitedID, _ := createClient(t, d.env, `{"client_name":"`+wideText(100)+`","scope":"openid `+wideScope+
		`","redirect_uris":["https://`+wideHost+`/cb"],"gatehouse_required_groups":["`+group+`"]}`)
	strictID, _ := createClient(t, d.env, `{"client_name":"`+wideText(100)+`","scope":"openid `+wideScope+
		`","redirect_uris":["https://`+wideHost+`/cb"],"gatehouse_required_acr":"phr"}`)
	documentID := "https://" + wideHost + "/oauth/client.json"
	store := storagetest.Open(t, d.env["GATEHOUSE_DATABASE_URL"], storagetest.NewClock())
	storagetest.CreateDocumentClient(t, store, &storage.Client{
		ID: documentID, Name: wideText(100), Scopes: storage.Strings{"openid", wideScope},
		RedirectURIs: storage.Strings{"https://" + wideHost + "/cb"},
		PolicyURI:    "https://" + wideHost + "/policy", TosURI: "https://" + wideHost + "/tos",
	})
	return &wideServer{d, registered.ID, limitedID, strictID, documentID, store}
}

// authorize returns a step that opens an authorization request, with parameters as names and values.
func (w *wideServer) authorize(parameters ...string) step {
	app := &oauth2.Config{
		ClientID: w.clientID, RedirectURL: "https://" + wideHost + "/cb", Scopes: []string{"openid", wideScope},
		Endpoint: oauth2.Endpoint{AuthURL: w.issuer + "/oauth2/authorize"},
	}
	options := []oauth2.AuthCodeOption{oauth2.S256ChallengeOption(oauth2.GenerateVerifier())}
	for i := 0; i < len(parameters); i += 2 {
		options = append(options, oauth2.SetAuthURLParam(parameters[i], parameters[i+1]))
	}
	return chromedp.Navigate(app.AuthCodeURL("state", options...))
}

// layoutTest opens pages of a wideServer, and stores which ones it opened.
type layoutTest struct {
	*tab

	d      *wideServer
	opened map[string]bool
}

func (l *layoutTest) signIn(letter string) {
	l.t.Helper()
	l.do("sign in", chromedp.SetValue(chromedp.CSS("#username"), wideEmail(letter)), fill("password", widePassword),
		press("Sign in"))
}

// signInWithFactor signs a user in who has a TOTP authenticator.
func (l *layoutTest) signInWithFactor(letter string) {
	l.t.Helper()
	user, err := l.d.store.UserByKey(l.t.Context(), wideEmail(letter))
	storagetest.Must(l.t, err)
	k := totp.New()
	storagetest.Must(l.t, l.d.store.SetTOTP(l.t.Context(), storage.TOTPSecret{
		ID: user.ID, Secret: k.Secret, Algorithm: k.Algorithm, Digits: int64(k.Digits), Period: int64(k.Period / time.Second),
	}))
	l.signIn(letter)
	l.check("factor", "Confirm that it is you")
	l.do("enter the code", fill("code", k.Code(k.Step(time.Now()))), press("Continue"))
}

// check checks the layout of a page when it shows the text.
func (l *layoutTest) check(page, text string) {
	l.t.Helper()
	l.do("open "+page, visible(text))
	l.checkLayout("narrow-" + page)
	l.opened[page] = true
}

// TestNoPageScrollsSideways opens every page at 320 pixels with the longest names that are accepted. A new template
// fails the test until it is opened here.
func TestNoPageScrollsSideways(t *testing.T) {
	requireEnv(t, "CHROME")
	t.Parallel()
	l := &layoutTest{tab: openBrowser(t), d: startWideServer(t), opened: map[string]bool{}}
	// With scripts the form of form_post would submit itself.
	l.disableJavaScript()
	l.do("set the width", chromedp.EmulateViewport(320, 800))
	l.checkRequestPages()
	l.checkAccountPages()
	names, err := fs.Glob(templates.FS, "*.html")
	storagetest.Must(t, err)
	for _, name := range names {
		page := strings.TrimSuffix(name, ".html")
		if !strings.HasSuffix(page, "layout") && page != "mail" && !l.opened[page] {
			t.Errorf("the test does not open the page %s", page)
		}
	}
}

// checkRequestPages opens the pages of an authorization request.
func (l *layoutTest) checkRequestPages() {
	l.t.Helper()
	l.do("open an authorization request", l.d.authorize("login_hint", wideEmail("a")))
	l.check("login", "to continue to")
	l.do("sign in with a code", followLink("Email me a code"))
	l.check("login_code", "Enter your username or email address")
	l.do("request a code", fill("username", "unknown"), press("Send code"))
	l.check("login_code-sent", "If there is an account")
	l.do("sign in with the password", followLink("Sign in another way"))
	l.signIn("a")
	l.check("terms", "Our terms have changed")
	l.do("accept the terms", press("Accept and continue"))
	l.check("consent", "wants access to your account")
	l.do("open a client with a document", l.d.authorize("client_id", l.d.documentID))
	l.check("confirm", "This app has not been verified")
	l.do("continue", press("I trust this app, continue"))
	l.check("consent-document", "wants access to your account")
	blocked := []*network.BlockPattern{{URLPattern: "https://*:*/*", Block: true}}
	l.do("allow, without a request to the app",
		callStep(network.SetBlockedURLs, network.SetBlockedURLsParams{URLPatterns: blocked}),
		l.d.authorize("prompt", "consent", "response_mode", "form_post"), visible("wants access"), press("Allow"))
	l.check("form_post", "JavaScript is off in this browser")
	l.do("open a request for more than is allowed", l.d.authorize("scope", "openid "+wideScope+" "+moreScope),
		visible("this app can also"), chromedp.Click(chromedp.CSS("details.existing > summary")))
	l.check("consent-more", "What you have already allowed this app")
	l.do("add an account", chromedp.Navigate(l.d.issuer+"/login?another=1"), visible("stays signed in here"))
	l.signInWithFactor("b")
	l.do("accept the terms", visible("and are signed out"), press("Accept and continue"))
	l.check("account", "Where you are signed in")
	l.do("open the account chooser", l.d.authorize("prompt", "select_account"))
	l.check("select", "Choose an account")
	l.do("open a client that requires a group",
		l.d.authorize("client_id", l.d.limitedID, "login_hint", wideEmail("b")))
	l.check("no_access", "You do not have access to")
	l.do("open a client that requires a passkey",
		l.d.authorize("client_id", l.d.strictID, "login_hint", wideEmail("b")))
	l.check("enrol", "Add a passkey")
	l.do("open the page for a new password", chromedp.Navigate(l.d.issuer+"/forgot"))
	l.check("self_service", "We send you a link")
	l.do("open a request with an error",
		chromedp.Navigate(l.d.issuer+"/oauth2/authorize?client_id="+strings.Repeat("w", 60)))
	l.check("error", "For the app’s developer")
}

// checkAccountPages opens the pages of the two users that are signed in.
func (l *layoutTest) checkAccountPages() {
	l.t.Helper()
	l.do("open the profile", chromedp.Navigate(l.d.issuer+"/account/profile"))
	l.check("profile", "Contact")
	l.do("open the sessions", chromedp.Navigate(l.d.issuer+"/account/sessions"))
	l.check("sessions", "If you do not recognize one")
	l.do("open the security page", chromedp.Navigate(l.d.issuer+"/account/security"))
	l.check("security", "Authenticator app")
	l.do("set up an app", press("Set up another app"))
	l.check("security-enrolment", "Scan this code")
	l.do("open the activity", chromedp.Navigate(l.d.issuer+"/account/activity"))
	l.check("activity", "This was not me")
	logout := url.Values{"client_id": {l.d.clientID}, "post_logout_redirect_uri": {"https://" + wideHost + "/out"}}
	l.do("open the sign-out page", chromedp.Navigate(l.d.issuer+"/oauth2/logout?"+logout.Encode()))
	l.check("logout", "Sign out?")
	chooser := chromedp.Navigate(l.d.issuer + "/select")
	l.do("switch to the first user of the list", chooser, chromedp.Click(chromedp.CSS("button.account")),
		visible("Connected apps"))
	if !strings.Contains(l.text(), "Remove access") {
		l.do("switch to the other user", chooser, chromedp.Click(`(//button[@class="account"])[2]`),
			visible("Connected apps"))
	}
	l.checkLayout("narrow-account-app")
	l.do("open the apps", chromedp.Navigate(l.d.issuer+"/account/apps"))
	l.check("clients", "These apps can use your account")
	l.do("open the app", followLink("Remove access"))
	l.check("client", "Keep access")
	l.checkRightToLeft()
	l.do("sign out", chromedp.Navigate(l.d.issuer+"/account"), press("Sign out"))
	l.check("signed_out", "These accounts are still signed in")
}

// checkRightToLeft opens pages in a language that is written from right to left.
func (l *layoutTest) checkRightToLeft() {
	l.t.Helper()
	l.do("choose the language", chromedp.Click(chromedp.CSS("details.languages > summary")), press("עברית"),
		chromedp.WaitVisible(chromedp.CSS(`html[lang=he]`)))
	if dir := evaluate[string](l.tab, `getComputedStyle(document.body).direction`); dir != "rtl" {
		l.t.Errorf("the direction of the page is %s, want rtl", dir)
	}
	for _, page := range [][3]string{
		{"account", "/account", "Connected apps"}, {"profile", "/account/profile", "Contact"},
		{"select", "/select", "Choose an account"},
	} {
		l.do("open "+page[1], chromedp.Navigate(l.d.issuer+page[1]), visible(page[2]))
		l.checkLayout("rtl-" + page[0])
	}
	// The messages of both languages are the same: only the language of the document shows that the page is another.
	l.do("choose English", chromedp.Click(chromedp.CSS("details.languages > summary")), press("English"),
		chromedp.WaitVisible(chromedp.CSS(`html[lang=en]`)))
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
