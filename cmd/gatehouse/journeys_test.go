package main

import (
	"encoding/base32"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"gatehouse/identity/totp"
	"gatehouse/notify/mail/mailtest"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

const journeyPassword = "correct horse of the journey"

// journey is a user who reaches a goal by keyboard only.
type journey struct {
	*tab

	d     *devServer
	mails *mailtest.Server
	name  string
	// looked has the texts of the pages that a journey has checked.
	looked map[string]bool
	// onPhone: the user acts on a phone with the dark color scheme, otherwise on a desktop with the light one.
	onPhone bool
}

// TestJourneysByKeyboardInBrowser runs the journeys of users on one server. Every page of a journey is checked light
// and dark, on a desktop and on a phone; one journey is on a phone with the dark scheme.
func TestJourneysByKeyboardInBrowser(t *testing.T) {
	requireEnv(t, "CHROME")
	mails := mailtest.Start(t)
	d := startDev(t, t.TempDir(), map[string]string{
		"GATEHOUSE_SMTP_URL": "smtp://" + mails.Address, "GATEHOUSE_MAIL_FROM": "no-reply@example.com",
		"GATEHOUSE_SIGN_UP": "invite", "GATEHOUSE_SECRET_KEY": keyText,
	})
	b, looked := openBrowser(t), map[string]bool{}
	for _, x := range []struct {
		name string
		run  func(j *journey)
	}{
		{"lost-phone", (*journey).lostPhone},
		{"reset", (*journey).resetPassword},
		{"invitation", (*journey).invitation},
		{"step-up", (*journey).stepUp},
		{"deletion", (*journey).deletion},
		{"passkey", (*journey).passkey}, // the last one: its authenticator stays
	} {
		t.Run(x.name, func(t *testing.T) {
			mustRun(t, d.env, journeyPassword+"\n", "user", "create", "--username", x.name,
				"--email", x.name+"@example.com", "--email-verified", "--name", "Lena Fischer", "--password-stdin")
			j := &journey{tab: &tab{Context: b.Context, t: t}, d: d, mails: mails, name: x.name, looked: looked}
			j.onPhone = x.name == "reset"
			j.do("start without cookies", callStep(network.ClearBrowserCookies, cdp.Empty{}))
			j.setDevice()
			x.run(j)
			if dark := `innerWidth === 375 && matchMedia("(prefers-color-scheme: dark)").matches`; j.onPhone &&
				!evaluate[bool](j.tab, dark) {
				t.Error("the journey did not end on a phone in the dark")
			}
		})
	}
}

// look waits for text and checks the page, unless it was checked already. axe-core runs once per color scheme, at one
// of the widths.
func (j *journey) look(page, text string) {
	j.t.Helper()
	j.do("wait for "+page, visible(text))
	if j.looked[text] {
		return
	}
	j.looked[text] = true
	for _, x := range []struct {
		scheme, device string
		width          int64
		axe            bool
	}{
		{"dark", "desktop", 1280, false}, {"dark", "phone", 375, true},
		{"light", "phone", 375, false}, {"light", "desktop", 1280, true},
	} {
		j.do("set width and color scheme", chromedp.EmulateViewport(x.width, 800), setColorScheme(x.scheme))
		name := j.name + "-" + page + "-" + x.scheme + "-" + x.device
		if evaluate[bool](j.tab, `document.documentElement.scrollWidth > document.documentElement.clientWidth`) {
			j.t.Errorf("page %s scrolls sideways", name)
		}
		j.save("journey-"+name, false)
		if x.axe {
			j.checkAccessibility(name, wcagRules...)
		}
	}
	j.setDevice()
}

// setDevice sets the width and the color scheme with which the user acts.
func (j *journey) setDevice() {
	j.t.Helper()
	width, scheme := int64(1280), "light"
	if j.onPhone {
		width, scheme = 375, "dark"
	}
	j.do("set the device", chromedp.EmulateViewport(width, 800), setColorScheme(scheme))
}

// focused returns the accessible name of the focused element and the path that it links to, when its focus can be seen.
const focused = `(e => !e.matches(":focus-visible") || getComputedStyle(e).outlineStyle === "none" ? [] :
	[(e.ariaLabel || (e.labels && e.labels.length ? e.labels[0] : e).textContent).trim(), e.pathname || ""]
	)(document.activeElement)`

// focus presses Tab until the focus is on the element with the name, or on the link to the path.
func (j *journey) focus(name string) {
	j.t.Helper()
	var seen []string
	for range 60 {
		found := evaluate[[]string](j.tab, focused)
		if slices.Contains(found, name) {
			return
		}
		seen = append(seen, found...)
		j.do("press Tab", chromedp.KeyEvent(kb.Tab))
	}
	j.t.Fatalf("Tab never reaches %q, only %q; the page is %s", name, seen, j.text())
}

// enter types a value into the field with a label.
func (j *journey) enter(label, value string) {
	j.t.Helper()
	j.focus(label)
	j.do("type", chromedp.KeyEvent(value))
}

// press presses Enter on a button, link or summary.
func (j *journey) press(name string) {
	j.t.Helper()
	j.focus(name)
	j.do("press Enter on "+name, chromedp.KeyEvent(kb.Enter))
}

func (j *journey) open(path string) {
	j.t.Helper()
	j.do("open "+path, chromedp.Navigate(j.d.issuer+path))
}

func (j *journey) signIn(password string) {
	j.t.Helper()
	j.open("/login?then=security")
	j.do("wait for the form", visible("to see your connected apps"))
	j.enter("Username or email", j.name)
	j.enter("Password", password)
	j.press("Sign in")
}

func (j *journey) signOut() {
	j.t.Helper()
	j.open("/account")
	j.do("wait for the account", visible("Connected apps"))
	j.press("Sign out")
	j.do("wait until the user is signed out", visible("You are signed out"))
}

var keyOfApp = regexp.MustCompile(`[A-Z2-7]{32,}`)

// setUpApp sets up an authenticator app and returns the recovery codes. The code is that of the current step or of the
// next one: the codes of one step confirm one app.
func (j *journey) setUpApp(page string, step int64) []string {
	j.t.Helper()
	j.press("Set up an app")
	j.look(page, "Scan this code")
	text := keyOfApp.FindString(strings.ReplaceAll(evaluate[string](j.tab,
		`document.querySelector("#totp-setup").parentElement.querySelector("code").textContent`), " ", ""))
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(text)
	storagetest.Must(j.t, err)
	k := totp.New()
	k.Secret = secret
	j.enter("Code that the app shows", k.Code(k.Step(time.Now())+step)+kb.Enter)
	j.look(page+"-codes", "Save your recovery codes")
	codes := strings.Fields(evaluate[string](j.tab,
		`[...document.querySelectorAll("#codes ~ * code")].map(e => e.textContent).join(" ")`))
	if len(codes) != 10 {
		j.t.Fatalf("the page shows the recovery codes %q, want 10", codes)
	}
	return codes
}

// lostPhone signs in with a recovery code, removes the authenticator app and adds that of another phone.
func (j *journey) lostPhone() {
	j.signIn(journeyPassword)
	j.look("security", "You have no passkeys")
	codes := j.setUpApp("app", 0)
	j.signOut()
	j.signIn(journeyPassword)
	j.look("factor", "Confirm that it is you")
	j.press("No access to your app?")
	j.look("help", "Enter one of the recovery codes")
	j.enter("Code from your app, or a recovery code", "000000"+kb.Enter)
	j.look("wrong-code", "This code is incorrect")
	j.enter("Code from your app, or a recovery code", codes[0]+kb.Enter)
	j.look("signed-in", "You have 9 recovery codes")
	j.press("Remove the app")
	j.look("remove-app", "Remove the authenticator app?")
	j.press("Remove")
	j.look("app-removed", "The app was removed")
	j.setUpApp("new-app", 1)
}

// link returns the path of the link in the last email to an address.
func (j *journey) link(to, subject string) string {
	j.t.Helper()
	var found string
	storagetest.Eventually(j.t, "the email "+subject+" arrives", func() bool {
		for _, m := range j.mails.Mails(to) {
			if m.Subject == subject {
				found = regexp.MustCompile(regexp.QuoteMeta(j.d.issuer) + `(/\S+\?\S+)`).FindStringSubmatch(m.Text)[1]
				return true
			}
		}
		return false
	})
	return found
}

// resetPassword resets a password by email and signs in with it.
func (j *journey) resetPassword() {
	const changed = "seven purple lanterns drift"
	j.open("/login?then=security")
	j.look("login", "to see your connected apps")
	j.press("/forgot")
	j.look("request", "We will send you a link")
	j.enter("Username or email", j.name+kb.Enter)
	j.look("sent", "is on its way to its email address")
	j.open(j.link(j.name+"@example.com", "Reset your password"))
	j.look("reset", "You will be signed out everywhere")
	j.enter("New password", "qwertyuiop123"+kb.Enter)
	j.look("common", "tried first by attackers")
	j.enter("New password", changed+kb.Enter)
	j.look("done", "You can now sign in with the new password")
	j.signIn(changed)
	j.look("signed-in", "You have no passkeys")
}

// invitation creates an account by an invitation, which has a group.
func (j *journey) invitation() {
	mustRun(j.t, j.d.env, "", "group", "create", "invited")
	mustRun(j.t, j.d.env, "", "invite", "create", "--email", "new@example.com", "--group", "invited")
	j.open(j.link("new@example.com", "Your invitation to Gatehouse"))
	j.look("create", "Choose how you sign in")
	j.enter("Username", j.name+kb.Tab+kb.Tab+journeyPassword+kb.Enter)
	j.look("taken", "This username or email address is taken")
	j.do("empty the field", chromedp.KeyEvent("a", chromedp.KeyModifiers(chromedp.ModifierCtrl)))
	j.name = "invited-user"
	j.enter("Username", j.name)
	j.enter("New password", journeyPassword+kb.Enter)
	j.look("created", "Your account is ready")
	j.signIn(journeyPassword)
	j.look("signed-in", "You have no passkeys")
	if members := mustRun(j.t, j.d.env, "", "group", "show", "invited"); !strings.Contains(members, j.name) {
		j.t.Errorf("members of the group of the invitation = %s, want %s", members, j.name)
	}
}

// deletion schedules the deletion of an account, keeps it by signing in, and schedules it again.
func (j *journey) deletion() {
	for _, when := range []string{"first", "second"} {
		j.signIn(journeyPassword)
		if when == "second" {
			j.look("cancelled", "Your account will not be deleted")
			j.press("Continue")
		}
		j.do("wait for the account", visible("You have no passkeys"))
		j.open("/account/delete")
		j.look("delete-"+when, "You will be signed out everywhere, and apps will lose access")
		j.press("Delete my account")
		j.look("scheduled-"+when, "Your account will be deleted")
	}
	store := storagetest.Open(j.t, j.d.env["GATEHOUSE_DATABASE_URL"], storagetest.NewClock())
	user, err := store.UserByKey(j.t.Context(), j.name)
	storagetest.Must(j.t, err)
	// As if the grace period was over.
	storagetest.Must(j.t, store.ScheduleDeletion(j.t.Context(), user.ID, store.Now().Add(-time.Hour), storage.Mail{
		Kind: storage.MailDeletionScheduled, UserID: user.ID, To: user.Email, Language: "en",
	}, storage.AccountSession{}))
	if n, err := store.DeleteDueUsers(j.t.Context(), time.Hour); n != 1 || err != nil {
		j.t.Errorf("after the grace period %d users are deleted, %v, want 1", n, err)
	}
	j.open("/login?to=account")
	j.do("wait for the form", visible("to see your connected apps"))
	j.enter("Username or email", j.name)
	j.enter("Password", journeyPassword+kb.Enter)
	j.do("sign in to the deleted account", visible("is incorrect"))
}
