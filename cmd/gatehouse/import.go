package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/admin/importer"
	"gatehouse/cmd/gatehouse/server"
	"gatehouse/display"
	"gatehouse/identity/passwordhash"
)

// importFormat describes a command that imports a format.
type importFormat struct {
	name, short, long, example string
	flags                      func(cmd *cobra.Command, o *importer.Options) (check func() error)
}

func (p *program) importCommand() *cobra.Command {
	cmd := group("import", "Import users from another server",
		"Import users with their passwords, and groups, roles and clients, from the export of another server. Begin with\n"+
			"--dry-run. An import can be repeated: users who were imported before are skipped. docs/migrate.md has the\n"+
			"steps for each server.")
	for _, f := range importFormats {
		cmd.AddCommand(p.importFrom(f))
	}
	cmd.AddCommand(p.importStatus())
	return cmd
}

var importFormats = []importFormat{
	{
		name: "keycloak", short: "Import a realm file of Keycloak",
		long: "Import the users, groups and roles of a realm of Keycloak. The sub of a user stays. Export the realm with\n" +
			"its users, while Keycloak is stopped:\n" +
			"  kc.sh export --realm NAME --users realm_file --file realm.json\n" +
			"A role of the realm becomes the group role:NAME, and a role of a client the group CLIENT:NAME or, with\n" +
			"--resource, a role of that resource. Users get the roles that their groups and other roles include too.",
		example: "  gatehouse import keycloak realm.json --dry-run\n" +
			"  gatehouse import keycloak realm.json --resource orders-api=https://orders.example.com\n" +
			"  gatehouse import keycloak corp-realm.json corp-users-*.json",
		flags: keycloakFlags,
	},
	{
		name: "hydra", short: "Import the clients of Ory Hydra",
		long: "Import the clients of Ory Hydra with their ids. The API of Hydra does not return the hashes of secrets;\n" +
			"export them from its database, one JSON object per line:\n" +
			"  psql -At -c 'SELECT row_to_json(c) FROM hydra_client c' > clients.jsonl\n" +
			"A secret is verified at its first use, and its hash is then replaced. Hydra stores no users.",
		example: "  gatehouse import hydra clients.jsonl --dry-run",
	},
	{
		name: "csv", short: "Import a CSV file",
		long: "Import the users of a CSV file. The first line has the names of the columns: sub (an id), username, email,\n" +
			"email_verified, name, the claims of a profile such as given_name, groups (separated by spaces or semicolons),\n" +
			"disabled, attribute:NAME, and password_hash: the hash of the password in the format of its system, for example\n" +
			"$2b$12$…, $argon2id$…, pbkdf2_sha256$… or {SSHA}….",
		example: "  gatehouse import csv users.csv --source intranet",
	},
	{
		name: "jsonl", short: "Import a file with a JSON object per line",
		long: "Import the users of a file with a JSON object per line, or an array of them. The members are the columns\n" +
			"of `gatehouse import csv`; groups is a list, attributes is an object, and roles has lists of names by the\n" +
			"identifiers of resources.",
		example: "  gatehouse import jsonl users.jsonl --source intranet",
	},
	{
		name: "authelia", short: "Import the users database of Authelia",
		long: "Import the users and groups of Authelia's users_database.yml. The subs that clients have come from\n" +
			"Authelia's database; export them with\n  authelia storage user identifiers export --file identifiers.yml\n" +
			"and pass the file with --identifiers. Without it users get new subs.",
		example: "  gatehouse import authelia users_database.yml --identifiers identifiers.yml",
		flags: func(cmd *cobra.Command, o *importer.Options) func() error {
			cmd.Flags().StringVar(&o.Identifiers, "identifiers", "", "file of `authelia storage user identifiers export`")
			return nil
		},
	},
	{
		name: "authentik", short: "Import the users and groups of authentik",
		long: "Import the users and groups of authentik, from the output of\n" +
			"  ak dumpdata authentik_core.user authentik_core.group\n" +
			"The sub is the UUID of the user, as with authentik's subject mode \"Based on the User's UUID\".",
		example: "  gatehouse import authentik dump.json --dry-run",
	},
	{
		name: "auth0", short: "Import exports of Auth0",
		long: "Import users of Auth0 with their password hashes, which the support of Auth0 sends on request, or users of\n" +
			"the job users-exports. The files have a JSON object per line. Users get new subs.",
		example: "  gatehouse import auth0 users.ndjson",
	},
	{
		name: "firebase", short: "Import an export of Firebase Authentication",
		long: "Import the users of `firebase auth:export users.json --format=json`. The password hash parameters are in\n" +
			"the Firebase console (Authentication, Users, the menu above the list): store the text that begins with\n" +
			"hash_config in a file. Users get new subs.",
		example: "  gatehouse import firebase users.json --hash-config hash_config.txt",
		flags: func(cmd *cobra.Command, o *importer.Options) func() error {
			path := cmd.Flags().String("hash-config", "", "file with the password hash parameters of the project")
			return func() (err error) {
				if *path == "" {
					return errors.New("--hash-config is required")
				}
				o.Firebase, err = readHashConfig(*path)
				return err
			}
		},
	},
}

