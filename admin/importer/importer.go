// Package importer reads the exports of other identity providers and stores their users, groups, roles and clients. It
// decides how each format maps to the records of Gatehouse and reports what is lost. It reads files as streams, so that
// its memory does not depend on the number of users. Conflicts with existing users are decided by package storage;
// flags and output are left to the commands.
package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"slices"
	"time"

	"gatehouse/identity"
	"gatehouse/identity/passwordhash"
	"gatehouse/oauth/client"
	"gatehouse/storage"
)

// Options specify an import.
type Options struct {
	Source string // the name of the other system in external_ids; empty: that of the format
	DryRun bool   // whether only the report is made
	// AllowWeak are the weak kinds of password hashes that are imported, until they expire.
	AllowWeak []passwordhash.Kind
	// MissingEmailDomain is the domain of the addresses that users without one get; empty: they are not imported.
	MissingEmailDomain string
	// RolePrefix begins the names of the groups that the roles of another system become.
	RolePrefix string
	// Resources has the identifiers of resources by the names of clients of the other system. Their roles become roles of
	// the resource instead of groups.
	Resources map[string]string
	// AllowNoUsers imports a file without users.
	AllowNoUsers bool
	// Firebase has the password hash parameters of the Firebase project.
	Firebase passwordhash.FirebaseParameters
	// Identifiers is the path of an export of Authelia's opaque identifiers; empty: each user gets a new sub.
	Identifiers string
	// Clients imports the clients; nil: they are skipped.
	Clients *client.Registry
	// Users checks the passkeys of users; nil: they are lost.
	Users *identity.Users
	// RPID is the RP ID of the WebAuthn credentials of a realm that sets none.
	RPID string
	// AllowLostFactors imports the password of a user although no second factor of the user could be imported.
	AllowLostFactors bool
	// All gets a line for each record that was not imported and each item to fix, of which the report lists the first
	// ones; nil: none.
	All io.Writer
	// Progress is called with how many bytes of the files were read.
	Progress func(now, total int64)
}

const (
	// batchSize is how many users are stored in one transaction.
	batchSize = 500
	// weakHashLifetime is how long a weak password hash is valid.
	weakHashLifetime = 90 * 24 * time.Hour
)

// Importer imports into one store.
type Importer struct {
	store   *storage.Store
	options Options
	report  *Report

	attributes map[string]storage.Attribute
	groups     map[sourceGroup]string // the names of groups here; "" for one that is left out
	groupKeys  map[string]string      // the names of all groups by their names in lower case
	origins    map[string]sourceGroup // what a group is in the other system, by its name here in lower case
	joined     []string               // groups that existed before
	resources  map[string]storage.Resource
	roles      map[storage.Role]roleState

	batch  []storage.ImportedUser
	queued []queued // for each user of the batch

	clientIDs map[string]bool // of the created clients, which a dry run does not store

	seed maphash.Seed
	seen map[uint64]bool // hashes of names of a dry run, which stores nothing that a later batch would conflict with
}

// queued is what the report needs of a user of the batch.
type queued struct {
	location string
	fix      string // what the operator should do if the user is created; empty for nothing
	groups   []sourceGroup
	roles    []storage.Role
}

// New returns an Importer.
func New(store *storage.Store, o Options) *Importer {
	if o.Progress == nil {
		o.Progress = func(int64, int64) {}
	}
	return &Importer{
		store: store, options: o, report: newReport(o.DryRun, o.All), groups: map[sourceGroup]string{},
		origins: map[string]sourceGroup{}, groupKeys: map[string]string{}, clientIDs: map[string]bool{},
		seed: maphash.MakeSeed(), seen: map[uint64]bool{},
	}
}

// formats are the functions that import files of a format.
var formats = map[string]func(im *Importer, ctx context.Context, files []string) error{
	"auth0":     (*Importer).auth0,
	"authelia":  (*Importer).authelia,
	"authentik": (*Importer).authentik,
	"csv":       (*Importer).csv,
	"firebase":  (*Importer).firebase,
	"hydra":     (*Importer).hydra,
	"jsonl":     (*Importer).jsonLines,
	"keycloak":  (*Importer).keycloak,
}

