package suppressions

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

// fileColumns are the columns of a file, in the order in which Export writes them.
var fileColumns = []string{
	"id", "address", "to", "domain", "scope", "class", "source", "hits", "first_at", "last_at", "expires_at",
	"code", "enhanced", "diagnostic", "created_by", "note",
}

// otherNames are the names that files of other programs have for columns.
var otherNames = map[string]string{"email": "address", "e-mail": "address", "recipient": "address", "hash": "id", "reason": "note", "comment": "note", "expires": "expires_at"}

// Export writes the suppressions in force that f chooses as CSV, and returns their number. Addresses
// are written only if they were encrypted and the key of the operator is there; the ids are
// always written, and Import accepts them.
func (s *Store) Export(ctx context.Context, to io.Writer, f Filter) (n int, err error) {
	w := csv.NewWriter(to)
	if err := w.Write(fileColumns); err != nil {
		return 0, fmt.Errorf("write the file: %w", err)
	}
	f.Limit, f.State = mostListed, Active
	for {
		page, err := s.List(ctx, f)
		if err != nil {
			return n, err
		}
		for _, p := range page.Suppressions {
			if err := w.Write(p.record()); err != nil {
				return n, fmt.Errorf("write the file: %w", err)
			}
			n++
		}
		if f.After = page.Next; f.After == "" {
			break
		}
	}
	w.Flush()
	if err := w.Error(); err != nil {
		return n, fmt.Errorf("write the file: %w", err)
	}
	return n, nil
}

// record returns the cells of a suppression in the order of fileColumns.
func (s Suppression) record() []string {
	stamp := func(t *time.Time) string {
		if t == nil || t.IsZero() {
			return ""
		}
		return t.UTC().Format(time.RFC3339Nano)
	}
	cells := []string{
		s.ID, s.Address, s.To, s.Domain, string(s.Scope), string(s.Class), string(s.Source), strconv.Itoa(s.Hits), stamp(&s.First), stamp(&s.Last), stamp(s.Expires),
		strconv.Itoa(s.Code), s.Enhanced, s.Diagnostic, s.CreatedBy, s.Note,
	}
	for i, c := range cells {
		if isFormula(c) || strings.HasPrefix(c, "'") {
			cells[i] = "'" + c
		}
	}
	return cells
}

// isFormula reports whether a spreadsheet would take a cell for a formula. Words of servers
// and addresses are chosen by others.
func isFormula(cell string) bool {
	return cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0]))
}

// plain undoes the quote that Export puts before a formula.
func plain(cell string) string {
	cell = strings.TrimSpace(cell)
	if rest, ok := strings.CutPrefix(cell, "'"); ok && (isFormula(rest) || strings.HasPrefix(rest, "'")) {
		return rest
	}
	return cell
}