func keycloakFlags(cmd *cobra.Command, o *importer.Options) func() error {
	cmd.Flags().BoolVar(&o.AllowNoUsers, "allow-no-users", false, "import a realm file without users")
	cmd.Flags().StringVar(&o.RolePrefix, "role-prefix", "role:",
		"prefix of the names of the groups that realm roles become")
	cmd.Flags().StringVar(&o.RPID, "rp-id", "",
		"host of Keycloak, if the realm sets no RP ID for passkeys and security keys")
	resources := cmd.Flags().StringArray("resource", nil,
		"import the roles of this Keycloak client as roles of a resource, as CLIENT=URI (repeat for several)")
	return func() error {
		o.Resources = map[string]string{}
		for _, item := range *resources {
			client, uri, ok := strings.Cut(item, "=")
			if !ok || client == "" || uri == "" {
				return fmt.Errorf("--resource %q: write it as CLIENT=URI", item)
			}
			o.Resources[client] = uri
		}
		return nil
	}
}

func (p *program) importFrom(f importFormat) *cobra.Command {
	cmd := &cobra.Command{Use: f.name + " FILE...", Short: f.short, Long: f.long, Example: f.example}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return usageError{fmt.Errorf("%s takes FILE...; see `%s --help`", cmd.CommandPath(), cmd.CommandPath())}
		}
		return nil
	}
	var o importer.Options
	cmd.Flags().BoolVar(&o.DryRun, "dry-run", false, "only report what would be imported")
	cmd.Flags().StringVar(&o.Source, "source", "",
		"name under which the ids of users are stored (default the format, for Keycloak with the realm)")
	cmd.Flags().StringVar(&o.MissingEmailDomain, "missing-email-domain", "",
		"domain of the placeholder addresses of users without an email address, such as users.invalid")
	cmd.Flags().BoolVar(&o.AllowLostFactors, "allow-lost-factors", false,
		"import the passwords of users whose second factor cannot be imported, so that the password alone signs in")
	all := cmd.Flags().String("report", "",
		"new file for all records that were not imported and all items to fix; the output lists the first 100 of each")
	weak := cmd.Flags().StringSlice("allow-weak-hashes", nil,
		"import weak password hashes of these kinds, which expire after 90 days: "+
			kindNames(passwordhash.WeakKinds())+", or another one whose hashes have a very low cost")
	checks := []func() error{func() error { return parseWeakKinds(*weak, &o) }}
	if f.flags != nil {
		if check := f.flags(cmd, &o); check != nil {
			checks = append(checks, check)
		}
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, files []string) error {
		for _, check := range checks {
			if err := check(); err != nil {
				return usageError{err}
			}
		}
		return p.withServer(cmd, func(ctx context.Context, s *server.Server) (err error) {
			closeAll, err := createReport(*all, &o)
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, closeAll(err)) }()
			show, end := p.progress("importing")
			o.Progress, o.Clients, o.Users = show, s.OAuth.Clients, s.Users
			report, err := importer.New(s.Store, o).Run(ctx, f.name, files...)
			end()
			report.Finish()
			if err == nil || !report.IsEmpty() {
				err = errors.Join(p.printImport(report, *asJSON), err)
			}
			if err == nil && report.ProblemCount > 0 {
				err = errors.New(counted(report.ProblemCount, "1 record was not imported", "%d records were not imported"))
			}
			return err
		})
	}
	return cmd
}

