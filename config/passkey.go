package config

import (
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// Passkeys are the settings of passkeys.
type Passkeys struct {
	RPID          string   // empty: the host of the issuer
	Origins       []string // related origins
	AAGUIDs       []string // allowed models; empty: all
	RefuseCounter bool
	// MetadataFile has the metadata with which attestations are verified; empty: they are not requested.
	MetadataFile, MetadataRootFile string
}

// maxPasskeyOrigins is how many related origins there can be: browsers read 5 (WebAuthn Level 3 §5.11), of which one is
// the issuer's.
const maxPasskeyOrigins = 4

var passkeySettings = []setting{
	{env: "GATEHOUSE_PASSKEY_RP_ID",
		doc: "The domain that passkeys belong to: the host of the issuer, which is the default, or a parent domain of it. " +
			"Passkeys are invalid after a change. An issuer whose host is an IP address has no passkeys.",
		set: setPasskeyRPID, get: func(c *Config) string { return c.Passkeys.RPID }},
	{env: "GATEHOUSE_PASSKEY_ORIGINS",
		doc: "Up to 4 other origins, such as `https://id.example.net`, whose pages may use the passkeys " +
			"(`/.well-known/webauthn`), separated by commas.",
		set: setPasskeyOrigins, get: func(c *Config) string { return strings.Join(c.Passkeys.Origins, ",") }},
	{env: "GATEHOUSE_PASSKEY_AAGUIDS",
		doc: "AAGUIDs of the models of authenticators with which users can create passkeys, separated by commas. Empty: " +
			"all. Authenticators report their model themselves.",
		set: setPasskeyAAGUIDs, get: func(c *Config) string { return strings.Join(c.Passkeys.AAGUIDs, ",") }},
	{env: "GATEHOUSE_PASSKEY_COUNTER", def: "log",
		doc: "What happens when the signature counter of a passkey does not increase, which can mean that it was copied: " +
			"`log` or `refuse`. Synced passkeys have no counter.",
		set: func(c *Config, v string) error {
			if v != "log" && v != "refuse" {
				return fmt.Errorf("%q is not supported; write log or refuse", v)
			}
			c.Passkeys.RefuseCounter = v == "refuse"
			return nil
		},
		get: func(c *Config) string {
			if c.Passkeys.RefuseCounter {
				return "refuse"
			}
			return "log"
		}},
	{env: "GATEHOUSE_PASSKEY_METADATA_FILE",
		doc: "File of the FIDO Metadata Service (`https://mds3.fidoalliance.org`), read again when it changes. With it, " +
			"new passkeys and security keys need an attestation of a model that is in the file and not revoked; " +
			"synced passkeys have none. Empty: attestations are not requested.",
		set: func(c *Config, v string) error { c.Passkeys.MetadataFile = v; return nil },
		get: func(c *Config) string { return c.Passkeys.MetadataFile }},
	{env: "GATEHOUSE_PASSKEY_METADATA_ROOT_FILE",
		doc: "PEM file of the root certificate for `GATEHOUSE_PASSKEY_METADATA_FILE`, for metadata that you sign yourself. " +
			"Empty: that of the FIDO Alliance.",
		set: func(c *Config, v string) error { c.Passkeys.MetadataRootFile = v; return nil },
		get: func(c *Config) string { return c.Passkeys.MetadataRootFile }},
}

var domainPattern = regexp.MustCompile(`^[a-z0-9-]+(\.[a-z0-9-]+)*$`)

func setPasskeyRPID(c *Config, v string) error {
	if v != "" && !domainPattern.MatchString(v) {
		return fmt.Errorf("%q is not a domain in lower case", v)
	}
	c.Passkeys.RPID = v
	return nil
}

func setPasskeyOrigins(c *Config, v string) error {
	c.Passkeys.Origins = nil
	for _, item := range splitList(v) {
		u, err := url.Parse(item)
		if err != nil || u.Scheme != "https" || u.Host == "" || item != "https://"+u.Host || strings.ToLower(item) != item {
			return fmt.Errorf("%q is not an origin; write https://host in lower case", item)
		}
		c.Passkeys.Origins = append(c.Passkeys.Origins, item)
	}
	if len(c.Passkeys.Origins) > maxPasskeyOrigins {
		return fmt.Errorf("%d origins are more than %d", len(c.Passkeys.Origins), maxPasskeyOrigins)
	}
	return nil
}

var aaguidPattern = regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)

func setPasskeyAAGUIDs(c *Config, v string) error {
	c.Passkeys.AAGUIDs = nil
	for _, item := range splitList(v) {
		if item = strings.ToLower(item); !aaguidPattern.MatchString(item) {
			return fmt.Errorf("%q is not an AAGUID", item)
		}
		c.Passkeys.AAGUIDs = append(c.Passkeys.AAGUIDs, item)
	}
	return nil
}

// hasValidRPID reports whether the RP ID is the host of the issuer or a parent domain of it.
func (c Config) hasValidRPID() bool {
	id := c.Passkeys.RPID
	if id == "" || c.Issuer == "" {
		return true
	}
	host := c.IssuerURL().Hostname()
	return id == host || strings.Contains(id, ".") && strings.HasSuffix(host, "."+id)
}
