package importer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"gatehouse/identity/passwordhash"
)

// errNoUsers is returned for a realm file without users, which Keycloak exports by default.
var errNoUsers = errors.New("the files have no users: by default Keycloak exports them to other files. Export them " +
	"with `kc.sh export --realm NAME --users realm_file --file realm.json`, or pass the files NAME-users-N.json too; " +
	"--allow-no-users imports the rest alone")

// keycloakRealm is what an import needs of a realm besides its users.
type keycloakRealm struct {
	name       string
	users      int64
	groups     records[keycloakGroup]
	roles      keycloakRoles
	clients    records[keycloakClient]
	composites map[roleRef]composites
	groupRoles map[string][]roleRef // of a group and its parents, by path
	rpIDs      keycloakRPIDs
}

type keycloakUser struct {
	ID                  string              `json:"id"`
	Username            string              `json:"username"`
	Email               string              `json:"email"`
	EmailVerified       bool                `json:"emailVerified"`
	FirstName           string              `json:"firstName"`
	LastName            string              `json:"lastName"`
	Enabled             *bool               `json:"enabled"`
	Attributes          map[string][]string `json:"attributes"`
	Credentials         []keycloakSecret    `json:"credentials"`
	RequiredActions     []string            `json:"requiredActions"`
	RealmRoles          []string            `json:"realmRoles"`
	ClientRoles         map[string][]string `json:"clientRoles"`
	Groups              []string            `json:"groups"`
	FederationLink      string              `json:"federationLink"`
	ServiceAccount      string              `json:"serviceAccountClientId"`
	ClientConsents      []any               `json:"clientConsents"`
	FederatedIdentities []struct {
		Provider string `json:"identityProvider"`
	} `json:"federatedIdentities"`
}

// keycloakSecret is a credential. The data is JSON in a string; versions before 8 had other members instead.
type keycloakSecret struct {
	Type           string `json:"type"`
	UserLabel      string `json:"userLabel"`
	CreatedDate    int64  `json:"createdDate"` // in milliseconds
	SecretData     string `json:"secretData"`
	CredentialData string `json:"credentialData"`

	OldValue      string `json:"hashedSaltedValue"`
	OldSalt       string `json:"salt"`
	OldIterations uint64 `json:"hashIterations"`
	OldAlgorithm  string `json:"algorithm"`
}

// keycloak imports realm files and files of users. They are read twice: first all but the users, because groups and
// roles must exist before users have them.
func (im *Importer) keycloak(ctx context.Context, files []string) error {
	p, err := im.newProgress(files, 2)
	if err := errors.Join(err, im.checkResources()); err != nil {
		return err
	}
	realm := &keycloakRealm{}
	if err := im.eachFile(files, p, func(in *input) error {
		return in.eachMember(func(key string, d *json.Decoder) error { return realm.read(in, key, d) })
	}); err != nil {
		return err
	}
	if realm.users == 0 && !im.options.AllowNoUsers {
		return errNoUsers
	}
	if im.options.Source == "keycloak" {
		im.options.Source += ":" + realm.name
	}
	realm.index()
	im.reportInvalid(realm)
	if err := im.keycloakGroups(ctx, realm); err != nil {
		return err
	}
	if err := im.keycloakClients(ctx, realm.clients.valid); err != nil {
		return err
	}
	return im.eachFile(files, p, func(in *input) error {
		return in.eachMember(func(key string, d *json.Decoder) error {
			if key != "users" {
				return in.skipValue(d)
			}
			return eachElement(in, d, func(entry int, k keycloakUser, invalid error) error {
				return im.addKeycloak(ctx, realm, k, user{location: in.at("user %d", entry), invalid: invalid})
			})
		})
	})
}

// eachMember calls fn with the name of each member of the object that a file is; fn decodes its value.
func (in *input) eachMember(fn func(key string, d *json.Decoder) error) error {
	in.skipBOM()
	d := json.NewDecoder(in)
	start, err := d.Token()
	if err == nil && start != json.Delim('{') {
		return fmt.Errorf("%s: the file is not that of one realm", in.name)
	}
	for err == nil && d.More() {
		var key json.Token
		if key, err = d.Token(); err == nil {
			in.bound.next(maxList)
			err = fn(key.(string), d)
			if invalid := typeError(err); invalid != nil {
				err = fmt.Errorf("%s:%d: the member %s: %w", in.name, in.lineAt(d.InputOffset()), key, invalid)
			}
		}
	}
	if err == nil {
		_, err = d.Token()
	}
	return in.jsonError(err, d.InputOffset())
}

// skipValue reads a value without storing it.
func (in *input) skipValue(d *json.Decoder) error {
	for depth := 0; ; {
		in.bound.next(maxValue)
		token, err := d.Token()
		if err != nil {
			return err
		}
		switch token {
		case json.Delim('['), json.Delim('{'):
			depth++
		case json.Delim(']'), json.Delim('}'):
			depth--
		}
		if depth == 0 {
			return nil
		}
	}
}

