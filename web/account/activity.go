package account

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"gatehouse/display"
	"gatehouse/identity"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/web/page"
)

// activityPageSize is how many events the page of activity has.
const activityPageSize = 25

// activityView is an event of the account.
type activityView struct {
	ID, Path, Text, Browser, Address, FormToken string
	At                                          page.Time
	Alarming                                    bool // an attack may have caused it
	ByOther                                     bool // an operator or the server caused it
	Decidable                                   bool // the user has not stated yet whether they caused it
	Confirmed, Reported                         bool // the user has
}

type activityPage struct {
	accountLayout
	Activity []activityView
	Next     string // the event after which the next page begins, or ""
}

// ShowActivity serves GET /account/activity: what happened to the account.
func (p *Pages) ShowActivity(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return err
	}
	user, err := p.currentUser(r)
	if err != nil {
		return err
	}
	var data activityPage
	if data.accountLayout, err = p.newLayout(r, user, activityPath, "account.activity"); err != nil {
		return err
	}
	var next audit.Cursor
	if data.Activity, next, err = p.activity(r, user, readCursor(form.Get("before")), activityPageSize); err != nil {
		return err
	}
	data.Next = cursorText(next)
	return p.pages.Render(w, http.StatusOK, "activity", data)
}

// cursorText returns a cursor as a parameter: the time in milliseconds and the id, or "".
func cursorText(c audit.Cursor) string {
	if c.At.IsZero() {
		return ""
	}
	return strconv.FormatInt(c.At.UnixMilli(), 10) + "-" + c.ID
}

// readCursor returns the cursor of a parameter, or for anything else the zero cursor, which is that of the first page.
func readCursor(s string) audit.Cursor {
	at, id, _ := strings.Cut(s, "-")
	ms, err := strconv.ParseInt(at, 10, 64)
	if err != nil || ms <= 0 || uuid.Validate(id) != nil {
		return audit.Cursor{}
	}
	return audit.Cursor{At: time.UnixMilli(ms), ID: id}
}

// questionable are the events of which users can state whether they caused them.
var questionable = map[string]bool{
	audit.UserSignedIn: true, audit.UserSignInFailed: true, audit.ConsentGiven: true, audit.PasskeyCreated: true,
	audit.PasskeyRenamed: true, audit.PasskeyDeleted: true, audit.UserTOTPSet: true, audit.UserTOTPRemoved: true,
	audit.RecoveryCodesCreated: true, audit.RecoveryCodeUsed: true, audit.BrowserRemembered: true,
	audit.UserPasswordChanged: true, audit.UserPasswordReset: true, audit.UserEmailChanged: true,
	audit.UserExported: true, audit.UserDeletionScheduled: true,
}

// activity returns the events of the account before a cursor, newest first, and the cursor of the next page, or the
// zero cursor.
func (p *Pages) activity(
	r *http.Request, user *identity.SignedInUser, before audit.Cursor, limit int,
) (views []activityView, next audit.Cursor, err error) {
	rows, err := p.store.Audit.AccountRows(r.Context(), user.User.ID, before, limit)
	if err != nil {
		return nil, next, err
	}
	if len(rows) == limit {
		next = audit.Cursor{At: rows[limit-1].At, ID: rows[limit-1].ID}
	}
	decided, err := p.statements(r, user, rows)
	if err != nil {
		return nil, next, err
	}
	now := p.store.Now()
	for _, row := range rows {
		text := p.activityText(r, row)
		if text == "" {
			continue
		}
		views = append(views, activityView{
			ID: row.ID, Path: p.pages.Path(activityPath + "/" + row.ID), Text: text,
			At: p.pages.NewTime(r, row.At, now), Address: row.Address,
			Browser: p.pages.Language(r).Browser(row.UserAgent), Alarming: row.Event == audit.UserSignInFailed,
			ByOther:   isByOther(row, user.User.ID),
			Decidable: isQuestionable(row, user.User.ID, now) && decided[row.ID] == "",
			Confirmed: decided[row.ID] == audit.ActivityConfirmed,
			Reported:  decided[row.ID] == audit.ActivityReported,
			FormToken: p.formToken(user, "activity", row.ID),
		})
	}
	return views, next, nil
}

