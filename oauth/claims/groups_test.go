package claims

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGroupsAreSelectedByNameAndPattern(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range maxGroups {
		many = append(many, fmt.Sprintf("g%03d", i))
	}
	tooMany := append([]string{"x"}, many...)
	for _, c := range []struct {
		name                  string
		all, assigned, needed []string
		want                  []string
		limited               bool
	}{
		{"none", nil, nil, nil, []string{}, false},
		{"all, sorted", []string{"b", "a"}, nil, nil, []string{"a", "b"}, false},
		{"assigned", []string{"b", "a"}, []string{"a", "c"}, []string{"b"}, []string{"a"}, false},
		{"pattern", []string{"team-a", "team", "a-team-"}, []string{"team-*"}, nil, []string{"team-a"}, false},
		{"as many as allowed", many, nil, nil, many, false},
		{"too many", tooMany, nil, nil, []string{}, true},
		{"too many, one needed", tooMany, nil, []string{"x"}, []string{"x"}, true},
		{"too many, all assigned", tooMany, []string{"*"}, nil, append(append([]string{}, many...), "x"), false},
	} {
		got, limited := selectGroups(c.all, c.assigned, c.needed)
		if diff := cmp.Diff(c.want, got); diff != "" || limited != c.limited {
			t.Errorf("%s: limited = %t, want %t (-want +got):\n%s", c.name, limited, c.limited, diff)
		}
	}
}
