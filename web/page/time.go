package page

import (
	"net/http"
	"time"

	"gatehouse/storage/reqevent"
)

// Wait returns how long a user must wait, in the language of the page.
func (p *Renderer) Wait(r *http.Request, d time.Duration) string {
	unit, key := time.Second, "wait.seconds"
	switch {
	case d >= 2*day:
		unit, key = day, "wait.days"
	case d > 2*time.Hour:
		unit, key = time.Hour, "wait.hours"
	case d >= 90*time.Second:
		unit, key = time.Minute, "wait.minutes"
	}
	return p.Text(r, key, int((d+unit-1)/unit))
}

const day = 24 * time.Hour

// Time is a time on a page.
type Time struct {
	ISO   string // RFC 3339
	Text  string // in the language of the page, in the time zone of the user or in UTC
	Local bool   // the user has set no time zone, so that the browser may show the time in its own
}

// zone returns the time zone of the user who is signed in, or UTC.
func zone(r *http.Request) *time.Location {
	location, err := time.LoadLocation(reqevent.FromContext(r.Context()).UserZone)
	if err != nil {
		return time.UTC
	}
	return location
}

// Date returns the day of a time, in the time zone of the user who is signed in.
func (p *Renderer) Date(r *http.Request, t time.Time) string {
	return p.Language(r).Date(t.In(zone(r)))
}

// DateTime returns a time with its day and zone, in the time zone of the user who is signed in.
func (p *Renderer) DateTime(r *http.Request, t time.Time) string {
	t = t.In(zone(r))
	return p.Text(r, "date.time", p.Language(r).Date(t), t.Format("15:04 MST"))
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
