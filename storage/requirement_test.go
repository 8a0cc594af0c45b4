package storage_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/reqevent"
	"gatehouse/storage/storagetest"
)

// TestRequirementsOfUserAreReadOnce covers PE9 and PE18: what the groups and roles of a user require takes one
// statement, in every process from the change on, and none while there is no requirement.
func TestRequirementsOfUserAreReadOnce(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		f := newFixture(t, url)
		ctx, reader := t.Context(), follower(t, url, f.clock)
		const api = "https://api.example"
		request := reqevent.NewContext(ctx, &reqevent.Event{RequestID: "r"}) // whose statements are counted
		f.assignRoles(t, api)
		check := func(when string, statements uint64, want ...string) {
			t.Helper()
			storagetest.Must(t, reader.ApplyChanges(ctx))
			_, err := reader.UserRequirements(ctx, f.user.ID) // fills the cache
			storagetest.Must(t, err)
			before := reader.Stats().Database.Statements
			got, err := reader.UserRequirements(request, f.user.ID)
			n := reader.Stats().Database.Statements - before
			found := []string{}
			for _, r := range got {
				if r.EnrolUntil != nil {
					r.RequiredACR += " " + r.EnrolUntil.UTC().Format(time.DateOnly)
				}
				found = append(found, r.RequiredACR)
			}
			slices.Sort(found)
			if err != nil || n != statements || !slices.Equal(found, want) {
				t.Errorf("%s: %q with %d statements, %v, want %q with %d", when, found, n, err, want, statements)
			}
		}
		require := func(role, acr string, until *time.Time) {
			storagetest.Must(t, f.UpdateRole(ctx, api, role, func(r *storage.Role) error {
				r.RequiredACR, r.EnrolUntil = acr, until
				return nil
			}))
		}
		date := time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)
		check("without requirements", 0)
		require("foreign", "phr", nil)
		check("of a role that only others have", 1)
		require("direct", "2", nil)
		require("by-group", "phr", &date)
		require("second", "2", nil)
		check("of roles", 1, "2", "phr 2027-01-31")
		rows, err := f.Audit.Rows(ctx, audit.Filter{Event: audit.RoleUpdated, Limit: 1})
		if err != nil || len(rows) != 1 || !strings.Contains(string(rows[0].Detail), `"required_acr":"2"`) {
			t.Errorf("the audit log has %+v, %v, want the required acr", rows, err)
		}
		storagetest.Must(t, f.CreateGroup(ctx, storage.Group{
			Name: "new", SignInRequirement: storage.SignInRequirement{RequiredACR: "2", EnrolUntil: &date},
		}))
		storagetest.Must(t, f.AddGroupMembers(ctx, "new", []string{f.user.ID}))
		check("of a new group too", 1, "2", "2 2027-01-31", "phr 2027-01-31")
		storagetest.Must(t, f.RevokeRole(ctx, api, "direct", storage.Assignees{Users: []string{f.user.ID}}))
		storagetest.Must(t, f.DeleteGroup(ctx, "staff"))
		check("after the group was deleted", 1, "2", "2 2027-01-31")
		storagetest.Must(t, f.DeleteResource(ctx, api))
		check("after the API was deleted", 1, "2 2027-01-31")
		storagetest.Must(t, f.DeleteGroup(ctx, "new"))
		check("after all were deleted", 0)
	})
}

// assignRoles creates groups and roles: the user of the fixture has the roles direct, by-group and second, and others
// have the role foreign.
func (f *fixture) assignRoles(t *testing.T, api string) {
	t.Helper()
	ctx := t.Context()
	storagetest.Must(t, f.CreateResource(ctx, storage.Resource{Identifier: api}))
	for _, group := range []string{"staff", "guests"} {
		storagetest.Must(t, f.CreateGroup(ctx, storage.Group{Name: group}))
	}
	for _, role := range []string{"direct", "by-group", "second", "foreign"} {
		storagetest.Must(t, f.CreateRole(ctx, storage.Role{Resource: api, Name: role}))
	}
	storagetest.Must(t, f.AddGroupMembers(ctx, "staff", []string{f.user.ID}))
	for role, to := range map[string]storage.Assignees{
		"direct": {Users: []string{f.user.ID}}, "by-group": {Groups: []string{"staff"}},
		"second":  {Users: []string{f.user.ID}, Groups: []string{"staff"}},
		"foreign": {Clients: []string{f.client.ID}, Groups: []string{"guests"}},
	} {
		storagetest.Must(t, f.GrantRole(ctx, api, role, to))
	}
}
