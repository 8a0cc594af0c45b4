package db

import (
	"cmp"
	"crypto/tls"
	"errors"
	"io"
	"io/fs"
	"net"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
)

// IsUnavailable reports whether the database could not be reached, is starting or stopping, or was locked: conditions
// that end without the operator. A wrong password, a missing database and every error of an embedded database's file
// do not; Remedy returns their fix.
func IsUnavailable(err error) bool {
	state := SQLState(err)
	switch state {
	case "57P01", "57P02", "57P03", "53300", "55P03", "25P03":
		return true
	case "":
		return tlsRemedy(err) == "" && !errors.Is(err, fs.ErrPermission) && isNetworkError(err)
	}
	return strings.HasPrefix(state, "08") && poolerRemedy(err) == ""
}

// isNetworkError reports whether a connection failed. It excludes file errors, because a syscall.Errno implements
// net.Error too.
func isNetworkError(err error) bool {
	var refused *pgconn.ConnectError
	var op *net.OpError
	var dns *net.DNSError
	return errors.As(err, &refused) || errors.As(err, &op) || errors.As(err, &dns) || errors.Is(err, errPingTimeout) ||
		errors.Is(err, io.ErrUnexpectedEOF)
}

// SQLState returns PostgreSQL's code of an error, or "".
func SQLState(err error) string {
	if pg := (*pgconn.PgError)(nil); errors.As(err, &pg) {
		return pg.Code
	}
	return ""
}

// sqliteCode returns SQLite's primary result code of an error, or 0.
func sqliteCode(err error) int {
	if e := (interface{ Code() int })(nil); errors.As(err, &e) {
		return e.Code() & 0xff
	}
	return 0
}

// SQLite's result codes (sqlite.org/rescode.html).
const (
	sqliteBusy     = 5
	sqliteReadOnly = 8
	sqliteCorrupt  = 11
	sqliteFull     = 13
	sqliteCantOpen = 14
	sqliteNotADB   = 26
)

// Denied is an error that the role of the database lacks a privilege.
type Denied string

// Error implements error.
func (d Denied) Error() string { return string(d) }

// IsDenied reports whether the database refused a statement because its role lacks a privilege.
func IsDenied(err error) bool { return SQLState(err) == "42501" || errors.As(err, new(Denied)) }

// Remedy returns what the operator can do about an error of the database that does not end on its own, or "".
func Remedy(err error) string {
	if !errors.Is(err, ErrUnavailable) {
		return ""
	}
	return cmp.Or(tlsRemedy(err), poolerRemedy(err), postgresRemedy(err), sqliteRemedy(err), systemRemedy(err))
}

// postgresRemedy returns what to do about a code of PostgreSQL, or "".
func postgresRemedy(err error) string {
	switch SQLState(err) {
	case "28P01":
		return "check the user and the password in GATEHOUSE_DATABASE_URL"
	case "28000":
		return "check the user in GATEHOUSE_DATABASE_URL, and that pg_hba.conf lets it connect from this host"
	case "3D000":
		return "create the database with createdb, or correct its name in GATEHOUSE_DATABASE_URL"
	case "42704":
		return "remove the unknown parameter from GATEHOUSE_DATABASE_URL"
	case "26000", "42P05":
		return "the connections of this URL go through a pooler; remove default_query_exec_mode from " +
			"GATEHOUSE_DATABASE_URL, or set it to cache_describe"
	case "55P03":
		return "another process is changing the same records, or stopped while doing so; PostgreSQL ends its transaction " +
			"within a minute, so retry then"
	case "53100":
		return "free space on the disk of the PostgreSQL server"
	}
	return ""
}

