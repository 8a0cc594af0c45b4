package db

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/glebarez/sqlite"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
	"gorm.io/gorm/schema"

	"gatehouse/storage/reqevent"
)

// registerMillis registers the serializer of times with gorm, which keeps serializers in a global table.
var registerMillis = sync.OnceFunc(func() { schema.RegisterSerializer("millis", millis{}) })

func (d *DB) connect(ctx context.Context, o Options) error {
	registerMillis()
	pool := o.Pool
	if pool == 0 {
		pool = 4 * runtime.GOMAXPROCS(0)
	}
	var err error
	if path, ok := strings.CutPrefix(o.URL, "sqlite:"); ok {
		d.engine = SQLite
		err = d.connectSQLite(path, pool, o.ReadOnlyAllowed)
	} else {
		d.engine = Postgres
		limits := defaultLimits
		if o.NoStatementTimeout {
			limits = commandLimits
		}
		err = d.connectPostgres(o.URL, pool, limits)
	}
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeoutCause(ctx, d.pg.maxConnectTime()+5*time.Second, errPingTimeout)
	defer cancel()
	err = QueryRow(limited, d.Write, []any{new(int64)}, "SELECT 1")
	if err != nil && errors.Is(context.Cause(limited), errPingTimeout) {
		err = errors.Join(errPingTimeout, err)
	}
	return Wrap("reach the database", err)
}

var errPingTimeout = errors.New("no response within the time limit")

// connectSQLite opens one writer connection and a pool of readers. FULL costs about 0.3 ms a commit, but with NORMAL a
// power loss could lose a revocation. Transactions acquire the write lock when they begin, or two of them could wait
// for each other's upgrade.
func (d *DB) connectSQLite(path string, readers int, readOnlyAllowed bool) (err error) {
	if dir := filepath.Dir(path); dir != "." {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return Wrap("create the directory of the database", err)
		}
	}
	if d.readOnly, err = openFile(path, readOnlyAllowed); err != nil {
		return err
	}
	d.file = &databaseFile{path: path}
	if d.file.opened, err = os.Stat(path); err != nil {
		return Wrap("open the database", err)
	}
	// A wait inside SQLite observes no deadline, so it is short, and busyRetrier retries.
	pragmas := url.Values{"_pragma": {
		"busy_timeout(1000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "temp_store(2)",
		"journal_size_limit(67108864)",
	}}
	name := "file:" + (&url.URL{Path: path}).EscapedPath()
	if d.readOnly {
		name += readOnlyParameters(path)
	} else {
		// A connection never creates the file: when it is removed, an empty one would be the database of the next start.
		name += "?mode=rw&" + pragmas.Encode()
	}
	// No statement cache on the one writer: gorm lets only one caller prepare a statement, and if that one waits for the
	// connection while the transaction that uses it needs the same statement, both wait indefinitely.
	writer, err := sql.Open(sqlite.DriverName, name+"&_txlock=immediate")
	if err != nil {
		return fmt.Errorf("open the database: %w", err)
	}
	if d.Write, err = d.openPool(sqlite.Dialector{Conn: busyRetrier{writer, d.file}}, false); err != nil {
		return errors.Join(err, writer.Close())
	}
	if d.Read, err = d.openPool(sqlite.Open(name+"&_pragma=query_only(1)"), true); err != nil {
		return err
	}
	d.pools[0].SetMaxOpenConns(1)
	d.pools[1].SetMaxOpenConns(readers)
	d.pools[1].SetMaxIdleConns(readers)
	return nil
}

func (d *DB) openPool(dialector gorm.Dialector, prepare bool) (Conn, error) {
	g, err := gorm.Open(dialector, &gorm.Config{
		SkipDefaultTransaction: true,
		// Columns by their names, never *: PostgreSQL refuses a prepared * once a later version has added a column.
		QueryFields:          true,
		NamingStrategy:       names{},
		TranslateError:       true,
		PrepareStmt:          prepare,
		PrepareStmtMaxSize:   256,
		PrepareStmtTTL:       time.Hour,
		NowFunc:              func() time.Time { return d.Now().UTC() },
		Logger:               statementLog{d.Log, &d.slowStatements, &d.requestStatements},
		DisableAutomaticPing: true,
	})
	if err != nil {
		return Conn{}, Wrap("open the database", err)
	}
	pool, err := g.DB()
	if err != nil {
		return Conn{}, fmt.Errorf("open the database: %w", err)
	}
	d.pools = append(d.pools, pool)
	return Conn{g}, nil
}

// names is gorm's default naming of tables and columns, with the names of tables cached for the process: gorm parses
// the records again for each pool, and matches the name of each with dozens of regular expressions to find its plural.
type names struct{ schema.NamingStrategy }

var tableNames sync.Map // by the name of the record

// TableName implements schema.Namer.
func (n names) TableName(record string) string {
	if name, ok := tableNames.Load(record); ok {
		return name.(string)
	}
	name := n.NamingStrategy.TableName(record)
	tableNames.Store(record, name)
	return name
}

// statementLog is gorm's logger. It logs slow statements without their arguments, which are hashes and personal data.
// Errors are left to the callers.
type statementLog struct {
	log  *slog.Logger
	slow *atomic.Uint64
	// requests counts the statements of requests, which have an id, unlike jobs.
	requests *atomic.Uint64
}

func (q statementLog) LogMode(logger.LogLevel) logger.Interface { return q }
func (q statementLog) Info(context.Context, string, ...any)     {}
func (q statementLog) Warn(context.Context, string, ...any)     {}
func (q statementLog) Error(context.Context, string, ...any)    {}
func (q statementLog) ParamsFilter(_ context.Context, sql string, _ ...any) (string, []any) {
	return sql, nil
}

// Trace counts the statement of a request, logs a slow one and adds it to the trace of its request, if there is one.
func (q statementLog) Trace(ctx context.Context, begin time.Time, fc func() (string, int64), err error) {
	if reqevent.FromContext(ctx).RequestID != "" {
		q.requests.Add(1)
	}
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		query, _ := fc()
		_, statement := span.TracerProvider().Tracer("gatehouse/storage").Start(ctx, "database", trace.WithTimestamp(begin),
			trace.WithSpanKind(trace.SpanKindClient),
			trace.WithAttributes(attribute.String("db.query.text", query)))
		if err != nil && !errors.Is(err, context.Canceled) {
			statement.SetStatus(codes.Error, "")
		}
		statement.End()
	}
	if took := time.Since(begin); took > time.Second && !errors.Is(err, context.Canceled) {
		q.slow.Add(1)
		query, rows := fc()
		q.log.WarnContext(ctx, "slow statement", slog.String("sql", query), slog.Int64("rows", rows), slog.Float64("took_ms",
			float64(took.Microseconds())/1000))
	}
}

var _ gorm.ParamsFilter = statementLog{}

// pool returns the pool of database/sql that writes.
func (d *DB) pool() *sql.DB { return d.pools[0] }