// createReport creates the file for everything that an import reports; with no path it does nothing. Closing it with
// the error of an import that has reported nothing removes the file, so that the command can be repeated.
func createReport(path string, o *importer.Options) (closeFile func(failed error) error, err error) {
	if path == "" {
		return func(error) error { return nil }, nil
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("--report: %s exists; pass the name of a new file", path)
	}
	if err != nil {
		return nil, fmt.Errorf("--report: %w", err)
	}
	lines := bufio.NewWriter(file)
	o.All = lines
	return func(failed error) error {
		err := errors.Join(lines.Flush(), file.Close())
		if info, statErr := os.Stat(path); failed != nil && statErr == nil && info.Size() == 0 {
			err = errors.Join(err, os.Remove(path))
		}
		return err
	}, nil
}

func kindNames(kinds []passwordhash.Kind) string {
	var names []string
	for _, kind := range kinds {
		names = append(names, string(kind))
	}
	return strings.Join(names, ", ")
}

func parseWeakKinds(names []string, o *importer.Options) error {
	for _, name := range names {
		kind := passwordhash.Kind(strings.ToLower(name))
		if !slices.Contains(passwordhash.Kinds(), kind) {
			return fmt.Errorf("--allow-weak-hashes: %q is none of %s", name, kindNames(passwordhash.Kinds()))
		}
		o.AllowWeak = append(o.AllowWeak, kind)
	}
	return nil
}

var hashConfigItem = regexp.MustCompile(`([a-z0-9_]+)\s*:\s*([^,\s]+)`)

// readHashConfig reads the password hash parameters as the Firebase console shows them.
func readHashConfig(path string) (out passwordhash.FirebaseParameters, err error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return out, err
	}
	values := map[string]string{}
	for _, m := range hashConfigItem.FindAllStringSubmatch(string(b), -1) {
		values[m[1]] = m[2]
	}
	if a := values["algorithm"]; a != "SCRYPT" {
		return out, fmt.Errorf("%s: the algorithm is %q, want SCRYPT", path, a)
	}
	var errs [4]error
	out.SignerKey, errs[0] = base64.StdEncoding.DecodeString(values["base64_signer_key"])
	out.SaltSeparator, errs[1] = base64.StdEncoding.DecodeString(values["base64_salt_separator"])
	out.Rounds, errs[2] = strconv.ParseUint(values["rounds"], 10, 8)
	out.MemCost, errs[3] = strconv.ParseUint(values["mem_cost"], 10, 8)
	if errors.Join(errs[:]...) != nil || len(out.SignerKey) == 0 {
		return out, fmt.Errorf("%s: want base64_signer_key, base64_salt_separator, rounds and mem_cost, as in the Firebase "+
			"console", path)
	}
	return out, nil
}

