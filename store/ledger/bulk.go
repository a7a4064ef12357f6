package ledger

import (
	"context"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// table describes the insertion of many rows.
type table struct {
	name     string
	columns  []column
	conflict string // ON CONFLICT clause; the table is called t in it

	// events says that rows which conflict are left alone, and that the first three
	// columns are the key of an event.
	events bool
}

type column struct{ name, kind string } // kind is the type in PostgreSQL

// insert inserts rows and returns which of them are new or changed, by their place in rows.
// PostgreSQL gets one statement with an array for each column: its text does not depend on
// the number of rows. SQLite gets one statement for each row.
func (d *database) insert(ctx context.Context, tx *sqlx.Tx, t table, rows [][]any) (done []int, err error) {
	if len(rows) == 0 {
		return nil, nil
	}
	if d.postgres {
		done, err = d.insertArrays(ctx, tx, t, rows)
	} else {
		done, err = d.insertRows(ctx, tx, t, rows)
	}
	if err != nil {
		return nil, fmt.Errorf("insert into %s: %w", t.name, cause(ctx, err))
	}
	return done, nil
}

func (t table) names(prefix string) string {
	names := make([]string, len(t.columns))
	for i, c := range t.columns {
		names[i] = prefix + c.name
	}
	return strings.Join(names, ", ")
}

// insertArrays inserts with arrays. Rows of t that conflict and are left alone are not
// returned, and so are not done: xmax tells nothing there.
func (d *database) insertArrays(ctx context.Context, tx *sqlx.Tx, t table, rows [][]any) (done []int, err error) {
	args := make([]any, len(t.columns))
	params := make([]string, len(t.columns))
	var b strings.Builder
	for i, c := range t.columns {
		b.Reset()
		appendArray(&b, rows, i)
		args[i] = b.String()
		params[i] = "$" + strconv.Itoa(i+1) + "::" + c.kind + "[]"
	}
	query := "INSERT INTO " + t.name + " AS t (" + t.names("") + ") SELECT * FROM unnest(" + strings.Join(params, ", ") + ") " + t.conflict
	if !t.events {
		_, err = tx.ExecContext(ctx, query, args...)
		return all(len(rows)), err
	}
	// The key of an event is its mail and the id of its entry.
	var keys []struct {
		Mail     string `db:"mail"`
		EntryMS  int64  `db:"entry_ms"`
		EntrySeq int64  `db:"entry_seq"`
	}
	if err := tx.SelectContext(ctx, &keys, query+" RETURNING mail, entry_ms, entry_seq", args...); err != nil {
		return nil, err
	}
	inserted := make(map[[3]any]bool, len(keys))
	for _, k := range keys {
		inserted[[3]any{k.Mail, k.EntryMS, k.EntrySeq}] = true
	}
	for i, row := range rows {
		if inserted[[3]any{row[0], row[1], row[2]}] {
			done = append(done, i)
		}
	}
	return done, nil
}

func (d *database) insertRows(ctx context.Context, tx *sqlx.Tx, t table, rows [][]any) (done []int, err error) {
	params := make([]string, len(t.columns))
	for i := range params {
		params[i] = "$" + strconv.Itoa(i+1)
	}
	statement, err := tx.PreparexContext(ctx, d.sql("INSERT INTO "+t.name+" AS t ("+t.names("")+") VALUES ("+strings.Join(params, ", ")+") "+t.conflict))
	if err != nil {
		return nil, err
	}
	defer statement.Close()
	for i, row := range rows {
		args := make([]any, len(row))
		for j, v := range row {
			if at, ok := v.(time.Time); ok {
				v = d.time(at)
			}
			args[j] = v
		}
		result, err := statement.ExecContext(ctx, args...)
		if err != nil {
			return nil, err
		}
		if n, err := result.RowsAffected(); err != nil {
			return nil, err
		} else if n > 0 {
			done = append(done, i)
		}
	}
	return done, nil
}

func all(n int) []int {
	places := make([]int, n)
	for i := range places {
		places[i] = i
	}
	return places
}

// appendArray writes the values of one column as an array of PostgreSQL; see "Array Input
// and Output Syntax" in its manual. The zero time, nil bytes and nil are NULL.
func appendArray(b *strings.Builder, rows [][]any, column int) {
	b.WriteByte('{')
	for i, row := range rows {
		if i > 0 {
			b.WriteByte(',')
		}
		switch v := row[column].(type) {
		case nil:
			b.WriteString("NULL")
		case string:
			appendQuoted(b, v)
		case int64:
			b.WriteString(strconv.FormatInt(v, 10))
		case bool:
			b.WriteString(strconv.FormatBool(v))
		case []byte:
			if v == nil {
				b.WriteString("NULL")
				continue
			}
			b.WriteString(`"\\x`)
			b.WriteString(hex.EncodeToString(v))
			b.WriteByte('"')
		case time.Time:
			if v.IsZero() {
				b.WriteString("NULL")
				continue
			}
			b.WriteByte('"')
			b.WriteString(v.UTC().Format("2006-01-02 15:04:05.999999Z"))
			b.WriteByte('"')
		default:
			panic(fmt.Sprintf("a value of type %T has no column", v))
		}
	}
	b.WriteByte('}')
}

func appendQuoted(b *strings.Builder, text string) {
	b.WriteByte('"')
	for {
		i := strings.IndexAny(text, `"\`)
		if i < 0 {
			break
		}
		b.WriteString(text[:i])
		b.WriteByte('\\')
		b.WriteByte(text[i])
		text = text[i+1:]
	}
	b.WriteString(text)
	b.WriteByte('"')
}