// sqliteRemedy returns what to do about a result code of SQLite, or "".
func sqliteRemedy(err error) string {
	switch sqliteCode(err) {
	case sqliteReadOnly, sqliteCantOpen:
		return "let the user that runs gatehouse write the database and its directory: check their owner, their mode and " +
			"whether the disk is read-only"
	case sqliteCorrupt:
		return "the database file is damaged; restore a backup"
	case sqliteFull:
		return "free space on the disk of the database"
	case sqliteNotADB:
		return "GATEHOUSE_DATABASE_URL names a file that is not a SQLite database; name another path, or restore a backup"
	}
	return ""
}

// systemRemedy returns what to do about an error of the operating system, or "".
func systemRemedy(err error) string {
	switch {
	case errors.As(err, new(*pgconn.ConnectError)):
		if errors.Is(err, fs.ErrPermission) {
			return "let the user that runs gatehouse use the socket of PostgreSQL"
		}
		if errors.Is(err, syscall.ECONNREFUSED) || errors.As(err, new(*net.DNSError)) {
			return "start PostgreSQL, or correct the host and port in GATEHOUSE_DATABASE_URL"
		}
	case errors.Is(err, syscall.EISDIR):
		return "GATEHOUSE_DATABASE_URL names a directory; add the name of a file, such as /gatehouse.db"
	case errors.Is(err, syscall.ENOTDIR):
		return "a part of the path in GATEHOUSE_DATABASE_URL is a file, not a directory; correct the path"
	case errors.Is(err, fs.ErrPermission), errors.Is(err, syscall.EROFS):
		return "let the user that runs gatehouse write the database and its directory (check owner, mode and mount), or " +
			"set GATEHOUSE_DATABASE_URL to a path that it can write"
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return "free space on the disk of the database"
	case errors.Is(err, fs.ErrNotExist):
		return "correct the path in GATEHOUSE_DATABASE_URL: name a directory that the user that runs gatehouse can write"
	}
	return ""
}

// tlsRemedy returns what to do when the TLS handshake failed for a permanent reason, or "".
func tlsRemedy(err error) string {
	var refused *pgconn.ConnectError
	if !errors.As(err, &refused) || SQLState(err) != "" {
		return ""
	}
	switch {
	case strings.Contains(refused.Error(), "server refused TLS connection"):
		return "PostgreSQL has TLS switched off: switch it on (ssl = on), or set sslmode in GATEHOUSE_DATABASE_URL"
	case errors.As(err, new(*tls.CertificateVerificationError)):
		return "the certificate of PostgreSQL is not trusted: set sslrootcert in GATEHOUSE_DATABASE_URL to the file of " +
			"its CA, and name the host as the certificate does"
	case errors.As(err, new(tls.AlertError)):
		return "PostgreSQL refused the TLS handshake: check sslcert and sslkey in GATEHOUSE_DATABASE_URL"
	}
	return ""
}

// poolerRemedy returns what to do about a permanent error of PgBouncer, or "". PgBouncer has one code for nearly all
// errors, including an unavailable PostgreSQL.
func poolerRemedy(err error) string {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) || !strings.HasPrefix(pg.Code, "08") {
		return ""
	}
	switch {
	case strings.Contains(pg.Message, "unsupported startup parameter"):
		return "PgBouncer refuses a parameter of GATEHOUSE_DATABASE_URL: remove it there, or add it to " +
			"ignore_startup_parameters in pgbouncer.ini"
	case strings.Contains(pg.Message, "no such database"), strings.Contains(pg.Message, "does not exist"):
		return "correct the name of the database in GATEHOUSE_DATABASE_URL or in the section [databases] of pgbouncer.ini"
	case strings.Contains(pg.Message, "no such user"), strings.Contains(pg.Message, "password"),
		strings.Contains(pg.Message, "auth"):
		return "check the user and the password in GATEHOUSE_DATABASE_URL and in the auth_file of PgBouncer"
	case strings.Contains(pg.Message, "SSL required"), strings.Contains(pg.Message, "TLS required"):
		return "PgBouncer requires TLS: set sslmode=require or verify-full in GATEHOUSE_DATABASE_URL"
	}
	return ""
}
