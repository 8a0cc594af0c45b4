// Package migrations has the schema as SQL files, each version in both dialects. New versions are added; a released
// file never changes. How they are applied is left to storage/db.
package migrations

import "embed"

// FS has the directories postgres and sqlite, each with NNNN_name.sql.
//
//go:embed postgres/*.sql sqlite/*.sql
var FS embed.FS
