package importer

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

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

// errClearPassword is returned for a file or record with passwords.
var errClearPassword = recordErrorf("passwords in clear are not imported; hash them first, for example with bcrypt, " +
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
		r.ReuseRecord, r.TrimLeadingSpace, r.FieldsPerRecord = true, true, -1
		header, err := readHeader(r)
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%s is empty; its first line must have the names of the columns", in.name)
		}
		if err != nil {
			return fmt.Errorf("%s:1: %w", in.name, err)
		}
		for {
			in.bound.next(maxValue)
			record, err := r.Read()
			parse := (*csv.ParseError)(nil)
			switch {
			case errors.Is(err, io.EOF):
				return nil
			case errors.Is(err, csv.ErrBareQuote) && errors.As(err, &parse):
				// A value that does not begin with a quotation mark ends with its line, so the next line is a record.
				u := user{location: in.name + ":" + strconv.Itoa(parse.StartLine)}
				u.invalid = recordErrorf(`a value has a quotation mark: write the value in quotation marks, with "" for each ` +
					"in it")
				err = im.add(ctx, u)
			case err != nil:
				return fmt.Errorf("%s: %w", in.name, err) // csv names the line
			default:
				line, _ := r.FieldPos(0)
				err = im.addCSV(ctx, header, record, in.name+":"+strconv.Itoa(line))
			}
			if err != nil {
				return err
			}
		}
	})
}

// readHeader reads the names of the columns.
func readHeader(r *csv.Reader) ([]string, error) {
	first, err := r.Read()
	if err != nil {
		return nil, err
	}
	header := make([]string, len(first))
	for i, name := range first {
		name = strings.ToLower(strings.TrimSpace(name))
		if err := checkColumn(name, len(first)); err != nil {
			return nil, err
		}
		if slices.Contains(header, name) {
			return nil, fmt.Errorf("the column %s is there twice", name)
		}
		header[i] = name
	}
	return header, nil
}

// checkColumn returns an error unless a column is supported. n is the number of columns.
func checkColumn(name string, n int) error {
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
	if !utf8.ValidString(name) || strings.Contains(name, "\x00") {
		hint = "save the file as UTF-8"
	} else if n == 1 && strings.ContainsAny(name, ";\t|") {
		hint = "separate columns with commas"
	}
	return fmt.Errorf("the column %q is not supported; %s", name, hint)
}

func (im *Importer) addCSV(ctx context.Context, header, record []string, location string) error {
	u := user{location: location, attributes: map[string][]string{}}
	if len(record) != len(header) {
		u.invalid = recordErrorf("the number of columns is %d, and %d in the first line", len(record), len(header))
	}
	for i, value := range record[:min(len(record), len(header))] {
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
			u.invalid = recordErrorf("the column %s has the value %q, not true or false", name, value)
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
		return eachObject(in, "users", func(entry int, j jsonUser, invalid error) error {
			u := user{
				location: in.at("entry %d", entry), invalid: invalid, id: j.Sub, disabled: j.Disabled,
				groups: groupsNamed(j.Groups), attributes: anyValues(j.Attributes),
			}
			if len(j.Password) > 0 && string(j.Password) != "null" {
				u.invalid = errClearPassword
			}
			u.new.Username, u.new.Email, u.new.Name, u.new.Profile = j.Username, j.Email, j.Name, j.Profile
			u.new.EmailVerified, u.new.PhoneVerified = j.EmailVerified, j.PhoneVerified
			u.parseHash(j.Hash)
			for resource, names := range j.Roles {
				for _, name := range names {
					u.invalid = cmp.Or(u.invalid, im.checkRole(resource, name))
					u.roles = append(u.roles, storage.Role{Resource: resource, Name: name})
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
