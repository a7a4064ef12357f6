package suppressions

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/csv"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"

	"github.com/evently/workers/store/ledger"
)

// Import describes the import of a file. By is the person, and Note the reason, for rows
// without one that do not come from Export. Note is required.
type Import struct {
	From     io.Reader
	By, Note string
	DryRun   bool // checks the file and counts, and changes nothing

	// Progress is told how many rows were read, with the total 0, and then how many of total were
	// compared and stored. nil: it is told to none.
	Progress func(done, total int)
}

// importPart is the number of rows between two calls of Progress, and of one write.
const importPart = 1000

func (i *Import) tell(done, total int) {
	if i.Progress != nil {
		i.Progress(done, total)
	}
}

// Imported counts the rows of a file.
type Imported struct {
	Rows      int `json:"rows"`
	Added     int `json:"added"`     // of them, that were not in force
	Replaced  int `json:"replaced"`  // that were in force with another class, end or scope
	Unchanged int `json:"unchanged"` // that were in force, at least as strong
	Repeated  int `json:"repeated"`  // that an earlier row of the file has, too
	Ended     int `json:"ended"`     // whose end has passed
}

// FileError has what is wrong with the rows of a file.
type FileError struct {
	Faults []string // such as "line 3: scope: …"; the first of them
	More   int      // others
}

func (e *FileError) Error() string {
	text := "nothing was imported: " + strings.Join(e.Faults, "\n")
	if len(e.Faults) > 1 {
		text = "nothing was imported:\n" + strings.Join(e.Faults, "\n")
	}
	if e.More > 0 {
		text += fmt.Sprintf("\nand %d more", e.More)
	}
	return text
}

func (e *FileError) add(line int, format string, args ...any) {
	const most = 20
	if len(e.Faults) == most {
		e.More++
		return
	}
	e.Faults = append(e.Faults, fmt.Sprintf("line %d: ", line)+fmt.Sprintf(format, args...))
}

// Import adds the suppressions of a CSV file: of Export, of another program, or one address
// a line. All rows are checked before the first one is stored, and they are stored together.
// A fault of the file is a [FileError].
func (s *Store) Import(ctx context.Context, i Import) (n Imported, err error) {
	if strings.TrimSpace(i.Note) == "" && !i.DryRun {
		return n, errReason
	}
	rows, n, err := s.readFile(ctx, i)
	if err != nil || len(rows) == 0 {
		return n, err
	}
	errDry := errors.New("dry run")
	err = s.change(ctx, func(ctx context.Context, tx *sqlx.Tx) error {
		now, done := s.now(), 0
		for some := range slices.Chunk(rows, importPart) {
			chosen, err := s.choose(ctx, tx, some, now, &n)
			if err != nil {
				return err
			}
			if err := s.put(ctx, tx, chosen...); err != nil {
				return err
			}
			done += len(some)
			i.tell(done, len(rows))
		}
		if i.DryRun {
			return errDry
		}
		return nil
	})
	if err != nil && !errors.Is(err, errDry) {
		return n, fault("import suppressions", err)
	}
	return n, nil
}

// choose returns the rows that change something, and counts.
func (s *Store) choose(ctx context.Context, tx *sqlx.Tx, rows []row, now time.Time, n *Imported) (chosen []row, err error) {
	hashes := make([][]byte, len(rows))
	for i, r := range rows {
		hashes[i] = r.Hash
	}
	var there []row
	if err := s.db.Select(ctx, tx, &there, "SELECT "+columns+" FROM evently_mail.suppressions WHERE rcpt_hash IN (?) FOR UPDATE", hashes); err != nil {
		return nil, err
	}
	known := make(map[string]row, len(there))
	for _, r := range there {
		known[string(r.Hash)+string(r.Scope)] = r
	}
	for _, r := range rows {
		old, found := known[string(r.Hash)+string(r.Scope)]
		switch {
		case !found || !old.isActive(now):
			n.Added++
		case isWeaker(r, old):
			n.Unchanged++
			continue
		default:
			n.Replaced++
		}
		chosen = append(chosen, r)
	}
	return chosen, nil
}

// isWeaker reports whether a row says at most as much as the one in force: its class is weaker, or
// it is the same and the row ends no later.
func isWeaker(r, old row) bool {
	a, b := slices.Index(Classes(), r.Class), slices.Index(Classes(), old.Class)
	if a != b {
		return a > b
	}
	return old.Expires.IsZero() || !r.Expires.IsZero() && !r.Expires.After(old.Expires.Time)
}

