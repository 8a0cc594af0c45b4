package importer

import (
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"gatehouse/display"
	"gatehouse/storage"
)

// The columns of a CSV file besides the claims of a profile, and the members of JSON lines.
const (
	columnID            = "sub"
	columnUsername      = "username"
	columnEmail         = "email"
	columnEmailVerified = "email_verified"
	columnPhoneVerified = "phone_number_verified"
	columnName          = "name"
	columnHash          = "password_hash"
	columnGroups        = "groups"
	columnDisabled      = "disabled"
	attributePrefix     = "attribute:"
)

var columns = append([]string{
	columnID, columnUsername, columnEmail, columnEmailVerified, columnPhoneVerified, columnName, columnHash, columnGroups,
	columnDisabled,
}, storage.ProfileClaims()...)

// errClearPassword is returned for a file with passwords.
var errClearPassword = errors.New("passwords in clear are not imported; hash them first, for example with bcrypt, " +
	"and name the column or member password_hash")

// csv imports a file whose first line has the names of the columns. Groups are separated by spaces or semicolons.
func (im *Importer) csv(ctx context.Context, files []string) error {
	p, err := im.newProgress(files, 1)
	if err != nil {
		return err
	}
	return im.eachFile(files, p, func(in *input) error {
		in.skipBOM()
		r := csv.NewReader(in)
		r.ReuseRecord, r.TrimLeadingSpace = true, true
		first, err := r.Read()
		if err != nil {
			return fmt.Errorf("%s: read the names of the columns: %w", in.name, err)
		}
		header := slices.Clone(first)
		for i, name := range header {
			header[i] = strings.ToLower(strings.TrimSpace(name))
			if err := checkColumn(header[i]); err != nil {
				return fmt.Errorf("%s:1: %w", in.name, err)
			}
		}
		for {
			in.bound.next(maxValue)
			record, err := r.Read()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return fmt.Errorf("%s: %w", in.name, err) // csv names the line
			}
			line, _ := r.FieldPos(0)
			if err := im.addCSV(ctx, header, record, in.name+":"+strconv.Itoa(line)); err != nil {
				return err
			}
		}
	})
}

// checkColumn returns an error for a column that is not supported.
func checkColumn(name string) error {
	if name == "password" {
		return errClearPassword
	}
	if slices.Contains(columns, name) || strings.HasPrefix(name, attributePrefix) {
		return nil
	}
	hint := "supported are " + strings.Join(columns, ", ") + " and attribute:NAME"
	if near := display.Nearest(name, columns); near != "" {
		hint = "did you mean " + near + "?"
	}
	return fmt.Errorf("the column %q is not supported; %s", name, hint)
}

func (im *Importer) addCSV(ctx context.Context, header, record []string, location string) error {
	u := user{location: location, attributes: map[string][]string{}}
	for i, value := range record {
		name := header[i]
		if value = strings.TrimSpace(value); value == "" {
			continue
		}
		var invalid error
		switch name {
		case columnID:
			u.id = value
		case columnUsername:
			u.new.Username = value
		case columnEmail:
			u.new.Email = value
		case columnName:
			u.new.Name = value
		case columnHash:
			u.parseHash(value)
		case columnGroups:
			u.groups = groupsNamed(strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == ';' }))
		case columnEmailVerified:
			u.new.EmailVerified, invalid = strconv.ParseBool(strings.ToLower(value))
		case columnPhoneVerified:
			u.new.PhoneVerified, invalid = strconv.ParseBool(strings.ToLower(value))
		case columnDisabled:
			u.disabled, invalid = strconv.ParseBool(strings.ToLower(value))
		default:
			if attribute, ok := strings.CutPrefix(name, attributePrefix); ok {
				u.attributes[attribute] = []string{value}
			} else {
				*u.new.Profile.Field(name) = value
			}
		}
		if invalid != nil {
			return fmt.Errorf("%s: the column %s has the value %q, not true or false", location, name, value)
		}
	}
	return im.add(ctx, u)
}

// jsonUser is a line of a JSON lines file: the claims of OpenID Connect, and members of Gatehouse.
type jsonUser struct {
	Sub           string              `json:"sub"`
	Username      string              `json:"username"`
	Email         string              `json:"email"`
	EmailVerified bool                `json:"email_verified"`
	PhoneVerified bool                `json:"phone_number_verified"`
	Name          string              `json:"name"`
	Hash          string              `json:"password_hash"`
	Password      json.RawMessage     `json:"password"`
	Disabled      bool                `json:"disabled"`
	Groups        []string            `json:"groups"`
	Roles         map[string][]string `json:"roles"` // names by the identifier of their resource
	Attributes    map[string]any      `json:"attributes"`
	storage.Profile
}

// jsonLines imports a file with a JSON object per line, or an array of them.
func (im *Importer) jsonLines(ctx context.Context, files []string) error {
	p, err := im.newProgress(files, 1)
	if err != nil {
		return err
	}
	return im.eachFile(files, p, func(in *input) error {
		return eachObject(in, "users", func(entry int, j jsonUser) error {
			location := in.at("entry %d", entry)
			if len(j.Password) > 0 {
				return fmt.Errorf("%s: %w", location, errClearPassword)
			}
			u := user{
				location: location, id: j.Sub, disabled: j.Disabled, groups: groupsNamed(j.Groups),
				attributes: anyValues(j.Attributes),
			}
			u.new.Username, u.new.Email, u.new.Name, u.new.Profile = j.Username, j.Email, j.Name, j.Profile
			u.new.EmailVerified, u.new.PhoneVerified = j.EmailVerified, j.PhoneVerified
			u.parseHash(j.Hash)
			for resource, names := range j.Roles {
				for _, name := range names {
					r, err := im.role(ctx, resource, name, "")
					if err != nil {
						return fmt.Errorf("%s: %w", location, err)
					}
					u.roles = append(u.roles, r)
				}
			}
			return im.add(ctx, u)
		})
	})
}

// anyValues returns the items of attributes that are strings, numbers, booleans or lists of them.
func anyValues(attributes map[string]any) map[string][]string {
	out := map[string][]string{}
	for name, value := range attributes {
		list, ok := value.([]any)
		if !ok {
			list = []any{value}
		}
		for _, item := range list {
			switch v := item.(type) {
			case nil:
			case string:
				out[name] = append(out[name], v)
			case float64:
				out[name] = append(out[name], strconv.FormatFloat(v, 'f', -1, 64))
			case bool:
				out[name] = append(out[name], strconv.FormatBool(v))
			default:
				b, _ := json.Marshal(v) // what was decoded can be encoded
				out[name] = append(out[name], string(b))
			}
		}
	}
	return out
}
