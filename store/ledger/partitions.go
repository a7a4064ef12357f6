package ledger

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/lib/pq"
	"github.com/lib/pq/pqerror"
)

// DefaultRetention is how long the history is kept, at least.
const DefaultRetention = 90 * 24 * time.Hour

// monthsAhead is the number of months for which partitions exist beyond the present one.
const monthsAhead = 3

// partitioned are the tables with partitions, and the columns that they are divided by.
var partitioned = []struct{ table, column, options string }{
	{"mails", "first_seen", " WITH (fillfactor = 90)"},
	{"events", "event_at", ""},
}

func monthOf(t time.Time) time.Time {
	t = t.UTC()
	return time.Date(t.Year(), t.Month(), 1, 0, 0, 0, 0, time.UTC)
}

const partitionLayout = "2006_01"

// partitions returns the months that have a partition of a table, and whether that table
// belongs to the user of the connection, who alone may make and drop partitions.
func (d *database) partitions(ctx context.Context, tx *sqlx.Tx, name string) (months map[time.Time]bool, owned bool, err error) {
	if err := tx.GetContext(ctx, &owned, "SELECT pg_has_role(relowner, 'USAGE') FROM pg_class WHERE oid = to_regclass($1)", schema+"."+name); err != nil {
		return nil, false, fmt.Errorf("look for the owner of %s: %w", name, cause(ctx, err))
	}
	var names []string
	if err := tx.SelectContext(ctx, &names, `SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = to_regclass($1)`, schema+"."+name); err != nil {
		return nil, false, fmt.Errorf("list the partitions of %s: %w", name, cause(ctx, err))
	}
	months = make(map[time.Time]bool, len(names))
	for _, n := range names {
		if month, err := time.Parse(partitionLayout, strings.TrimPrefix(n, name+"_")); err == nil {
			months[month] = true
		}
	}
	return months, owned, nil
}

// changePartitions calls change with the months that have a partition of a table, in a
// transaction that no other worker runs meanwhile. It does nothing with a table of another
// user.
func (d *database) changePartitions(ctx context.Context, table string, change func(ctx context.Context, tx *sqlx.Tx, months map[time.Time]bool) error) error {
	return d.transact(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		if err := d.lock(ctx, tx, lockMigrate); err != nil {
			return err
		}
		months, owned, err := d.partitions(ctx, tx, table)
		if err != nil || !owned {
			return err
		}
		return change(ctx, tx, months)
	})
}

