package storage

import "gatehouse/storage/audit"

// Statements that write the audit row in the statement of its change (PostgreSQL).
var (
	issuedRow       = audit.NewChangeRow("issued", "''")
	redeemedRow     = audit.NewChangeRow("redeemed", "grant_id")
	changedGrantRow = audit.NewChangeRow("changed", "id")
	revokedTokenRow = audit.NewChangeRow("token", "grant_id")
)
