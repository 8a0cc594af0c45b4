package client

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"gatehouse/oauth/params"
	"gatehouse/storage"
)

// member is a member of client metadata, derived from a field of Metadata and its tags.
type member struct {
	name          string
	index         []int // of the field of Metadata
	record        []int // of the field of storage.Client; nil: none
	isList        bool
	maxItems      int // of a list
	isOperator    bool
	auditsValues  bool
	recordIsValue bool // the field of Metadata is a pointer and that of the record is not
}

// members returns the members of Metadata. It panics when a field has no counterpart in storage.Client.
var members = sync.OnceValue(func() []member {
	var out []member
	operator := reflect.TypeFor[OperatorMetadata]()
	client := reflect.TypeFor[storage.Client]()
	for _, field := range reflect.VisibleFields(reflect.TypeFor[Metadata]()) {
		if field.Anonymous {
			continue
		}
		m := member{index: field.Index, maxItems: params.MaxValues, auditsValues: field.Tag.Get("audit") == "values"}
		m.name, _, _ = strings.Cut(field.Tag.Get("json"), ",")
		_, m.isOperator = operator.FieldByName(field.Name)
		switch field.Type {
		case reflect.TypeFor[List](), reflect.TypeFor[*List](), reflect.TypeFor[ScopeList]():
			m.isList = true
		}
		if limit := field.Tag.Get("max"); limit != "" {
			n, err := strconv.Atoi(limit)
			if err != nil {
				panic(fmt.Sprintf("client metadata: max of %s: %v", field.Name, err))
			}
			m.maxItems = n
		}
		recordName := field.Tag.Get("record")
		if recordName == "" {
			recordName = field.Name
		}
		if recordName != "-" {
			counterpart, ok := client.FieldByName(recordName)
			if !ok {
				panic("client metadata: storage.Client has no field " + recordName)
			}
			m.record = counterpart.Index
			m.recordIsValue = field.Type.Kind() == reflect.Pointer && counterpart.Type.Kind() != reflect.Pointer
		}
		out = append(out, m)
	}
	return out
})

// memberNames returns the names of the members for which matches returns true.
func memberNames(matches func(m member) bool) []string {
	var out []string
	for _, m := range members() {
		if matches(m) {
			out = append(out, m.name)
		}
	}
	return out
}

func isMember(name string) bool {
	return slices.ContainsFunc(members(), func(m member) bool { return m.name == name })
}

// maxItems returns how many items the list with that name may have.
func maxItems(name string) int {
	for _, m := range members() {
		if m.name == name {
			return m.maxItems
		}
	}
	return params.MaxValues
}

// copyFromRecord copies the fields of a record into metadata.
func copyFromRecord(m *Metadata, c *storage.Client) {
	target, source := reflect.ValueOf(m).Elem(), reflect.ValueOf(c).Elem()
	for _, f := range members() {
		if f.record == nil {
			continue
		}
		to, from := target.FieldByIndex(f.index), source.FieldByIndex(f.record)
		if f.recordIsValue {
			to.Set(reflect.New(to.Type().Elem()))
			to = to.Elem()
		}
		if from.IsZero() { // also: the empty string is no JSON
			to.SetZero()
			continue
		}
		to.Set(from.Convert(to.Type()))
	}
}

// copyToRecord copies valid metadata, with its defaults set, into a record.
func copyToRecord(c *storage.Client, m *Metadata) {
	target, source := reflect.ValueOf(c).Elem(), reflect.ValueOf(m).Elem()
	for _, f := range members() {
		if f.record == nil {
			continue
		}
		to, from := target.FieldByIndex(f.record), source.FieldByIndex(f.index)
		if f.recordIsValue {
			from = from.Elem()
		}
		to.Set(from.Convert(to.Type()))
	}
	if c.Name == "" {
		c.Name = c.ID
	}
}
