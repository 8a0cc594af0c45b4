package importer

import (
	"context"
	"encoding/base64"
	"strings"

	"gatehouse/identity/passwordhash"
)

// auth0User is a line of Auth0's export: of the password hashes, which the support sends (_id, passwordHash), of the
// users-exports job (user_id), or in the schema of its import (password_hash, custom_password_hash).
type auth0User struct {
	UserID        string  `json:"user_id"`
	ObjectID      auth0ID `json:"_id"`
	Username      string  `json:"username"`
	Email         string  `json:"email"`
	EmailVerified bool    `json:"email_verified"`
	Name          string  `json:"name"`
	GivenName     string  `json:"given_name"`
	FamilyName    string  `json:"family_name"`
	Nickname      string  `json:"nickname"`
	Picture       string  `json:"picture"`
	PhoneNumber   string  `json:"phone_number"`
	PhoneVerified bool    `json:"phone_verified"`
	Blocked       bool    `json:"blocked"`
	PasswordHash  string  `json:"passwordHash"`
	ImportHash    string  `json:"password_hash"`
	CustomHash    struct {
		Hash struct {
			Value string `json:"value"`
		} `json:"hash"`
	} `json:"custom_password_hash"`
	AppMetadata  map[string]any `json:"app_metadata"`
	UserMetadata map[string]any `json:"user_metadata"`
	Identities   []struct {
		Provider string `json:"provider"`
	} `json:"identities"`
	MFAFactors []any `json:"mfa_factors"`
}

type auth0ID struct {
	OID string `json:"$oid"`
}

// auth0 imports exports of Auth0. The id of a user there, such as auth0|507f1f77bcf86cd799439011, is not a UUID.
func (im *Importer) auth0(ctx context.Context, files []string) error {
	p, err := im.newProgress(files, 1)
	if err != nil {
		return err
	}
	return im.eachFile(files, p, func(in *input) error {
		return eachObject(in, "users", func(entry int, a auth0User, invalid error) error {
			u := user{location: in.at("entry %d", entry), invalid: invalid, id: a.UserID, disabled: a.Blocked}
			if u.id == "" && a.ObjectID.OID != "" {
				u.id = "auth0|" + a.ObjectID.OID
			}
			u.attributes = anyValues(a.AppMetadata)
			for name, values := range anyValues(a.UserMetadata) {
				u.attributes[name] = append(u.attributes[name], values...)
			}
			u.new.Username, u.new.Email, u.new.Name = a.Username, a.Email, a.Name
			if u.new.Username == "" {
				u.new.Username = a.Email
			}
			if u.new.Name == a.Email {
				u.new.Name = "" // Auth0's default
			}
			u.new.EmailVerified, u.new.PhoneVerified = a.EmailVerified, a.PhoneVerified
			u.new.Profile.GivenName, u.new.Profile.FamilyName = a.GivenName, a.FamilyName
			u.new.Profile.Nickname, u.new.Profile.Picture = a.Nickname, a.Picture
			u.new.Profile.PhoneNumber = a.PhoneNumber
			for _, notation := range []string{a.PasswordHash, a.ImportHash, a.CustomHash.Hash.Value} {
				if u.hash == nil && u.hashError == nil {
					u.parseHash(notation)
				}
			}
			for _, i := range a.Identities {
				if i.Provider != "auth0" {
					im.report.lose("sign-in with %s", i.Provider)
				}
			}
			if u.lostFactor = len(a.MFAFactors) > 0; u.lostFactor {
				im.report.lose("second factor")
			}
			return im.add(ctx, u)
		})
	})
}

// firebaseUser is a user of `firebase auth:export`.
type firebaseUser struct {
	LocalID       string `json:"localId"`
	Email         string `json:"email"`
	EmailVerified bool   `json:"emailVerified"`
	PasswordHash  string `json:"passwordHash"`
	Salt          string `json:"salt"`
	DisplayName   string `json:"displayName"`
	PhotoURL      string `json:"photoUrl"`
	PhoneNumber   string `json:"phoneNumber"`
	Disabled      bool   `json:"disabled"`
	CustomClaims  string `json:"customAttributes"`
	Providers     []struct {
		ProviderID string `json:"providerId"`
	} `json:"providerUserInfo"`
	MFAInfo []any `json:"mfaInfo"`
}

// firebase imports the JSON file of `firebase auth:export`. The id of a user there is not a UUID.
func (im *Importer) firebase(ctx context.Context, files []string) error {
	p, err := im.newProgress(files, 1)
	if err != nil {
		return err
	}
	return im.eachFile(files, p, func(in *input) error {
		return eachObject(in, "users", func(entry int, f firebaseUser, invalid error) error {
			u := user{location: in.at("entry %d", entry), invalid: invalid, id: f.LocalID, disabled: f.Disabled}
			u.new.Username, u.new.Email, u.new.Name = f.Email, f.Email, f.DisplayName
			if u.new.Username == "" {
				u.new.Username = f.LocalID
			}
			u.new.EmailVerified, u.new.PhoneVerified = f.EmailVerified, f.PhoneNumber != ""
			u.new.Profile.Picture, u.new.Profile.PhoneNumber = f.PhotoURL, f.PhoneNumber
			if f.PasswordHash != "" {
				u.hash, u.hashError = im.firebaseHash(f)
			}
			for _, provider := range f.Providers {
				if provider.ProviderID != "password" {
					im.report.lose("sign-in with %s", provider.ProviderID)
				}
			}
			if f.CustomClaims != "" && f.CustomClaims != "{}" {
				im.report.lose("custom claims")
			}
			if u.lostFactor = len(f.MFAInfo) > 0; u.lostFactor {
				im.report.lose("second factor")
			}
			return im.add(ctx, u)
		})
	})
}

// firebaseHash returns the hash of a user, whose parts are in one of the alphabets of base64.
func (im *Importer) firebaseHash(f firebaseUser) (passwordhash.Hash, error) {
	sum, err := decodeBase64(f.PasswordHash)
	if err != nil {
		return nil, err
	}
	salt, err := decodeBase64(f.Salt)
	if err != nil {
		return nil, err
	}
	return passwordhash.NewFirebase(im.options.Firebase, salt, sum)
}

// decodeBase64 decodes base64 in either alphabet (RFC 4648 §4 and §5), with or without padding.
func decodeBase64(s string) ([]byte, error) {
	s = strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimRight(s, "="))
	return base64.RawStdEncoding.DecodeString(s)
}
