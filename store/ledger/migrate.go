package ledger

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

//go:embed sql
var migrationFiles embed.FS

// migration is one file of sql/postgres or sql/sqlite.
type migration struct {
	number int
	name   string
	text   string
}

// checksum returns a hash of the statements.
func (m migration) checksum() string {
	sum := sha256.Sum256([]byte(m.text))
	return hex.EncodeToString(sum[:])
}

const migrationsTable = `CREATE TABLE IF NOT EXISTS evently_mail.migrations (
	number     integer PRIMARY KEY,
	name       text NOT NULL,
	checksum   text NOT NULL,
	applied_at timestamptz NOT NULL
)`

// migrations returns the migrations of one dialect, by number.
func migrations(folder string) []migration {
	folder = path.Join("sql", folder)
	entries, err := migrationFiles.ReadDir(folder) // sorted by name
	if err != nil {
		panic(err) // the files are part of the program
	}
	ms := make([]migration, 0, len(entries))
	for _, entry := range entries {
		text, err := migrationFiles.ReadFile(path.Join(folder, entry.Name()))
		if err != nil {
			panic(err)
		}
		digits, _, _ := strings.Cut(entry.Name(), "_")
		number, err := strconv.Atoi(digits)
		if err != nil {
			panic(err)
		}
		ms = append(ms, migration{number: number, name: strings.TrimSuffix(entry.Name(), ".sql"), text: string(text)})
	}
	return ms
}

// Migrations returns the SQL that makes the tables in PostgreSQL, for an administrator who
// runs it with another tool. It may run more than once.
func Migrations() string {
	var b strings.Builder
	b.WriteString("-- The history of mails. Run it as the user of LEDGER_DATABASE_URL, or give that user\n" +
		"-- the schema: see docs/ledger.md.\n" +
		"BEGIN;\n\nCREATE SCHEMA IF NOT EXISTS " + schema + ";\n\n" + migrationsTable + ";\n")
	for _, m := range migrations("postgres") {
		fmt.Fprintf(&b, "\n-- %s\n\n%s\n", m.name, strings.TrimSpace(m.text))
		fmt.Fprintf(&b, "\nINSERT INTO %s.migrations (number, name, checksum, applied_at)\nVALUES (%d, '%s', '%s', now())\nON CONFLICT DO NOTHING;\n",
			schema, m.number, m.name, m.checksum())
	}
	b.WriteString("\nCOMMIT;\n")
	return b.String()
}

// migrationTimeout bounds the migrations: an index of ten million rows takes a minute.
const migrationTimeout = 15 * time.Minute

// migrate makes the tables or brings them up to date. Tables that another tool has made are
// used as they are.
func (d *database) migrate(ctx context.Context, now time.Time) error {
	patient := *d
	patient.timeout = max(d.timeout, migrationTimeout)
	return patient.transact(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := d.lock(ctx, tx, lockMigrate); err != nil {
			return err
		}
		missing, err := d.missing(ctx, tx)
		if err != nil || len(missing) == 0 {
			return err
		}
		if _, err := tx.ExecContext(ctx, d.sql(d.dialect(migrationsTable))); err != nil {
			return fmt.Errorf("make the table of migrations: %w", cause(ctx, err))
		}
		for _, m := range missing {
			if _, err := tx.ExecContext(ctx, m.text); err != nil {
				return fmt.Errorf("migration %s: %w", m.name, cause(ctx, err))
			}
			_, err := d.exec(ctx, tx, "INSERT INTO evently_mail.migrations (number, name, checksum, applied_at) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
				m.number, m.name, m.checksum(), d.time(now))
			if err != nil {
				return fmt.Errorf("record migration %s: %w", m.name, err)
			}
		}
		return nil
	})
}

// dialect returns a definition with the types of the database.
func (d *database) dialect(definition string) string {
	if d.postgres {
		return definition
	}
	return strings.ReplaceAll(definition, "timestamptz", "integer")
}

// missing returns the migrations that did not run yet. It makes the schema if need be. A
// migration that ran with other statements is an error. One that only a newer program
// knows is not: during an update both run.
func (d *database) missing(ctx context.Context, tx *sqlx.Tx) ([]migration, error) {
	folder := "sqlite"
	if d.postgres {
		folder = "postgres"
	}
	wanted := migrations(folder)
	known, err := d.exists(ctx, tx, "migrations")
	if err != nil {
		return nil, err
	}
	if !known {
		return wanted, d.makeSchema(ctx, tx)
	}
	var ran []struct {
		Number   int    `db:"number"`
		Checksum string `db:"checksum"`
	}
	if err := d.query(ctx, tx, &ran, "SELECT number, checksum FROM evently_mail.migrations"); err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	checksums := make(map[int]string, len(ran))
	for _, r := range ran {
		checksums[r.Number] = r.Checksum
	}
	var missing []migration
	for _, m := range wanted {
		switch checksums[m.number] {
		case m.checksum():
		case "":
			missing = append(missing, m)
		default:
			return nil, &AccessError{Words: fmt.Sprintf("history is off: migration %s ran with other statements than this program has; compare the tables with ledger migrations --sql, then correct its checksum in %s.migrations", m.name, schema)}
		}
	}
	return missing, nil
}

