package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/identity"
	"gatehouse/storage"
)

// UserInformation is a user as commands print it and a later admin API returns it; members that OpenID Connect defines
// have the names of its claims.
type UserInformation struct {
	Sub        string     `json:"sub"`
	Username   string     `json:"username"`
	Email      string     `json:"email"`
	Name       string     `json:"name,omitempty"`
	Admin      bool       `json:"admin"`
	CreatedAt  time.Time  `json:"created_at"`
	DisabledAt *time.Time `json:"disabled_at,omitempty"`
	DeletionAt *time.Time `json:"deletion_at,omitempty"` // unless the user signs in before

	EmailVerified bool `json:"email_verified"`
	PhoneVerified bool `json:"phone_number_verified"`
	storage.Profile

	// Only UserDetail reads these.
	Factors    *FactorInformation         `json:"factors,omitempty"`
	Groups     []string                   `json:"groups,omitempty"`     // sorted
	Attributes map[string]json.RawMessage `json:"attributes,omitempty"` // by name, without constants
}

// FactorInformation describes how a user can authenticate.
type FactorInformation struct {
	Password      bool                 `json:"password"`
	TOTP          bool                 `json:"totp"`
	RecoveryCodes int                  `json:"recovery_codes"` // unused
	Passkeys      []PasskeyInformation `json:"passkeys"`
}

// PasskeyInformation is a passkey of a user.
type PasskeyInformation struct {
	Name         string     `json:"name"`
	AAGUID       string     `json:"aaguid,omitempty"` // the model of the authenticator
	Synced       bool       `json:"synced"`           // it can be copied to other devices of the user
	SecondFactor bool       `json:"second_factor"`    // it is only accepted after a password
	CreatedAt    time.Time  `json:"created_at"`
	LastUsedAt   *time.Time `json:"last_used_at,omitempty"`
}

// UserInformationOf returns the information about a user.
func UserInformationOf(u storage.User) UserInformation {
	return UserInformation{
		Sub: u.ID, Username: u.Username, Email: u.Email, Name: u.Name, Admin: u.Admin, CreatedAt: u.CreatedAt,
		DisabledAt: u.DisabledAt, DeletionAt: u.DeletionAt,
		EmailVerified: u.EmailVerifiedAt != nil, PhoneVerified: u.PhoneVerifiedAt != nil,
		Profile: u.Profile,
	}
}

// UserDetail returns the information about a user, with the factors, groups and attributes.
func (a *Admin) UserDetail(ctx context.Context, u storage.User) (UserInformation, error) {
	out := UserInformationOf(u)
	var err error
	if out.Factors, err = a.factors(ctx, u.ID); err != nil {
		return out, err
	}
	if out.Groups, err = a.store.UserGroups(ctx, u.ID); err != nil {
		return out, err
	}
	slices.Sort(out.Groups)
	values, err := a.store.UserAttributes(ctx, u.ID)
	out.Attributes = make(map[string]json.RawMessage, len(values))
	for name, value := range values {
		out.Attributes[name] = json.RawMessage(value)
	}
	return out, err
}

func (a *Admin) factors(ctx context.Context, userID string) (*FactorInformation, error) {
	f, err := a.store.Factors(ctx, userID)
	if err != nil {
		return nil, err
	}
	passkeys, err := a.store.Passkeys(ctx, userID)
	out := &FactorInformation{
		Password: f.Password, TOTP: f.TOTP, RecoveryCodes: f.RecoveryCodes, Passkeys: []PasskeyInformation{},
	}
	for _, p := range passkeys {
		out.Passkeys = append(out.Passkeys, PasskeyInformation{
			Name: p.Name, AAGUID: p.AAGUID, Synced: p.BackupEligible, SecondFactor: p.SecondFactor, CreatedAt: p.CreatedAt,
			LastUsedAt: p.LastUsedAt,
		})
	}
	return out, err
}

// User returns the user with a username, email address or sub. It returns storage.ErrNotFound when there is none.
func (a *Admin) User(ctx context.Context, name string) (storage.User, error) {
	return a.users.User(ctx, name)
}

// Users returns a page of users, sorted by username. Each word of a search is the beginning of a word of the username,
// email address or name; they are then sorted by that word.
func (a *Admin) Users(ctx context.Context, l List) (Page[storage.User], error) {
	return readPage(ctx, l, a.store.UserPage)
}

// CreateUser creates a user.
func (a *Admin) CreateUser(ctx context.Context, n identity.NewUser) (storage.User, error) {
	return a.users.Create(ctx, n)
}

// UpdateUser changes a user's name, email address, profile or attributes. A changed email address or phone number
// is not verified unless the changes set it.
func (a *Admin) UpdateUser(ctx context.Context, u storage.User, c identity.Changes) (storage.User, error) {
	return a.users.Update(ctx, u, c)
}

// SetPassword replaces a user's password and ends every session, grant and token of the user.
func (a *Admin) SetPassword(ctx context.Context, u storage.User, password string) error {
	return a.users.SetPassword(ctx, u, password)
}

// ResetFactors removes every factor of a user except the password, ends every session, grant and token, and notifies
// the user by email. The reason is stored in the audit log; it must not be empty. It returns storage.ErrNotFound when
// there is no such user.
func (a *Admin) ResetFactors(ctx context.Context, id, reason string) error {
	reason = strings.TrimSpace(reason)
	if n := utf8.RuneCountInString(reason); n == 0 || n > 200 {
		return errors.New("the reason must have 1 to 200 characters")
	}
	if err := CheckDisplayable(reason); err != nil {
		return fmt.Errorf("the reason: %w", err)
	}
	return a.store.ResetFactors(ctx, id, reason)
}

// DisableUser refuses the user until it is enabled, and ends every session, grant and token permanently.
func (a *Admin) DisableUser(ctx context.Context, id string) error {
	return a.store.DisableUser(ctx, id)
}

// EnableUser lets a disabled user sign in again.
func (a *Admin) EnableUser(ctx context.Context, id string) error {
	return a.store.EnableUser(ctx, id)
}

// DeleteUser deletes the user with its sessions and consents. Audit rows stay, and the username stays reserved.
func (a *Admin) DeleteUser(ctx context.Context, id string) error {
	return a.users.Delete(ctx, id)
}

// ScheduleUserDeletion deletes the user after a grace period, unless the user signs in before. It returns when.
func (a *Admin) ScheduleUserDeletion(ctx context.Context, u storage.User, grace time.Duration) (time.Time, error) {
	return a.users.ScheduleDeletion(ctx, u, grace, u.Profile.Locale)
}

// Invite creates an invitation and returns the path of its link, unless that is only in an email.
func (a *Admin) Invite(ctx context.Context, n identity.NewInvitation) (storage.Invitation, string, error) {
	return a.users.Invite(ctx, n)
}

// Invitations returns the invitations, the newest first.
func (a *Admin) Invitations(ctx context.Context) ([]storage.Invitation, error) {
	return a.store.Invitations(ctx)
}

// RevokeInvitation revokes an invitation that was not used. It returns storage.ErrNotFound when there is none.
func (a *Admin) RevokeInvitation(ctx context.Context, id string) error {
	return a.store.DeleteInvitation(ctx, id)
}

// ExportUser returns everything that is stored about the user.
func (a *Admin) ExportUser(ctx context.Context, u storage.User) (identity.Export, error) {
	return a.users.Export(ctx, u)
}
