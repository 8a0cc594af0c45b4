package importer

import (
	"context"
	"encoding/json"
)

// authentikRecord is a record of `ak dumpdata authentik_core.user authentik_core.group`, in the format of Django.
type authentikRecord struct {
	Model  string          `json:"model"`
	Key    any             `json:"pk"`
	Fields json.RawMessage `json:"fields"`
}

type authentikGroup struct {
	Name string `json:"name"`
}

type authentikUser struct {
	UUID       string         `json:"uuid"`
	Username   string         `json:"username"`
	Name       string         `json:"name"`
	Email      string         `json:"email"`
	Password   string         `json:"password"`
	IsActive   bool           `json:"is_active"`
	Type       string         `json:"type"`
	Attributes map[string]any `json:"attributes"`
	Groups     []string       `json:"groups"`
	OldGroups  []string       `json:"ak_groups"` // before 2025.12
}

// authentik imports `ak dumpdata`. Groups may follow the users that are in them, so the files are read twice. The sub
// is the UUID of the user: by default authentik uses a hash instead, which another server cannot compute for new users.
func (im *Importer) authentik(ctx context.Context, files []string) error {
	p, err := im.newProgress(files, 2)
	if err != nil {
		return err
	}
	im.report.fix(fixNoFactors, "authentik")
	names := map[string]string{} // of groups by their ids
	if err := im.eachFile(files, p, func(in *input) error {
		return eachObject(in, "records", func(entry int, r authentikRecord, _ error) error {
			id, ok := r.Key.(string)
			if !ok || r.Model != authentikGroupModel {
				return nil
			}
			g, invalid := decodeFields[authentikGroup](r.Fields)
			if invalid != nil {
				im.report.Groups.Read++
				im.report.Groups.Invalid++
				im.report.problem(in.at("entry %d", entry), invalid.Error())
				return nil
			}
			names[id] = g.Name
			return nil
		})
	}); err != nil {
		return err
	}
	return im.eachFile(files, p, func(in *input) error {
		return eachObject(in, "records", func(entry int, r authentikRecord, invalid error) error {
			if invalid == nil && r.Model != "authentik_core.user" {
				return nil
			}
			var a authentikUser
			if invalid == nil {
				a, invalid = decodeFields[authentikUser](r.Fields)
			}
			return im.addAuthentik(ctx, a, names, user{location: in.at("entry %d", entry), invalid: invalid})
		})
	})
}

// authentikGroupModel is the model of the records of groups.
const authentikGroupModel = "authentik_core.group"

// decodeFields decodes the fields of a record. It returns a *recordError for those of the wrong type.
func decodeFields[T any](fields json.RawMessage) (v T, invalid error) {
	if len(fields) == 0 {
		return v, recordErrorf("the record has no fields")
	}
	return v, typeError(json.Unmarshal(fields, &v)) // the file has been parsed, so the syntax is valid
}

// addAuthentik adds a user. u has the location of the record, and the reason if it cannot be imported.
func (im *Importer) addAuthentik(ctx context.Context, a authentikUser, names map[string]string, u user) error {
	if a.Type == "service_account" || a.Type == "internal_service_account" {
		im.report.Users.Read++
		im.report.Users.Skipped++
		im.report.lose("service account")
		return nil
	}
	u.id, u.disabled, u.attributes = a.UUID, !a.IsActive, anyValues(a.Attributes)
	delete(u.attributes, "settings") // of authentik's own pages
	u.new.Username, u.new.Email, u.new.Name = a.Username, a.Email, a.Name
	if a.Password != "" && a.Password[0] != '!' { // Django's mark of an unusable password
		u.parseHash(a.Password)
	}
	for _, id := range append(a.Groups, a.OldGroups...) {
		if name, ok := names[id]; ok {
			u.groups = append(u.groups, sourceGroup{name: name})
		} else {
			im.report.lose("membership in a group that the file does not have")
		}
	}
	return im.add(ctx, u)
}
