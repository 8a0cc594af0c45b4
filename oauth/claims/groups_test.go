package claims

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"gatehouse/storage"
)

func TestClientGroups(t *testing.T) {
	t.Parallel()
	var many []string
	for i := range maxGroups {
		many = append(many, fmt.Sprintf("g%03d", i))
	}
	for _, c := range []struct {
		name    string
		client  storage.Client
		all     []string
		want    []string
		limited bool
	}{
		{"none", storage.Client{}, nil, []string{}, false},
		{"all, sorted", storage.Client{}, []string{"b", "a"}, []string{"a", "b"}, false},
		{"assigned", storage.Client{ClaimGroups: storage.Strings{"a", "c"}}, []string{"b", "a"}, []string{"a"}, false},
		{"as many as allowed", storage.Client{}, many, many, false},
		{"too many", storage.Client{}, append([]string{"x"}, many...), []string{}, true},
		{"too many, one required", storage.Client{RequiredGroups: storage.Strings{"x"}}, append([]string{"x"}, many...),
			[]string{"x"}, true},
		{"too many, all assigned", storage.Client{ClaimGroups: append([]string{"x"}, many...)},
			append([]string{"x"}, many...), append(append([]string{}, many...), "x"), false},
	} {
		got, limited := clientGroups(&c.client, c.all)
		if diff := cmp.Diff(c.want, got); diff != "" || limited != c.limited {
			t.Errorf("%s: limited = %t, want %t (-want +got):\n%s", c.name, limited, c.limited, diff)
		}
	}
}
