package account

import (
	"errors"
	"net/http"

	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/web/page"
)

type sessionView struct {
	ID, Path, Browser, Address, FormToken string
	Since, LastSeen                       page.Time
	Current                               bool
}

type sessionsPage struct {
	accountLayout
	Sessions    []sessionView
	OthersToken string // of the form that signs out everywhere else
}

// ShowSessions serves GET /account/sessions.
func (p *Pages) ShowSessions(w http.ResponseWriter, r *http.Request) error {
	user, err := p.currentUser(r)
	if err != nil {
		return err
	}
	data := sessionsPage{OthersToken: p.formToken(user, "end-others", "")}
	if data.accountLayout, err = p.newLayout(r, user, sessionsPath, "account.sessions_short"); err != nil {
		return err
	}
	if data.Sessions, err = p.sessions(r, user); err != nil {
		return err
	}
	return p.pages.Render(w, http.StatusOK, "sessions", data)
}

// sessions returns the sessions of the user, the one of this browser first.
func (p *Pages) sessions(r *http.Request, user *identity.SignedInUser) ([]sessionView, error) {
	rows, err := p.users.Sessions(r, user.User)
	if err != nil {
		return nil, err
	}
	now := p.store.Now()
	views := make([]sessionView, 0, len(rows))
	for _, session := range rows {
		view := sessionView{
			ID: session.ID, Path: p.pages.Path(sessionsPath + "/" + session.ID + "/end"),
			Browser: p.pages.Language(r).Browser(session.UserAgent), Address: session.Address,
			Since: p.pages.NewTime(r, session.AuthTime, now), LastSeen: p.pages.NewTime(r, session.LastSeenAt, now),
			FormToken: p.formToken(user, "end", session.ID), Current: session.ID == user.Session.ID,
		}
		if view.Current {
			views = append([]sessionView{view}, views...)
			continue
		}
		views = append(views, view)
	}
	return views, nil
}

// EndSession serves POST /account/sessions/{id}/end.
func (p *Pages) EndSession(_ http.ResponseWriter, r *http.Request) error {
	id := r.PathValue("id")
	user, _, err := p.readForm(r, "end", id)
	if err != nil {
		return err
	}
	err = p.users.EndSession(r.Context(), user, id)
	if err != nil && !errors.Is(err, storage.ErrNotFound) { // it ended long ago
		return sessionEnded(err, sessionsPath)
	}
	return page.RedirectTo(sessionsPath + "?ended")
}

// EndOtherSessions serves POST /account/sessions/end-others, which signs the user out everywhere else.
func (p *Pages) EndOtherSessions(_ http.ResponseWriter, r *http.Request) error {
	user, _, err := p.readForm(r, "end-others", "")
	if err != nil {
		return err
	}
	if err := p.users.EndOtherSessions(r.Context(), user, ""); err != nil {
		return sessionEnded(err, sessionsPath)
	}
	return page.RedirectTo(sessionsPath + "?others-ended")
}