// makeSchema makes the schema. Only a user with CREATE on the database may do it, even if the
// schema is there.
func (d *database) makeSchema(ctx context.Context, tx *sqlx.Tx) error {
	if !d.postgres {
		return nil
	}
	var there bool
	if err := tx.GetContext(ctx, &there, "SELECT to_regnamespace($1) IS NOT NULL", schema); err != nil {
		return fmt.Errorf("look for the schema: %w", cause(ctx, err))
	}
	if there {
		return nil
	}
	if _, err := tx.ExecContext(ctx, "CREATE SCHEMA "+schema); err != nil {
		return fmt.Errorf("make the schema: %w", cause(ctx, err))
	}
	return nil
}

// exists reports whether a table of the ledger exists.
func (d *database) exists(ctx context.Context, tx *sqlx.Tx, name string) (there bool, err error) {
	if d.postgres {
		err = tx.GetContext(ctx, &there, "SELECT to_regclass($1) IS NOT NULL", schema+"."+name)
	} else {
		err = tx.GetContext(ctx, &there, "SELECT count(*) > 0 FROM sqlite_master WHERE type = 'table' AND name = $1", schema+"_"+name)
	}
	if err != nil {
		return false, fmt.Errorf("look for the table %s: %w", name, cause(ctx, err))
	}
	return there, nil
}

// Readiness says whether a worker can keep the history in a database.
type Readiness struct {
	Tables  bool   // they exist; else a worker makes them at its start
	Missing int    // migrations that a worker runs at its start
	Fault   string // why there is no history; "": it works
	Warning string // what works less well
}

// Readiness looks at the tables and at the rights of the user, and changes nothing.
func (b *DB) Readiness(ctx context.Context) (r Readiness, err error) {
	d := b.d
	ctx, cancel := d.deadline(ctx)
	defer cancel()
	err = d.transact(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if d.postgres {
			var mayWrite bool
			if err := tx.GetContext(ctx, &mayWrite, "SELECT NOT pg_is_in_recovery()"); err != nil {
				return err
			}
			if !mayWrite {
				return refine(&pq.Error{Code: pqerror.ReadOnlySQLTransaction})
			}
		}
		if r.Tables, err = d.exists(ctx, tx, "migrations"); err != nil {
			return err
		}
		if !d.postgres {
			return nil
		}
		return d.rights(ctx, tx, &r)
	})
	if access, ok := errors.AsType[*AccessError](refine(err)); ok {
		r.Fault, err = access.Words, nil
	}
	return r, err
}

// rights looks at what the user may do.
func (d *database) rights(ctx context.Context, tx *sqlx.Tx, r *Readiness) error {
	lacks := refine(&pq.Error{Code: pqerror.InsufficientPrivilege})
	var can struct {
		Create bool
		Use    *bool // nil: there is no schema
		Make   *bool
	}
	err := tx.GetContext(ctx, &can, `SELECT has_database_privilege(current_database(), 'CREATE') AS "create",
		has_schema_privilege(to_regnamespace($1)::oid, 'USAGE') AS "use", has_schema_privilege(to_regnamespace($1)::oid, 'CREATE') AS "make"`, schema)
	switch {
	case err != nil:
		return err
	case can.Use == nil && !can.Create, can.Use != nil && !*can.Use:
		return lacks
	case !r.Tables && can.Make != nil && !*can.Make:
		return lacks
	case !r.Tables:
		return nil
	}
	missing, err := d.missing(ctx, tx)
	if r.Missing = len(missing); err != nil {
		return err
	}
	if r.Missing > 0 && !*can.Make {
		return refine(&pq.Error{Code: pqerror.UndefinedColumn})
	}
	var refused []string
	err = tx.SelectContext(ctx, &refused, `SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace($1) AND relkind IN ('r', 'p') AND NOT relispartition
		AND NOT (has_table_privilege(oid, 'SELECT') AND has_table_privilege(oid, 'INSERT') AND has_table_privilege(oid, 'UPDATE') AND has_table_privilege(oid, 'DELETE'))
		ORDER BY relname`, schema)
	if err != nil {
		return err
	}
	if len(refused) > 0 {
		return &AccessError{Words: "history is off: the user of the database lacks rights (42501) to " + strings.Join(refused, ", ") +
			"; run GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA " + schema + " for the user of LEDGER_DATABASE_URL"}
	}
	var owned bool
	err = tx.GetContext(ctx, &owned, `SELECT coalesce(bool_and(pg_has_role(relowner, 'USAGE')), true) FROM pg_class
		WHERE relnamespace = to_regnamespace($1) AND relname IN ('mails', 'events')`, schema)
	if err == nil && !owned {
		r.Warning = "the user does not own the tables, so workers make and drop no partitions of months: docs/ledger.md has the statements"
	}
	return err
}
