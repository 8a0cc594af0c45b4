package identity

import (
	"errors"
	"strings"
	"testing"

	"gatehouse/storage"
)

func TestAttributesHaveTheirType(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("é", 501)
	for _, c := range []struct {
		attributeType string
		entered       []string
		want          string // "refused" for an error
	}{
		{storage.AttributeString, []string{" a b "}, `"a b"`},
		{storage.AttributeString, []string{long[2:]}, `"` + long[2:] + `"`},
		{storage.AttributeString, []string{long}, "refused"},
		{storage.AttributeString, []string{"a\x01b"}, "refused"},
		{storage.AttributeString, []string{"a", "b"}, "refused"},
		{storage.AttributeString, []string{" "}, ""},
		{storage.AttributeNumber, []string{"-1.50"}, "-1.5"},
		{storage.AttributeNumber, []string{"9007199254740991"}, "9007199254740991"},
		{storage.AttributeNumber, []string{"9007199254740992"}, "refused"},
		{storage.AttributeNumber, []string{"1e400"}, "refused"},
		{storage.AttributeNumber, []string{"NaN"}, "refused"},
		{storage.AttributeNumber, []string{"0x10"}, "refused"},
		{storage.AttributeBoolean, []string{"true"}, "true"},
		{storage.AttributeBoolean, []string{"yes"}, "refused"},
		{storage.AttributeStrings, []string{"b", "", " a ", "b"}, `["b","a"]`},
		{storage.AttributeStrings, []string{long[:402]}, "refused"},
		{storage.AttributeStrings, strings.Split("a"+strings.Repeat(" a", 50), " "), `["a"]`},
		{storage.AttributeStrings, strings.Split(numbers(51), " "), "refused"},
		{storage.AttributeStrings, []string{
			long[:400], long[2:400], long[4:400], long[6:400], long[8:400], long[10:400],
		}, "refused"},
	} {
		a := storage.Attribute{Name: "a", Type: c.attributeType}
		got, err := EncodeAttribute(a, c.entered)
		if problem := (*AttributeError)(nil); errors.As(err, &problem) && problem.Attribute == "a" {
			got = "refused"
		}
		if got != c.want {
			t.Errorf("%s %.60q is %.60q, %v, want %.60q", c.attributeType, c.entered, got, err, c.want)
		}
		if c.want != "refused" && c.want != "" && a.Parse(got) == nil {
			t.Errorf("%s %.60q is stored as %.60q, which has another type", c.attributeType, c.entered, got)
		}
	}
}

// numbers returns different items, separated by spaces.
func numbers(n int) string {
	var items []string
	for i := range n {
		items = append(items, strings.Repeat("x", i+1))
	}
	return strings.Join(items, " ")
}
