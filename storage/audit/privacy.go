package audit

import (
	"context"
	"crypto/rand"
	"strconv"
	"strings"

	"gatehouse/keyed"
	"gatehouse/storage/db"
)

// personalKey is the purpose of the key that addresses and user agents of events and sessions are sealed with.
const personalKey = "audit-personal"

// InUse are queries that find a row if a key of the log was used, for vault.New.
var InUse = []string{
	"SELECT 1 FROM audit_seals WHERE id > 0 LIMIT 1",
	"SELECT 1 FROM audit_events WHERE personal IS NOT NULL LIMIT 1",
}

// SealAddress seals the address and user agent of a row with an id, and returns random bytes and the sealed value,
// both to be stored in the row. The key of the row is derived from the random bytes and a key that survives a change
// of the root key: erasing the random bytes erases the address.
func (l *Log) SealAddress(id, address, userAgent string) (random, sealed []byte, err error) {
	if address == "" && userAgent == "" {
		return nil, nil, nil
	}
	random = make([]byte, 16)
	if _, err := rand.Read(random); err != nil {
		return nil, nil, err
	}
	sealed, err = keyed.Seal(l.addressKey(random), []byte(address+"\x00"+userAgent), id)
	return random, sealed, err
}

// OpenAddress reverses SealAddress. It returns empty strings if the row has no address, it was erased or it cannot be
// read.
func (l *Log) OpenAddress(id string, random, sealed []byte) (address, userAgent string) {
	if len(random) == 0 || !l.vault.IsOpen() {
		return "", ""
	}
	plaintext, err := keyed.Open(l.addressKey(random), sealed, id)
	if err != nil {
		return "", ""
	}
	address, userAgent, _ = strings.Cut(string(plaintext), "\x00")
	return address, userAgent
}

// openAddress fills in the address and user agent of a row.
func (l *Log) openAddress(row *Row) {
	row.Address, row.UserAgent = l.OpenAddress(row.ID, row.PersonalKey, row.Personal)
}

func (l *Log) addressKey(random []byte) []byte {
	return keyed.MAC(l.vault.Key(personalKey), string(random))
}

// Erase makes the addresses and user agents in a user's rows permanently unreadable. The rows stay and their seals
// remain valid. It returns the number of rows. The caller records the event.
func (l *Log) Erase(ctx context.Context, userID string) (int64, error) {
	n, err := db.ExecBatches(ctx, l.db.Write, "UPDATE audit_events SET personal_key = NULL WHERE "+
		l.db.SkipLocked("id", "SELECT id FROM audit_events WHERE (user_id = ? OR actor = ?) AND personal_key IS NOT NULL "+
			"LIMIT "+strconv.Itoa(db.BatchRows)),
		userID, "user:"+userID)
	return n, db.Wrap("erase personal data", err)
}
