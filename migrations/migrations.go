// Package migrations holds the schema as SQL files, one timeline in two dialects: a version exists in both or the tests
// fail. Files only ever grow in number; a released one never changes. How they are applied is left to storage.
package migrations

import "embed"

// FS has the directories postgres and sqlite, each with NNNN_name.sql.
//
//go:embed postgres/*.sql sqlite/*.sql
var FS embed.FS
