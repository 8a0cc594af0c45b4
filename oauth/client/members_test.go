package client

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"gatehouse/storage"
)

// fillDistinct sets every member to a different value, none of them zero.
func fillDistinct(t *testing.T, m *Metadata) {
	t.Helper()
	v := reflect.ValueOf(m).Elem()
	for i, f := range members() {
		field := v.FieldByIndex(f.index)
		name, seconds, isTrue := "value of "+f.name, Seconds(time.Duration(i+1)*time.Second), true
		switch field.Interface().(type) {
		case string:
			field.SetString(name)
		case List, ScopeList:
			field.Set(reflect.ValueOf([]string{name}).Convert(field.Type()))
		case *List:
			field.Set(reflect.ValueOf(&List{name}))
		case json.RawMessage:
			field.SetBytes([]byte(`"` + name + `"`))
		case *Seconds:
			field.Set(reflect.ValueOf(&seconds))
		case bool:
			field.SetBool(true)
		case *bool:
			field.Set(reflect.ValueOf(&isTrue))
		default:
			t.Fatalf("%s has the type %s, which this test cannot fill", f.name, field.Type())
		}
	}
}

// TestRecordStoresEveryMember checks that a response of the registration endpoint, which is derived from the record,
// has every member of Metadata.
func TestRecordStoresEveryMember(t *testing.T) {
	t.Parallel()
	var want Metadata
	fillDistinct(t, &want)
	want.GrantTypes, want.ResponseTypes = List{"authorization_code"}, List{"code"} // the record has only grant_types
	c := &storage.Client{ID: "gc1"}
	copyToRecord(c, &want)
	if diff := cmp.Diff(want, InformationOf(c).Metadata); diff != "" {
		t.Errorf("metadata of the record (-want +got):\n%s", diff)
	}
	var empty Metadata
	copyFromRecord(&empty, &storage.Client{})
	if _, err := json.Marshal(empty); err != nil {
		t.Errorf("metadata of an empty record: %v", err)
	}
}

func TestParseMetadataReadsEveryMember(t *testing.T) {
	t.Parallel()
	var want Metadata
	fillDistinct(t, &want)
	for i := range want.Scope {
		want.Scope[i] = strings.ReplaceAll(want.Scope[i], " ", "-") // scope is a space-separated string in JSON
	}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseMetadata(b)
	if err != nil {
		t.Fatalf("ParseMetadata(%s): %v", b, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("metadata read again (-want +got):\n%s", diff)
	}
	if unknown := UnknownMembers(b); len(unknown) > 0 {
		t.Errorf("UnknownMembers(%s) = %q, want none", b, unknown)
	}
}

func TestOperatorMembersHavePrefix(t *testing.T) {
	t.Parallel()
	for _, m := range members() {
		if want := strings.HasPrefix(m.name, operatorPrefix); m.isOperator != want {
			t.Errorf("%s is an operator member: %t, want %t by its prefix", m.name, m.isOperator, want)
		}
	}
	operator := memberNames(func(m member) bool { return m.isOperator })
	if !slices.Contains(operator, "gatehouse_allowed_networks") || len(operator) < 16 {
		t.Errorf("operator members = %q, want at least 16, with gatehouse_allowed_networks", operator)
	}
}
