package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gatehouse/display"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
)

// operatorPrefix is the start of the name of every member of OperatorMetadata.
const operatorPrefix = "gatehouse_"

// ParseMetadata reads client metadata. Unknown members are ignored, as RFC 7591 §2 requires, with one exception: an
// unknown gatehouse_ member is an error, because the operator would not notice a misspelt one.
func ParseMetadata(b []byte) (Metadata, error) {
	var m Metadata
	if err := m.merge(b); err != nil {
		return Metadata{}, err
	}
	return m, nil
}

// merge changes the members that the JSON object has; null removes a member (RFC 7396).
func (m *Metadata) merge(patch []byte) error {
	var changes map[string]json.RawMessage
	if err := json.Unmarshal(patch, &changes); err != nil {
		return protocol.NewError(protocol.InvalidClientMetadata, "The client metadata must be a JSON object.")
	}
	if err := checkListLengths(changes); err != nil {
		return err
	}
	merged, err := jsonObject(m)
	if err != nil {
		return err
	}
	for name, value := range changes {
		if err := checkMemberName(name, value); err != nil {
			return err
		}
		switch {
		case !isMember(name):
			// Removed here, because encoding/json ignores the case of names.
		case isNull(value):
			delete(merged, name)
		default:
			merged[name] = value
		}
	}
	b, err := json.Marshal(merged)
	if err != nil {
		return err
	}
	var out Metadata
	if err := json.Unmarshal(b, &out); err != nil {
		return wrongTypeError(err)
	}
	*m = out
	return nil
}

// encryptionMembers are the members by which a client requests encrypted responses (OIDC Registration §2). A server
// that ignored one would send plain ones.
var encryptionMembers = []string{
	"id_token_encrypted_response_alg", "id_token_encrypted_response_enc",
	"userinfo_encrypted_response_alg", "userinfo_encrypted_response_enc",
}

// checkMemberName refuses a member that must not be ignored.
func checkMemberName(name string, value json.RawMessage) error {
	if slices.Contains(encryptionMembers, name) && !isNull(value) {
		return protocol.NewError(protocol.InvalidClientMetadata, "Encrypted responses are not supported; remove "+name+".")
	}
	if !strings.HasPrefix(name, operatorPrefix) {
		return nil
	}
	supported := memberNames(func(m member) bool { return m.isOperator })
	if !slices.Contains(supported, name) {
		return protocol.NewError(protocol.InvalidClientMetadata,
			name+" is not supported; the members that begin with "+operatorPrefix+" are "+strings.Join(supported, ", ")+".")
	}
	return nil
}

func isNull(value json.RawMessage) bool { return bytes.Equal(bytes.TrimSpace(value), []byte("null")) }

// jsonObject returns the members of v in JSON.
func jsonObject(v any) (map[string]json.RawMessage, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, err
	}
	out := map[string]json.RawMessage{}
	return out, json.Unmarshal(b, &out)
}

// checkListLengths refuses a list that is too long, as an array or a space-separated string, before it is parsed.
func checkListLengths(changes map[string]json.RawMessage) error {
	for _, m := range members() {
		if !m.isList {
			continue
		}
		var joined string
		var items []json.RawMessage
		n := 0
		if raw := changes[m.name]; json.Unmarshal(raw, &joined) == nil {
			n = params.CountSeparators(joined) + 1
		} else if json.Unmarshal(raw, &items) == nil {
			n = len(items)
		}
		if n > m.maxItems {
			return tooManyItems(m.name, m.maxItems)
		}
	}
	return nil
}

func tooManyItems(name string, limit int) error {
	return protocol.NewError(protocol.InvalidClientMetadata, fmt.Sprintf("%s must have at most %d items.", name, limit))
}

// UnknownMembers returns the names of members of client metadata that are not supported. A server ignores them (RFC
// 7591 §2), but a warning helps an operator who mistyped one. A name similar to a member is followed by that member.
func UnknownMembers(raw []byte) []string {
	var object map[string]json.RawMessage
	if err := json.Unmarshal(raw, &object); err != nil {
		return nil
	}
	supported := memberNames(func(member) bool { return true })
	unknown := slices.DeleteFunc(slices.Sorted(maps.Keys(object)), isMember)
	for i, name := range unknown {
		if near := display.Nearest(name, supported); near != "" {
			unknown[i] = name + " (did you mean " + near + "?)"
		}
	}
	return unknown
}

// wrongTypeError returns the error of a member with the wrong type. The message of encoding/json would name Go types.
func wrongTypeError(err error) error {
	name := ""
	if t := (*json.UnmarshalTypeError)(nil); errors.As(err, &t) {
		name = t.Field[strings.LastIndexByte(t.Field, '.')+1:]
	}
	description := "A member of the client metadata has the wrong type."
	if name != "" {
		description = "The client metadata member " + name + " has the wrong type."
	}
	if shape := typeError(""); errors.As(err, &shape) {
		description = "A member of the client metadata " + shape.Error() + "."
	}
	return protocol.NewError(protocol.InvalidClientMetadata, description).WithCause(err)
}
