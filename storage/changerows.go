package storage

import "gatehouse/storage/audit"

// The audit rows of changes that PostgreSQL makes in one statement with them.
var (
	issuedRow       = audit.NewChangeRow("issued", "''")
	redeemedRow     = audit.NewChangeRow("redeemed", "grant_id")
	changedGrantRow = audit.NewChangeRow("changed", "id")
	revokedTokenRow = audit.NewChangeRow("whose", "grant_id")
)
