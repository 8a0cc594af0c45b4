package page

import (
	"net/http"
	"time"

	"gatehouse/storage/reqevent"
)

// Wait returns how long a user must wait, in the language of the page.
func (p *Renderer) Wait(r *http.Request, d time.Duration) string {
	if d < 90*time.Second {
		return p.Text(r, "wait.seconds", int((d+time.Second-1)/time.Second))
	}
	return p.Text(r, "wait.minutes", int((d+time.Minute-1)/time.Minute))
}

// Time is a time on a page.
type Time struct {
	ISO   string // RFC 3339
	Text  string // in the language of the page, in the time zone of the user or in UTC
	Local bool   // the user has set no time zone, so that the browser may show the time in its own
}

// NewTime returns the view of a time in the time zone of the user who is signed in. now is the present.
func (p *Renderer) NewTime(r *http.Request, t, now time.Time) Time {
	zone := reqevent.FromContext(r.Context()).UserZone
	location, err := time.LoadLocation(zone)
	if zone == "" || err != nil {
		text := p.Language(r).Time(t.UTC(), now) + " UTC"
		return Time{ISO: t.UTC().Format(time.RFC3339), Text: text, Local: true}
	}
	return Time{ISO: t.UTC().Format(time.RFC3339), Text: p.Language(r).Time(t.In(location), now)}
}