// printImport prints a report.
func (p *program) printImport(r *importer.Report, asJSON bool) error {
	if asJSON {
		return p.printJSON(r)
	}
	title := "imported"
	if r.DryRun {
		title = "would be imported (dry run: nothing was changed)"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s:\n", title)
	if r.IsEmpty() {
		b.WriteString("  nothing: there are no records in the files\n")
	}
	for _, c := range []struct {
		what   string
		counts importer.Counts
	}{{"users", r.Users}, {"groups", r.Groups}, {"roles", r.Roles}, {"clients", r.Clients}} {
		if n := c.counts; n.Read > 0 {
			fmt.Fprintf(&b, "  %-8s %d of %d", c.what, n.Created, n.Read)
			for _, other := range []struct {
				n    int64
				what string
			}{{n.Unchanged, "existing"}, {n.Skipped, "skipped"}, {n.Conflicts, "in conflict"}, {n.Invalid, "not valid"}} {
				if other.n > 0 {
					fmt.Fprintf(&b, ", %d %s", other.n, other.what)
				}
			}
			b.WriteString("\n")
		}
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Passwords)) {
		if kind != importer.NoPassword {
			fmt.Fprintf(&b, "  password hashes: %d %s\n", r.Passwords[kind], kind)
		}
	}
	if n := r.Passwords[importer.NoPassword]; n > 0 {
		fmt.Fprintf(&b, "  users without a password: %d\n", n)
	}
	for _, kind := range slices.Sorted(maps.Keys(r.Factors)) {
		fmt.Fprintf(&b, "  %ss: %d\n", kind, r.Factors[kind])
	}
	list(&b, "not imported:", r.Losses, func(l importer.Loss) string { return fmt.Sprintf("%d × %s", l.Count, l.What) })
	list(&b, "fix these:", r.Fix, func(item string) string { return item })
	if more := r.FixCount - int64(len(r.Fix)); more > 0 {
		fmt.Fprintf(&b, "  and %d more (--report)\n", more)
	}
	list(&b, "problems:", r.Problems, func(problem importer.Problem) string {
		return problem.Location + ": " + problem.Reason
	})
	if more := r.ProblemCount - int64(len(r.Problems)); more > 0 {
		fmt.Fprintf(&b, "  and %d more (--report)\n", more)
	}
	_, err := fmt.Fprint(p.stdout, display.EscapeLines(b.String()))
	return err
}

func list[T any](b *strings.Builder, title string, items []T, line func(T) string) {
	if len(items) == 0 {
		return
	}
	b.WriteString(title + "\n")
	for _, item := range items {
		b.WriteString("  " + display.Escape(line(item)) + "\n") // a name with a line break must not look like a line
	}
}

// importStatus is the output of `gatehouse import status`.
type importStatus struct {
	Hashes    map[string]int64 `json:"password_hashes"` // of other systems, by their kind
	OldServer *oldServerStatus `json:"old_server,omitempty"`
}

// oldServerStatus is what is known of the migration at the first sign-in.
type oldServerStatus struct {
	Source string `json:"source"`
	Until  string `json:"until"`
	Users  int64  `json:"users"` // that exist here, by imports and sign-ins
}

func (p *program) importStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Count the users for whom the old server is still needed",
		Long: "Count the users who have not signed in since their password hash was imported, by the kind of the hash.\n" +
			"The first sign-in replaces it. With GATEHOUSE_MIGRATION the users from the old server are counted too.",
		Example: "  gatehouse import status",
		Args:    exactArgs(),
	}
	asJSON := jsonFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return p.withServer(cmd, func(ctx context.Context, s *server.Server) error {
			status, err := readImportStatus(ctx, s)
			if err != nil {
				return err
			}
			if *asJSON {
				return p.printJSON(status)
			}
			var rows [][]string
			for _, kind := range slices.Sorted(maps.Keys(status.Hashes)) {
				rows = append(rows, []string{kind, strconv.FormatInt(status.Hashes[kind], 10)})
			}
			err = p.table("no user has an imported password hash", []string{"kind", "users"}, rows)
			if old := status.OldServer; old != nil && err == nil {
				_, err = fmt.Fprintf(p.stdout, "users from the old server %s, which is called until %s: %d\n", old.Source,
					old.Until, old.Users)
			}
			return err
		})
	}
	return cmd
}

func readImportStatus(ctx context.Context, s *server.Server) (status importStatus, err error) {
	if status.Hashes, err = s.Store.PasswordKinds(ctx); err != nil {
		return status, err
	}
	if m := s.Config.Migration; m.Until != nil {
		status.OldServer = &oldServerStatus{Source: m.Source, Until: m.Until.Format(time.DateOnly)}
		status.OldServer.Users, err = s.Store.CountExternalIDs(ctx, m.Source)
	}
	return status, err
}
