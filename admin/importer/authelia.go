package importer

import (
	"context"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"

	"github.com/goccy/go-yaml"

	"gatehouse/storage"
)

// fixNoFactors is reported for a system whose export does not show who has a second factor.
const fixNoFactors = "the export of %s has no second factors: users who had one sign in with the password alone. " +
	"to require one, run `gatehouse group update GROUP --required-acr mfa`"

// autheliaFile is users_database.yml.
type autheliaFile struct {
	Users map[string]autheliaEntry `yaml:"users"`
}

// autheliaEntry is a user, or why it cannot be decoded.
type autheliaEntry struct {
	user    autheliaUser
	invalid error
}

// UnmarshalYAML implements yaml.InterfaceUnmarshaler. A value of the wrong type does not end the file.
func (e *autheliaEntry) UnmarshalYAML(decode func(v any) error) error {
	if err := decode(&e.user); err != nil {
		e.invalid = recordErrorf("%s", yamlReason(err))
	}
	return nil
}

type autheliaUser struct {
	Disabled    bool     `yaml:"disabled"`
	DisplayName string   `yaml:"displayname"`
	Password    string   `yaml:"password"`
	Email       string   `yaml:"email"`
	Groups      []string `yaml:"groups"`

	GivenName      string          `yaml:"given_name"`
	FamilyName     string          `yaml:"family_name"`
	MiddleName     string          `yaml:"middle_name"`
	Nickname       string          `yaml:"nickname"`
	Gender         string          `yaml:"gender"`
	Birthdate      string          `yaml:"birthdate"`
	Website        string          `yaml:"website"`
	Profile        string          `yaml:"profile"`
	Picture        string          `yaml:"picture"`
	Zoneinfo       string          `yaml:"zoneinfo"`
	Locale         string          `yaml:"locale"`
	PhoneNumber    string          `yaml:"phone_number"`
	PhoneExtension string          `yaml:"phone_extension"`
	Address        autheliaAddress `yaml:"address"`
	Extra          map[string]any  `yaml:"extra"`
}

type autheliaAddress struct {
	Street     string `yaml:"street_address"`
	Locality   string `yaml:"locality"`
	Region     string `yaml:"region"`
	PostalCode string `yaml:"postal_code"`
	Country    string `yaml:"country"`
}

// autheliaIdentifiers is the file of `authelia storage user identifiers export`: the subs that relying parties have.
type autheliaIdentifiers struct {
	Identifiers []struct {
		Service    string `yaml:"service"`
		SectorID   string `yaml:"sector_id"`
		Username   string `yaml:"username"`
		Identifier string `yaml:"identifier"`
	} `yaml:"identifiers"`
}

// authelia imports users_database.yml, and the subs of the users from the export of their opaque identifiers.
func (im *Importer) authelia(ctx context.Context, files []string) error {
	subs := map[string]string{} // by username
	if im.options.Identifiers != "" {
		var list autheliaIdentifiers
		if err := im.readYAML(im.options.Identifiers, &list); err != nil {
			return err
		}
		for _, i := range list.Identifiers {
			if i.Service == "openid" && i.SectorID == "" {
				subs[i.Username] = i.Identifier
			} else {
				im.report.lose("pairwise sub of a sector")
			}
		}
	}
	im.report.fix(fixNoFactors, "Authelia")
	for _, path := range files {
		var file autheliaFile
		if err := im.readYAML(path, &file); err != nil {
			return err
		}
		for _, name := range slices.Sorted(maps.Keys(file.Users)) {
			a := file.Users[name].user
			u := user{
				location: filepath.Base(path) + ": users", invalid: file.Users[name].invalid, id: subs[name],
				disabled: a.Disabled, groups: groupsNamed(a.Groups), attributes: anyValues(a.Extra),
			}
			u.new.Username, u.new.Email, u.new.Name, u.new.Profile = name, a.Email, a.DisplayName, a.profile()
			u.parseHash(a.Password)
			if err := im.add(ctx, u); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a autheliaUser) profile() storage.Profile {
	p := storage.Profile{
		GivenName: a.GivenName, FamilyName: a.FamilyName, MiddleName: a.MiddleName, Nickname: a.Nickname, Gender: a.Gender,
		Birthdate: a.Birthdate, Website: a.Website, Profile: a.Profile, Picture: a.Picture, Zoneinfo: a.Zoneinfo,
		Locale: a.Locale, PhoneNumber: a.PhoneNumber, Address: storage.Address(a.Address),
	}
	if p.PhoneNumber != "" && a.PhoneExtension != "" {
		p.PhoneNumber += ";ext=" + a.PhoneExtension
	}
	return p
}

// readYAML decodes a file. The error has the line.
func (im *Importer) readYAML(path string, v any) error {
	p, err := im.newProgress([]string{path}, 1)
	if err != nil {
		return err
	}
	return readFile(path, p, func(in *input) error {
		in.bound.next(maxList)
		b, err := io.ReadAll(in)
		if err != nil {
			return fmt.Errorf("%s: %w", in.name, err)
		}
		if err := yaml.Unmarshal(b, v); err != nil {
			// The error would have lines of the file, which may be password hashes.
			return fmt.Errorf("%s is not valid: %s", in.name, yamlReason(err))
		}
		return nil
	})
}

// yamlReason returns the reason and position of an error without the source.
func yamlReason(err error) string { return yaml.FormatError(err, false, false) }