// readFile reads and checks all rows.
func (s *Store) readFile(ctx context.Context, i Import) (rows []row, n Imported, err error) {
	r, names, first, err := openFile(i.From)
	if err != nil {
		return nil, n, err
	}
	faults := new(FileError)
	f := file{names: names, store: s, now: s.now(), by: line(i.By, maxID), note: line(i.Note, maxNote)}
	seen := map[string]bool{}
	for {
		record, at := first, 1
		if first = nil; record == nil {
			if record, err = r.Read(); errors.Is(err, io.EOF) {
				break
			}
			if e, ok := errors.AsType[*csv.ParseError](err); ok {
				faults.add(e.Line, "it is not CSV: %v", e.Err)
				break // the rest cannot be told apart
			}
			if err != nil {
				return nil, n, fmt.Errorf("read the file: %w", err)
			}
			at, _ = r.FieldPos(0)
		}
		if isBlank(record) {
			continue
		}
		if n.Rows++; n.Rows%importPart == 0 {
			i.tell(n.Rows, 0)
		}
		one, err := f.row(ctx, record)
		if fatal, ok := errors.AsType[*keyError](err); ok {
			return nil, n, fault("import suppressions", fatal.err)
		}
		if err != nil {
			faults.add(at, "%v", err)
			continue
		}
		key := string(one.Hash) + string(one.Scope)
		switch {
		case !one.isActive(f.now):
			n.Ended++
		case seen[key]:
			n.Repeated++
		default:
			seen[key] = true
			rows = append(rows, one)
		}
	}
	if len(faults.Faults) > 0 {
		return nil, n, faults
	}
	return rows, n, nil
}

func isBlank(record []string) bool {
	return !slices.ContainsFunc(record, func(cell string) bool { return strings.TrimSpace(cell) != "" })
}

// openFile returns a reader of the rows with the names of the columns. first is the first
// row of a file without names, nil otherwise.
func openFile(from io.Reader) (r *csv.Reader, names, first []string, err error) {
	in := bufio.NewReader(from)
	if mark, err := in.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = in.Discard(3)
	}
	begin, _ := in.Peek(in.Size())
	head, _, _ := bytes.Cut(begin, []byte("\n"))
	r = csv.NewReader(in)
	r.FieldsPerRecord, r.TrimLeadingSpace = -1, true
	if bytes.ContainsRune(head, ';') && !bytes.ContainsRune(head, ',') {
		r.Comma = ';' // spreadsheets of many countries
	}
	head0, err := r.Read()
	if errors.Is(err, io.EOF) {
		return nil, nil, nil, &FileError{Faults: []string{"the file is empty"}}
	}
	if e, ok := errors.AsType[*csv.ParseError](err); ok {
		faults := new(FileError)
		faults.add(e.Line, "it is not CSV: %v", e.Err)
		return nil, nil, nil, faults
	}
	if err != nil {
		return nil, nil, nil, fmt.Errorf("read the file: %w", err)
	}
	if len(head0) == 1 && strings.Contains(head0[0], "@") {
		return r, []string{"address"}, head0, nil
	}
	names, err = columnNames(head0)
	return r, names, nil, err
}

// columnNames checks the first line of a file.
func columnNames(head []string) ([]string, error) {
	faults := new(FileError)
	names := make([]string, len(head))
	for i, name := range head {
		name = strings.ToLower(strings.TrimSpace(name))
		if other, ok := otherNames[name]; ok {
			name = other
		}
		switch {
		case !slices.Contains(fileColumns, name):
			faults.add(1, "no column is called %q: use %s", line(name, maxWord), strings.Join(fileColumns, ", "))
		case slices.Contains(names[:i], name):
			faults.add(1, "two columns are called %s", name)
		}
		names[i] = name
	}
	if !slices.Contains(names, "address") && !slices.Contains(names, "id") {
		faults.add(1, "there is neither a column address nor a column id")
	}
	if len(faults.Faults) > 0 {
		return nil, faults
	}
	return names, nil
}

// file reads the rows of a file.
type file struct {
	names    []string
	store    *Store
	now      time.Time
	by, note string

	hasher *ledger.Hasher // nil: not asked for yet
}

// keyError says that there is no key for the addresses of a file.
type keyError struct{ err error }