// statements returns what the user has stated about events of the account, on any page: the type of the event with the
// statement, by the id of the event that it is about. A report prevails over a confirmation.
func (p *Pages) statements(
	r *http.Request, user *identity.SignedInUser, events []audit.Row,
) (map[string]string, error) {
	stated := map[string]string{}
	if len(events) == 0 {
		return stated, nil
	}
	rows, err := p.store.Audit.Statements(r.Context(), user.User.ID,
		events[len(events)-1].At, events[0].At.Add(decidableFor+24*time.Hour)) // the form may have been open for a day
	for _, row := range rows {
		var detail struct{ Confirmed, Reported string }
		_ = json.Unmarshal([]byte(row.Detail), &detail) // no statement without an id
		if id := detail.Confirmed + detail.Reported; stated[id] != audit.ActivityReported {
			stated[id] = row.Event
		}
	}
	return stated, err
}

// isQuestionable reports whether the user can state whether they caused an event.
func isQuestionable(row audit.Row, userID string, now time.Time) bool {
	return questionable[row.Event] && !isByOther(row, userID) && now.Sub(row.At) < decidableFor
}

// isByOther reports whether an operator or the server caused an event.
func isByOther(row audit.Row, userID string) bool {
	return row.Actor != "user:"+userID && row.Actor != "anonymous"
}

// checkStatement returns an error, or a redirect to the events, when the user cannot state whether they caused an
// event. Statements are limited, because each stores a row, and a report ends sign-ins: an attacker with a session must
// not be able to keep the user from signing in by repeating it.
func (p *Pages) checkStatement(r *http.Request, user *identity.SignedInUser, id string, mine bool) error {
	row, err := p.store.Audit.AccountRow(r.Context(), user.User.ID, id)
	if errors.Is(err, storage.ErrNotFound) {
		return p.pages.NotFound()
	}
	if err != nil {
		return err
	}
	decided, err := p.statements(r, user, []audit.Row{row})
	if err != nil {
		return err
	}
	stated := decided[row.ID]
	if !isQuestionable(row, user.User.ID, p.store.Now()) || stated == audit.ActivityReported || mine && stated != "" {
		return page.RedirectTo(activityPath)
	}
	count := ratelimit.Count{Limit: ratelimit.AccountReport, Key: user.User.ID}
	if mine {
		count.Limit = ratelimit.AccountChange
	}
	return protocol.LimitError(p.limiter.Count(r.Context(), count), "Too many changes of your account.")
}

// decidableFor is how long users can state whether they caused an event.
const decidableFor = 30 * 24 * time.Hour

// activityText returns the description of an event, or "" for one that users do not see.
func (p *Pages) activityText(r *http.Request, row audit.Row) string {
	key := "activity." + strings.ReplaceAll(row.Event, ".", "_")
	text := p.pages.Text(r, key)
	if !strings.Contains(text, "%s") {
		return text
	}
	name := p.pages.Text(r, "activity.unknown_client")
	if client, err := p.store.Client(r.Context(), row.ClientID); err == nil {
		name = display.NameOr(client.DisplayName(), name)
	}
	return p.pages.Text(r, key, name)
}

// DecideActivity serves POST /account/activity/{id}: the user states whether they caused an event. If not, all other
// browsers are signed out, and the next page has what to do next.
func (p *Pages) DecideActivity(w http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	user, form, err := p.readForm(r, "activity", id)
	if err != nil {
		return err
	}
	if err := p.checkStatement(r, user, id, form.Get("decision") == "mine"); err != nil {
		return err
	}
	if form.Get("decision") == "mine" {
		if err := p.store.ConfirmActivity(r.Context(), user.User.ID, id); err != nil {
			return err
		}
		return page.RedirectTo(activityPath + "?confirmed")
	}
	if err := p.users.EndOtherSessions(r.Context(), user, id); err != nil {
		return sessionEnded(err, activityPath)
	}
	if err := p.users.KeepDevice(w, r, user.User); err != nil {
		return err
	}
	return p.afterReport(r, user)
}

// afterReport redirects a user who reported an event to the next step. An attacker may have added factors; this session
// may remove them only if it may change the account: otherwise it may be the attacker's.
func (p *Pages) afterReport(r *http.Request, user *identity.SignedInUser) error {
	recent, _, err := p.users.RecentFactors(r.Context(), user.User.ID)
	switch {
	case err != nil:
		return err
	case len(recent) == 0:
		return page.RedirectTo(activityPath + "?reported")
	}
	f, err := p.users.Factors(r.Context(), user.User.ID)
	if err != nil {
		return err
	}
	mayChange, err := p.users.MayChangeAccount(r.Context(), user, f)
	switch {
	case err != nil:
		return err
	case mayChange:
		return page.RedirectTo(securityPath + "?reported-factor")
	case p.users.MailAvailable():
		return page.RedirectTo(activityPath + "?reported-reset")
	}
	return page.RedirectTo(activityPath + "?reported-no-mail")
}