// Run imports files of a format. It returns the report also with an error, of what was imported before.
func (im *Importer) Run(ctx context.Context, format string, files ...string) (*Report, error) {
	run, ok := formats[format]
	if !ok {
		return im.report, fmt.Errorf("the format %q is not supported", format)
	}
	if im.options.Source == "" {
		im.options.Source = format
	}
	var err error
	if im.attributes, err = im.store.Attributes(ctx); err != nil {
		return im.report, err
	}
	groups, err := im.store.Groups(ctx)
	if err != nil {
		return im.report, err
	}
	for _, g := range groups {
		im.groupKeys[g.NameKey] = g.Name
	}
	if err := im.readRoles(ctx); err != nil {
		return im.report, err
	}
	err = run(im, ctx, files)
	if stopped := ctx.Err(); stopped != nil {
		err = cmp.Or(err, stopped)
	} else { // after an error in a file, what was read before is stored, as the report counts it
		err = errors.Join(err, im.flush(ctx))
	}
	im.listJoined()
	im.report.Source = im.options.Source
	return im.report, cmp.Or(err, im.report.err)
}

// flush stores the batch.
func (im *Importer) flush(ctx context.Context) error {
	batch, queue := im.batch, im.queued
	im.batch, im.queued = im.batch[:0], im.queued[:0]
	if len(batch) == 0 {
		return ctx.Err()
	}
	results, err := im.storeBatch(ctx, batch, queue)
	if err != nil {
		return err
	}
	for i, result := range results {
		switch result {
		case storage.ImportCreated:
			im.report.Users.Created++
			im.countFactors(&batch[i])
			if fix := queue[i].fix; fix != "" {
				im.report.fix("%s", fix)
			}
		case storage.ImportUnchanged:
			im.report.Users.Unchanged++
		default:
			im.report.Users.Conflicts++
			im.report.problem(queue[i].location, string(result))
		}
	}
	return nil
}

// storeBatch stores users with their groups and roles, and returns the results. New groups and roles are created only
// if a user who has them is created: a dry run first finds the users who are not.
func (im *Importer) storeBatch(
	ctx context.Context, batch []storage.ImportedUser, queue []queued,
) (results []storage.ImportResult, err error) {
	results = slices.Repeat([]storage.ImportResult{storage.ImportCreated}, len(batch))
	if im.options.DryRun || slices.ContainsFunc(queue, im.hasNewMemberships) {
		if results, err = im.store.ImportUsers(ctx, im.options.Source, batch, true); err != nil {
			return nil, err
		}
	}
	var create []storage.ImportedUser
	var indexes []int // of the users in results
	for i := range batch {
		u := &batch[i]
		if im.options.DryRun && results[i] == storage.ImportCreated {
			results[i] = im.checkSeen(u)
		}
		if results[i] == storage.ImportCreated {
			if u.Groups, u.Roles, err = im.memberships(ctx, queue[i]); err != nil {
				return nil, err
			}
			create, indexes = append(create, *u), append(indexes, i)
		}
	}
	if im.options.DryRun || len(create) == 0 {
		return results, nil
	}
	stored, err := im.store.ImportUsers(ctx, im.options.Source, create, false)
	for i, result := range stored {
		results[indexes[i]] = result
	}
	return results, err
}

// checkSeen returns the result for a user of a dry run, given those of earlier batches. It stores hashes of 64 bits
// instead of names.
func (im *Importer) checkSeen(u *storage.ImportedUser) storage.ImportResult {
	if im.clientIDs[u.User.ID] {
		return storage.ImportIDOfClient
	}
	hash := func(what, value string) uint64 { return maphash.String(im.seed, what+"\x00"+value) }
	hashes := []uint64{
		hash("external id", u.ExternalID), hash("id", u.User.ID), hash("username", u.User.UsernameKey),
		hash("email", u.User.EmailKey),
	}
	for _, p := range u.Passkeys {
		hashes = append(hashes, hash("passkey", string(p.CredentialID)))
	}
	i := slices.IndexFunc(hashes, func(h uint64) bool { return im.seen[h] })
	if i >= 0 && (i != 2 || u.OtherUsernameKey == "") {
		return []storage.ImportResult{
			storage.ImportUnchanged, storage.ImportIDTaken, storage.ImportUsernameTaken, storage.ImportEmailTaken,
			storage.ImportPasskeyTaken,
		}[min(i, 5)]
	}
	for _, h := range hashes {
		im.seen[h] = true
	}
	return storage.ImportCreated
}

// countFactors counts the ways in which a created user can authenticate.
func (im *Importer) countFactors(u *storage.ImportedUser) {
	kind := NoPassword
	if u.Password != nil {
		kind = u.Password.Kind
	}
	im.report.Passwords[kind]++
	if u.TOTP != nil {
		im.report.Factors[FactorTOTP]++
	}
	for _, p := range u.Passkeys {
		if p.SecondFactor {
			im.report.Factors[FactorSecurityKey]++
		} else {
			im.report.Factors[FactorPasskey]++
		}
	}
}