func (e *keyError) Error() string { return e.err.Error() }

// row returns the suppression of a record. Its errors show no address.
func (f *file) row(ctx context.Context, record []string) (r row, err error) {
	if len(record) > len(f.names) {
		return r, fmt.Errorf("it has %d cells, and the first line has %d", len(record), len(f.names))
	}
	cells := map[string]string{}
	for i, cell := range record {
		cells[f.names[i]] = plain(cell)
	}
	now := ledger.Time{Time: f.now}
	r = row{
		Scope: AllMails, Class: Operator, Source: FromImport, Masked: line(cells["to"], maxID), Domain: line(strings.ToLower(cells["domain"]), maxID), First: now, Last: now,
		Enhanced: line(cells["enhanced"], maxWord), Diagnostic: line(cells["diagnostic"], maxDiagnostic),
		CreatedBy: line(cells["created_by"], maxID), Note: line(cells["note"], maxNote),
	}
	if cells["source"] == "" { // it is not of Export
		r.Note, r.CreatedBy = cmp.Or(r.Note, f.note), cmp.Or(r.CreatedBy, f.by)
	}
	if err := f.of(ctx, &r, cells["address"], cells["id"]); err != nil {
		return r, err
	}
	return r, r.read(cells)
}

// of sets whom the suppression is about.
func (f *file) of(ctx context.Context, r *row, address, id string) error {
	if address == "" {
		hash, err := hex.DecodeString(id)
		const size = 16
		if err != nil || len(hash) != size {
			return fmt.Errorf("id: it is not one: an id has %d hexadecimal digits", 2*size)
		}
		r.Hash = hash
		return nil
	}
	if err := CheckAddress(address); err != nil {
		return fmt.Errorf("address: %w", err)
	}
	if f.hasher == nil {
		ctx, cancel := f.store.db.Deadline(ctx)
		defer cancel()
		h, err := f.store.db.Hasher(ctx, f.store.sealer)
		if err != nil {
			return &keyError{err}
		}
		f.hasher = &h
	}
	to := f.store.recipientOf(*f.hasher, address)
	r.Hash, r.Masked, r.Domain, r.Sealed = to.Hash, to.Masked, to.Domain, to.Sealed
	return nil
}

// read sets the fields that have a form. An empty cell leaves its default.
func (r *row) read(cells map[string]string) error {
	for _, c := range []struct {
		name string
		set  func(cell string) error
	}{
		{"scope", func(cell string) error { return r.Scope.UnmarshalText([]byte(cell)) }},
		{"class", func(cell string) error { return r.Class.UnmarshalText([]byte(cell)) }},
		{"source", func(cell string) error { return r.Source.UnmarshalText([]byte(cell)) }},
		{"hits", func(cell string) error { return number(&r.Hits, cell, 1<<30) }},
		{"code", func(cell string) error { return number(&r.Code, cell, 999) }},
		{"first_at", func(cell string) error { return instant(&r.First, cell) }},
		{"last_at", func(cell string) error { return instant(&r.Last, cell) }},
		{"expires_at", func(cell string) error { return instant(&r.Expires, cell) }},
	} {
		if cell := cells[c.name]; cell != "" {
			if err := c.set(cell); err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
		}
	}
	if r.Class == Complaint && cells["scope"] == "" {
		r.Scope = OptionalMails
	}
	if r.First.After(r.Last.Time) {
		if cells["first_at"] != "" && cells["last_at"] != "" {
			return errors.New("first_at: it is after last_at")
		}
		r.First = r.Last
	}
	return nil
}

func number(n *int, cell string, most int) error {
	v, err := strconv.Atoi(cell)
	if err != nil || v < 0 || v > most {
		return fmt.Errorf("it is not a number from 0 to %d", most)
	}
	*n = v
	return nil
}

func instant(t *ledger.Time, cell string) error {
	for _, form := range []string{time.RFC3339Nano, "2006-01-02 15:04:05Z07:00", "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
		if at, err := time.Parse(form, cell); err == nil {
			if at.Year() < 2000 || at.Year() > 2199 {
				return errors.New("the year must be from 2000 to 2199")
			}
			t.Time = at.UTC().Truncate(time.Microsecond)
			return nil
		}
	}
	return errors.New("it is not a time: write it as 2026-11-29T14:00:00Z or 2026-11-29")
}
