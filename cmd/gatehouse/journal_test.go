package main

import (
	"errors"
	"net/http"
	"testing"
)

// journal is what one worker received, and what it sent without a response.
type journal struct {
	active, revoked []string // access tokens
	refresh         string   // the newest refresh token
	sent            string   // a refresh token that was sent, without a response
	ended           []string // refresh tokens whose grant the worker revoked
	codes           []string // issued and not sent
	unsure          string   // a code that was sent, without a response
	step            int
}

// succeeded reports whether a request succeeded. Any response but success is an error.
func succeeded(t *testing.T, a response, what string) bool {
	t.Helper()
	if a.err == nil && a.status != http.StatusOK {
		t.Errorf("%s: %s, want 200", what, a)
	}
	return a.err == nil && a.status == http.StatusOK
}

// work sends the next kind of request. It reports whether there was a response.
func (j *journal) work(t *testing.T, c *caller) bool {
	t.Helper()
	j.step++
	switch {
	case j.refresh == "" || j.step%7 == 1:
		return j.startGrant(t, c)
	case j.step%7 == 2:
		return j.requestServiceToken(t, c)
	case j.step%7 == 3:
		return j.revokeServiceToken(t, c)
	case j.step%21 == 4:
		return j.revokeGrant(t, c)
	case j.step%7 == 5:
		return j.introspectNewest(t, c)
	default:
		return j.rotate(t, c)
	}
}

// startGrant requests a code, and exchanges it except for a few that stay unused.
func (j *journal) startGrant(t *testing.T, c *caller) bool {
	t.Helper()
	code, err := c.requestCode()
	if errors.Is(err, errNoCode) {
		t.Error(err)
	}
	if err != nil {
		return false
	}
	if j.step%14 == 1 && len(j.codes) < 5 {
		j.codes = append(j.codes, code)
		return true
	}
	j.unsure = code
	a := c.exchange(code)
	if !succeeded(t, a, "code exchange") {
		return false
	}
	j.unsure, j.refresh = "", a.text("refresh_token")
	j.active = append(j.active, a.text("access_token"))
	return true
}

func (j *journal) requestServiceToken(t *testing.T, c *caller) bool {
	t.Helper()
	a := c.serviceToken()
	if !succeeded(t, a, "client credentials") {
		return false
	}
	j.active = append(j.active, a.text("access_token"))
	return true
}

func (j *journal) revokeServiceToken(t *testing.T, c *caller) bool {
	t.Helper()
	a := c.serviceToken()
	if !succeeded(t, a, "client credentials") {
		return false
	}
	token := a.text("access_token")
	if !succeeded(t, c.revoke(c.serviceID, c.serviceKey, token), "revocation of an access token") {
		return false
	}
	j.revoked = append(j.revoked, token)
	return true
}

// revokeGrant revokes the grant, and with it every access token of it.
func (j *journal) revokeGrant(t *testing.T, c *caller) bool {
	t.Helper()
	token := j.refresh
	j.refresh = ""
	j.active = nil
	if !succeeded(t, c.revoke(c.appID, c.appKey, token), "revocation of a grant") {
		return false
	}
	j.ended = append(j.ended, token)
	return true
}

func (j *journal) introspectNewest(t *testing.T, c *caller) bool {
	t.Helper()
	if len(j.active) == 0 {
		return true
	}
	a := c.introspect(j.active[len(j.active)-1])
	if succeeded(t, a, "introspection") && a.body["active"] != true {
		t.Errorf("introspection of an issued token: %s, want active", a)
	}
	return a.err == nil
}

func (j *journal) rotate(t *testing.T, c *caller) bool {
	t.Helper()
	j.sent = j.refresh
	a := c.refresh(j.refresh)
	if !succeeded(t, a, "refresh") {
		return false
	}
	j.sent, j.refresh = "", a.text("refresh_token")
	j.active = append(j.active, a.text("access_token"))
	return true
}

// check verifies that a restarted server has everything that the worker received.
func (j *journal) check(t *testing.T, c *caller) {
	t.Helper()
	for _, token := range j.active {
		if a := c.introspect(token); a.body["active"] != true {
			t.Errorf("introspection of an issued token after the restart: %s, want active", a)
		}
	}
	for _, token := range j.revoked {
		if a := c.introspect(token); a.status != http.StatusOK || a.body["active"] != false {
			t.Errorf("introspection of a revoked token after the restart: %s, want not active", a)
		}
	}
	for _, token := range j.ended {
		if a := c.refresh(token); a.text("error") != "invalid_grant" {
			t.Errorf("refresh of a revoked grant after the restart: %s, want invalid_grant", a)
		}
	}
	for _, code := range j.codes {
		if a := c.exchange(code); a.status != http.StatusOK {
			t.Errorf("exchange of an issued code after the restart: %s, want 200", a)
		}
	}
	if j.unsure != "" {
		if a := c.exchange(j.unsure); a.status != http.StatusOK && a.text("error") != "invalid_grant" {
			t.Errorf("exchange of a code whose response was lost: %s, want 200 or invalid_grant", a)
		}
	}
	// With or without the response, this token, sent again, continues the family.
	if token := j.refresh; token != "" {
		a := c.refresh(token)
		if a.status != http.StatusOK {
			t.Errorf("refresh after the restart (response lost: %t): %s, want 200", j.sent != "", a)
		}
		j.refresh = a.text("refresh_token")
	}
	j.codes, j.unsure, j.sent = nil, "", ""
	j.active = j.active[max(0, len(j.active)-20):]
}
