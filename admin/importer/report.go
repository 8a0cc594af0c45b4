package importer

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"gatehouse/display"
)

const (
	// maxListed is how many problems, and how many items to fix, a report lists; the rest is only counted.
	maxListed = 100
	// maxLosses is how many kinds of losses a report has; they may have names of the file.
	maxLosses = 500
	// maxText is how many characters of a line are reported.
	maxText = 400
)

// Report is the result of an import.
type Report struct {
	Source    string           `json:"source"`
	DryRun    bool             `json:"dry_run"`
	Users     Counts           `json:"users"`
	Passwords map[string]int64 `json:"passwords"` // of created users by their kind, or NoPassword
	Factors   map[string]int64 `json:"factors"`   // other than passwords of created users by their kind
	Groups    Counts           `json:"groups"`
	Roles     Counts           `json:"roles"`
	Clients   Counts           `json:"clients"`
	Losses    []Loss           `json:"losses"`   // the most frequent first
	Fix       []string         `json:"fix"`      // what the operator should change
	Problems  []Problem        `json:"problems"` // records that were not imported
	// The counts include those that are not listed.
	FixCount     int64 `json:"fix_count"`
	ProblemCount int64 `json:"problem_count"`

	losses map[string]int64
	all    io.Writer // gets all of Fix and Problems; nil for none
	err    error     // of all
}

// The kinds of factors in a Report.
const (
	FactorTOTP        = "TOTP authenticator"
	FactorPasskey     = "passkey"
	FactorSecurityKey = "security key"
)

// NoPassword is the kind of the password of users without one in a Report.
const NoPassword = "none"

// Counts are numbers of records.
type Counts struct {
	Read      int64 `json:"read"`
	Created   int64 `json:"created"`
	Unchanged int64 `json:"unchanged"` // that existed: imported before, or a group with the name
	Conflicts int64 `json:"conflicts"` // with other records
	Invalid   int64 `json:"invalid"`
	Skipped   int64 `json:"skipped"` // that have no counterpart, such as service accounts
}

// Loss is a kind of data that is not imported.
type Loss struct {
	What  string `json:"what"`
	Count int64  `json:"count"`
}

// Problem is a record that was not imported.
type Problem struct {
	Location string `json:"location"` // the file with the line or entry
	Reason   string `json:"reason"`
}

// IsEmpty reports whether the import has found no records.
func (r *Report) IsEmpty() bool {
	return r.Users.Read+r.Groups.Read+r.Roles.Read+r.Clients.Read+r.ProblemCount == 0
}

func newReport(dryRun bool, all io.Writer) *Report {
	return &Report{
		all: all, DryRun: dryRun, Passwords: map[string]int64{}, Factors: map[string]int64{}, losses: map[string]int64{},
		Losses: []Loss{}, Fix: []string{}, Problems: []Problem{},
	}
}

// lose counts something that is not imported.
func (r *Report) lose(format string, args ...any) {
	what := shorten(fmt.Sprintf(format, args...))
	if _, ok := r.losses[what]; !ok && len(r.losses) >= maxLosses {
		what = "other data"
	}
	r.losses[what]++
}

func shorten(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}

// write adds a line to the list of all items.
func (r *Report) write(item string) {
	if r.all != nil && r.err == nil {
		_, r.err = fmt.Fprintln(r.all, display.Escape(item))
	}
}

// Finish sorts the losses. Call it before the report is printed.
func (r *Report) Finish() {
	r.Losses = r.Losses[:0]
	for what, n := range r.losses {
		r.Losses = append(r.Losses, Loss{what, n})
	}
	slices.SortFunc(r.Losses, func(a, b Loss) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.What, b.What))
	})
}

// fix adds something that the operator should change.
func (r *Report) fix(format string, args ...any) {
	item := shorten(fmt.Sprintf(format, args...))
	if slices.Contains(r.Fix, item) {
		return
	}
	r.FixCount++
	r.write("fix: " + item)
	if len(r.Fix) < maxListed {
		r.Fix = append(r.Fix, item)
	}
}

// problem adds a record that is not imported.
func (r *Report) problem(location, reason string) {
	location, reason = shorten(location), shorten(reason)
	r.ProblemCount++
	r.write("not imported: " + location + ": " + reason)
	if len(r.Problems) < maxListed {
		r.Problems = append(r.Problems, Problem{location, reason})
	}
}
