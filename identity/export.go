package identity

import (
	"context"
	"encoding/json"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/audit"
)

// Export is everything that is stored about a user, except secrets and their hashes. Its members are read by the user
// and by programs, so their names stay.
type Export struct {
	ExportedAt time.Time                    `json:"exported_at"`
	User       exportedUser                 `json:"user"`
	Sessions   []exportedSession            `json:"sessions"`
	Records    map[string][]json.RawMessage `json:"records"` // by the table
	Events     []audit.Row                  `json:"events"`  // the oldest first
	Truncated  bool                         `json:"events_truncated,omitempty"`
}

type exportedUser struct {
	Sub           string          `json:"sub"`
	Username      string          `json:"preferred_username"`
	Email         string          `json:"email"`
	EmailVerified *time.Time      `json:"email_verified_at,omitempty"`
	Name          string          `json:"name,omitempty"`
	Profile       storage.Profile `json:"profile"`
	PhoneVerified *time.Time      `json:"phone_number_verified_at,omitempty"`
	Admin         bool            `json:"admin"`
	TermsVersion  string          `json:"terms_version,omitempty"`
	CreatedAt     time.Time       `json:"created_at"`
	UpdatedAt     time.Time       `json:"updated_at"`
	DisabledAt    *time.Time      `json:"disabled_at,omitempty"`
	DeletionAt    *time.Time      `json:"deletion_at,omitempty"`
}

type exportedSession struct {
	ID         string     `json:"id"`
	Address    string     `json:"address,omitempty"`
	UserAgent  string     `json:"user_agent,omitempty"`
	AuthTime   time.Time  `json:"auth_time"`
	ACR        string     `json:"acr"`
	AMR        []string   `json:"amr"`
	CreatedAt  time.Time  `json:"created_at"`
	LastSeenAt time.Time  `json:"last_seen_at"`
	ExpiresAt  time.Time  `json:"expires_at"`
	EndedAt    *time.Time `json:"ended_at,omitempty"`
	Postponed  *time.Time `json:"enrolment_postponed_at,omitempty"`
}

// maxExportedEvents bounds the memory of an export; `gatehouse audit export` has no bound.
const maxExportedEvents = 100_000

// Export returns everything that is stored about a user, and records that. Failed sign-ins are counted under keyed
// hashes, which are not in it.
func (u *Users) Export(ctx context.Context, user storage.User) (Export, error) {
	out := Export{ExportedAt: u.store.Now(), Sessions: []exportedSession{}, Events: []audit.Row{}, User: exportedUser{
		Sub: user.ID, Username: user.Username, Email: user.Email, EmailVerified: user.EmailVerifiedAt, Name: user.Name,
		Profile: user.Profile, PhoneVerified: user.PhoneVerifiedAt, Admin: user.Admin, TermsVersion: user.TermsVersion,
		CreatedAt: user.CreatedAt, UpdatedAt: user.UpdatedAt, DisabledAt: user.DisabledAt, DeletionAt: user.DeletionAt,
	}}
	sessions, err := u.store.AllSessions(ctx, user.ID)
	if err != nil {
		return out, err
	}
	for _, s := range sessions {
		out.Sessions = append(out.Sessions, exportedSession{
			ID: s.ID, Address: s.Address, UserAgent: s.UserAgent, AuthTime: s.AuthTime, ACR: s.ACR, AMR: s.AMR,
			CreatedAt: s.CreatedAt, LastSeenAt: s.LastSeenAt, ExpiresAt: s.ExpiresAt, EndedAt: s.EndedAt,
			Postponed: s.EnrolmentPostponedAt,
		})
	}
	if out.Records, err = u.store.ExportRows(ctx, user.ID); err != nil {
		return out, err
	}
	rows, err := u.store.Audit.Rows(ctx, audit.Filter{UserID: user.ID, Limit: maxExportedEvents})
	if err != nil {
		return out, err
	}
	for i := len(rows) - 1; i >= 0; i-- {
		out.Events = append(out.Events, rows[i])
	}
	out.Truncated = len(rows) == maxExportedEvents
	return out, u.store.Audit.Record(ctx, audit.Event{Type: audit.UserExported, UserID: user.ID})
}