// makePartitions makes the partitions of the months from the last one on. It changes
// nothing, and asks for no lock on the tables, if they are there.
func (d *database) makePartitions(ctx context.Context, now time.Time) error {
	if !d.postgres {
		return nil
	}
	for _, p := range partitioned {
		err := d.changePartitions(ctx, p.table, func(ctx context.Context, tx *sqlx.Tx, months map[time.Time]bool) error {
			for ahead := -1; ahead <= monthsAhead; ahead++ {
				month := monthOf(now).AddDate(0, ahead, 0)
				if months[month] {
					continue
				}
				if err := d.makePartition(ctx, tx, p.table, p.column, p.options, month); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// makePartition makes one partition. Rows of that month that are in the default partition
// move to it.
func (d *database) makePartition(ctx context.Context, tx *sqlx.Tx, table, column, options string, month time.Time) error {
	name := schema + "." + table + "_" + month.Format(partitionLayout)
	parent := schema + "." + table
	const day = "2006-01-02 00:00:00+00"
	from, to := month.Format(day), month.AddDate(0, 1, 0).Format(day)
	for _, statement := range []string{
		"SET LOCAL lock_timeout = '3s'",
		"CREATE TABLE " + name + " (LIKE " + parent + " INCLUDING DEFAULTS)" + options,
		"LOCK TABLE " + parent + " IN ACCESS EXCLUSIVE MODE",
		"WITH moved AS (DELETE FROM " + parent + "_default WHERE " + column + " >= '" + from + "' AND " + column + " < '" + to + "' RETURNING *) INSERT INTO " + name + " SELECT * FROM moved",
		"ALTER TABLE " + parent + " ATTACH PARTITION " + name + " FOR VALUES FROM ('" + from + "') TO ('" + to + "')",
	} {
		if _, err := tx.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("make the partition %s: %w", name, cause(ctx, err))
		}
	}
	return nil
}

// retire removes history that is older than retention: whole partitions, and rows of the
// default partitions and of the roll-ups. Minutes are kept for a week.
func (d *database) retire(ctx context.Context, now time.Time, retention time.Duration) error {
	before := now.Add(-retention)
	if d.postgres {
		if err := d.dropPartitions(ctx, before); err != nil {
			return err
		}
	}
	const week = 7 * day
	for _, c := range []struct {
		table, condition string
		before           time.Time
	}{
		{"counts", "span = 60 AND start_at < ?", now.Add(-min(week, retention))},
		{"counts", "span = 3600 AND start_at < ?", before},
		{"counts", "span = 86400 AND start_at < ?", before},
		{"classes", "hour < ?", before},
		{"domains", "day < ?", before},
		{d.leftOver("mails"), "first_seen < ?", before},
		{d.leftOver("events"), "event_at < ?", before},
		{"bounces", "received_at < ?", before},
		{"meta", "name LIKE '" + metaErased + "%' AND changed_at < ?", now.Add(-erasedKept)},
	} {
		err := d.transact(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
			_, err := d.exec(ctx, tx, "DELETE FROM evently_mail."+c.table+" WHERE "+c.condition, d.time(c.before))
			return err
		})
		if err != nil {
			return fmt.Errorf("remove old rows of %s: %w", c.table, err)
		}
	}
	return d.dropUnmatched(ctx)
}

// mostUnmatched is the number of bounces without a mail that are kept, the latest ones. Anybody
// can send them to the address of a bounce.
const mostUnmatched = 10_000

func (d *database) dropUnmatched(ctx context.Context) error {
	return d.transact(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		_, err := d.exec(ctx, tx, "DELETE FROM evently_mail.bounces WHERE mail IS NULL AND id IN (SELECT id FROM evently_mail.bounces WHERE mail IS NULL ORDER BY received_at DESC, id DESC LIMIT 1000000 OFFSET ?)", mostUnmatched)
		if err != nil {
			return fmt.Errorf("remove bounces without a mail: %w", err)
		}
		return nil
	})
}

// leftOver returns the table with the rows that are removed one by one.
func (d *database) leftOver(table string) string {
	if d.postgres {
		return table + "_default"
	}
	return table
}

// dropPartitions drops the partitions whose months ended before a time.
func (d *database) dropPartitions(ctx context.Context, before time.Time) error {
	for _, p := range partitioned {
		err := d.changePartitions(ctx, p.table, func(ctx context.Context, tx *sqlx.Tx, months map[time.Time]bool) error {
			if _, err := tx.ExecContext(ctx, "SET LOCAL lock_timeout = '3s'"); err != nil {
				return cause(ctx, err)
			}
			for month := range months {
				if month.AddDate(0, 1, 0).After(before) {
					continue
				}
				if _, err := tx.ExecContext(ctx, "DROP TABLE "+schema+"."+p.table+"_"+month.Format(partitionLayout)); err != nil {
					return cause(ctx, err)
				}
			}
			return nil
		})
		if err != nil && !isLockTimeout(err) {
			return fmt.Errorf("drop old partitions of %s: %w", p.table, err)
		}
	}
	return nil
}

// isLockTimeout reports whether a lock was not free in time: the next round tries again.
func isLockTimeout(err error) bool {
	e, ok := errors.AsType[*pq.Error](err)
	return ok && e.Code == pqerror.LockNotAvailable
}

// stray returns the number of rows in the default partitions, up to a thousand.
func (d *database) stray(ctx context.Context) (n int64, err error) {
	if !d.postgres {
		return 0, nil
	}
	ctx, cancel := d.deadline(ctx)
	defer cancel()
	err = d.db.GetContext(ctx, &n, "SELECT (SELECT count(*) FROM (SELECT 1 FROM evently_mail.mails_default LIMIT 1000) m) + (SELECT count(*) FROM (SELECT 1 FROM evently_mail.events_default LIMIT 1000) e)")
	if err != nil {
		return 0, cause(ctx, err)
	}
	return n, nil
}