// eachElement calls fn with each element of an array, or never for null. invalid is as for eachObject.
func eachElement[T any](in *input, d *json.Decoder, fn func(entry int, v T, invalid error) error) error {
	start, err := d.Token()
	if err != nil || start == nil {
		return err
	}
	if start != json.Delim('[') {
		return errors.New("a member that must be an array is none")
	}
	for entry := 1; d.More(); entry++ {
		v, invalid, err := decodeRecord[T](in, d)
		if err != nil {
			return err
		}
		if err := fn(entry, v, invalid); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// read decodes a member of a realm in the first pass.
func (k *keycloakRealm) read(in *input, key string, d *json.Decoder) error {
	switch key {
	case "realm":
		var name string
		if err := d.Decode(&name); err != nil {
			return err
		}
		if k.name != "" && name != k.name {
			return fmt.Errorf("the files are of the realms %s and %s; import one after the other", k.name, name)
		}
		k.name = name
		return nil
	case "users":
		return eachElement(in, d, func(int, json.RawMessage, error) error {
			k.users++
			return nil
		})
	case "groups":
		return d.Decode(&k.groups)
	case "roles":
		return d.Decode(&k.roles)
	case "clients":
		return d.Decode(&k.clients)
	case "webAuthnPolicyRpId":
		return d.Decode(&k.rpIDs.securityKey)
	case "webAuthnPolicyPasswordlessRpId":
		return d.Decode(&k.rpIDs.passkey)
	}
	return in.skipValue(d)
}

// keycloakClaims are the attributes that are claims of a profile here, and their claims.
var keycloakClaims = map[string]string{
	"locale": "locale", "phoneNumber": "phone_number", "phone_number": "phone_number", "picture": "picture",
	"website": "website", "profile": "profile", "nickname": "nickname", "middleName": "middle_name",
	"middle_name": "middle_name", "gender": "gender", "birthdate": "birthdate", "zoneinfo": "zoneinfo",
	"street": "street_address", "locality": "locality", "region": "region", "postal_code": "postal_code",
	"country": "country",
}

// addKeycloak adds a user. u has the location of the record, and the reason if it cannot be imported.
func (im *Importer) addKeycloak(ctx context.Context, realm *keycloakRealm, k keycloakUser, u user) error {
	if k.ServiceAccount != "" {
		im.report.Users.Read++
		im.report.Users.Skipped++
		return nil
	}
	u.id, u.disabled, u.attributes = k.ID, k.Enabled != nil && !*k.Enabled, map[string][]string{}
	u.new.Username, u.new.Email, u.new.EmailVerified = k.Username, k.Email, k.EmailVerified
	u.new.Name = strings.TrimSpace(k.FirstName + " " + k.LastName)
	u.new.Profile.GivenName, u.new.Profile.FamilyName = k.FirstName, k.LastName
	for name, values := range k.Attributes {
		claim := keycloakClaims[name]
		switch {
		case len(values) == 0:
		case claim != "":
			*u.new.Profile.Field(claim) = values[0]
		case name == "phoneNumberVerified":
			u.new.PhoneVerified = values[0] == "true"
		default:
			u.attributes[name] = values
		}
	}
	im.keycloakLosses(k)
	for _, c := range k.Credentials {
		im.addCredential(realm, &u, c)
	}
	u.groups, u.roles = im.keycloakMemberships(realm, k)
	return im.add(ctx, u)
}

// keycloakLosses reports what of a user has no counterpart.
func (im *Importer) keycloakLosses(k keycloakUser) {
	for _, action := range k.RequiredActions {
		im.report.lose("required action %s", action)
	}
	for _, i := range k.FederatedIdentities {
		im.report.lose("sign-in with %s", i.Provider)
	}
	if k.FederationLink != "" {
		im.report.lose("password in a user federation such as LDAP")
	}
	if len(k.ClientConsents) > 0 {
		im.report.lose("consents of a user")
	}
}

// keycloakParameters are the additional parameters of a hash, as strings or lists of them.
type keycloakParameters map[string]any

func (p keycloakParameters) value(name string) string {
	value := p[name]
	if list, ok := value.([]any); ok && len(list) > 0 {
		value = list[0]
	}
	text, _ := value.(string)
	return text
}

func (p keycloakParameters) number(name string) uint64 {
	n, err := strconv.ParseUint(p.value(name), 10, 64)
	if err != nil {
		return 0 // which no hash accepts
	}
	return n
}

// password returns the hash of a password credential.
func (c keycloakSecret) password() (passwordhash.Hash, error) {
	var secret struct {
		Value string `json:"value"`
		Salt  string `json:"salt"`
	}
	var data struct {
		Iterations uint64             `json:"hashIterations"`
		Algorithm  string             `json:"algorithm"`
		Additional keycloakParameters `json:"additionalParameters"`
	}
	secret.Value, secret.Salt = c.OldValue, c.OldSalt
	data.Iterations, data.Algorithm = c.OldIterations, c.OldAlgorithm
	for text, v := range map[string]any{c.SecretData: &secret, c.CredentialData: &data} {
		if text == "" {
			continue
		}
		if err := json.Unmarshal([]byte(text), v); err != nil {
			return nil, errors.New("the credential is not valid JSON")
		}
	}
	if data.Algorithm == "bcrypt" { // of the extension
		return passwordhash.Parse(secret.Value)
	}
	sum, err := decodeBase64(secret.Value)
	if err != nil {
		return nil, errors.New("the value of the credential is not valid base64")
	}
	salt, err := decodeBase64(secret.Salt)
	if err != nil {
		return nil, errors.New("the salt of the credential is not valid base64")
	}
	switch data.Algorithm {
	case "pbkdf2", "pbkdf2-sha1":
		return passwordhash.NewPBKDF2(passwordhash.PBKDF2SHA1, data.Iterations, salt, sum)
	case "pbkdf2-sha256", "pbkdf2-sha512":
		return passwordhash.NewPBKDF2(passwordhash.Kind(data.Algorithm), data.Iterations, salt, sum)
	case "argon2":
		if version := data.Additional.value("version"); version != "1.3" && version != "" {
			return nil, fmt.Errorf("the version %s of Argon2 is not supported", version)
		}
		kind := passwordhash.Kind("argon2" + data.Additional.value("type"))
		return passwordhash.NewArgon2(kind, data.Additional.number("memory"), data.Iterations,
			data.Additional.number("parallelism"), salt, sum)
	}
	return nil, fmt.Errorf("the algorithm %q is not supported", data.Algorithm)
}
