package suppressions

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/store/ledger"
)

// Filter chooses suppressions. Its zero value chooses all; each field that is set narrows the
// choice.
type Filter struct {
	Of      string // address, or the beginning of an id of at least 4 digits
	Classes []Class
	Domain  string
	Kind    string // of a mail that is evidence
	Scope   Scope
	Source  Source
	State   State     // "": any
	Since   time.Time // of the latest evidence

	Limit int    // suppressions at most; default 50, at most 1000
	After string // Page.Next of the page before
}

// isEmpty reports whether f chooses all.
func (f Filter) isEmpty() bool {
	return f.Of == "" && len(f.Classes) == 0 && f.Domain == "" && f.Kind == "" && f.Scope == "" && f.Source == "" && f.Since.IsZero()
}

// Details tell the audit trail what f chooses, without the address.
func (f Filter) Details() map[string]any {
	d := map[string]any{}
	if len(f.Classes) > 0 {
		d["class"] = f.Classes
	}
	for name, value := range map[string]string{"domain": f.Domain, "kind": f.Kind, "scope": string(f.Scope), "source": string(f.Source)} {
		if value != "" {
			d[name] = value
		}
	}
	if !f.Since.IsZero() {
		d["since"] = f.Since.UTC().Format(time.RFC3339)
	}
	return d
}

// Limits of [Filter].
const (
	defaultLimit = 50
	mostListed   = 1000
)

// Page is a part of a list, the latest evidence first.
type Page struct {
	Suppressions []Suppression
	Next         string // for Filter.After; "" on the last page
}

// ErrID is the error of an identifier that is neither an address nor the beginning of an id.
var ErrID = errors.New("it is neither an address nor an id: write an address whole, or at least 4 digits of the id that the list shows")

// conditions returns the conditions of a filter.
func (s *Store) conditions(ctx context.Context, f Filter) (where string, args []any, err error) {
	parts := []string{"1 = 1"}
	add := func(condition string, values ...any) {
		parts = append(parts, condition)
		args = append(args, values...)
	}
	if f.Of != "" {
		low, high, isID := idRange(f.Of)
		switch {
		case isID:
			add("rcpt_hash >= ? AND rcpt_hash <= ?", low, high)
		case strings.Contains(f.Of, "@"):
			hashes, err := s.db.Hashes(ctx, s.sealer, f.Of)
			if err != nil {
				return "", nil, err
			}
			add("rcpt_hash IN (?)", hashes)
		default:
			return "", nil, ErrID
		}
	}
	if len(f.Classes) > 0 {
		add("class IN (?)", words(f.Classes))
	}
	if f.Domain != "" {
		add("rcpt_domain = ?", ledger.Normalise("@" + f.Domain)[1:])
	}
	if f.Kind != "" {
		add("rcpt_hash IN (SELECT rcpt_hash FROM evently_mail.suppression_evidence WHERE kind = ?)", f.Kind)
	}
	if f.Scope != "" {
		add("scope = ?", string(f.Scope))
	}
	if f.Source != "" {
		add("source = ?", string(f.Source))
	}
	if !f.Since.IsZero() {
		add("last_at >= ?", s.db.Param(f.Since))
	}
	now := s.db.Param(s.now())
	switch f.State {
	case Active:
		add("ended_at IS NULL AND (expires_at IS NULL OR expires_at > ?)", now)
	case Expired:
		add("ended_at IS NULL AND expires_at <= ?", now)
	case Released:
		add("ended_at IS NOT NULL")
	}
	return strings.Join(parts, " AND "), args, nil
}

func words[T ~string](all []T) []string {
	texts := make([]string, len(all))
	for i, w := range all {
		texts[i] = string(w)
	}
	return texts
}

// idRange returns the lowest and the highest hash that begin with the digits of an id.
func idRange(id string) (low, high []byte, ok bool) {
	const fewest, size = 4, 32
	id = strings.ToLower(strings.TrimSpace(id))
	if len(id) < fewest || len(id) > size {
		return nil, nil, false
	}
	low, err1 := hex.DecodeString(id + strings.Repeat("0", size-len(id)))
	high, err2 := hex.DecodeString(id + strings.Repeat("f", size-len(id)))
	return low, high, err1 == nil && err2 == nil
}

// List returns the suppressions that f chooses, the latest evidence first.
func (s *Store) List(ctx context.Context, f Filter) (Page, error) {
	limit := min(f.Limit, mostListed)
	if limit <= 0 {
		limit = defaultLimit
	}
	ctx, cancel := s.db.Deadline(ctx)
	defer cancel()
	where, args, err := s.conditions(ctx, f)
	if errors.Is(err, ledger.ErrNoKey) {
		return Page{}, nil // no address was ever stored
	}
	if err == nil && f.After != "" {
		var at time.Time
		var hash []byte
		var scope string
		if at, hash, scope, err = readCursor(f.After); err == nil {
			where += " AND (last_at, rcpt_hash, scope) < (?, ?, ?)"
			args = append(args, s.db.Param(at), hash, scope)
		}
	}
	if err != nil {
		return Page{}, fault("list suppressions", err)
	}
	var rows []row
	err = s.db.Select(ctx, s.db.Pool(), &rows, "SELECT "+columns+" FROM evently_mail.suppressions WHERE "+where+
		" ORDER BY last_at DESC, rcpt_hash DESC, scope DESC LIMIT ?", append(args, limit+1)...)
	if err != nil {
		return Page{}, fault("list suppressions", err)
	}
	var page Page
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		page.Next = cursor(last)
	}
	page.Suppressions = make([]Suppression, len(rows))
	for i, r := range rows {
		page.Suppressions[i] = s.suppression(r)
	}
	return page, nil
}

func cursor(r row) string {
	return base64.RawURLEncoding.EncodeToString([]byte(fmt.Sprintf("%d %x %s", r.Last.UnixMicro(), r.Hash, r.Scope)))
}

// ErrAfter is the error of a Filter.After that no page has as its Next.
var ErrAfter = errors.New("--after: it is not the end of another list; write the value that the list names")

func readCursor(text string) (at time.Time, hash []byte, scope string, err error) {
	plain, err := base64.RawURLEncoding.DecodeString(text)
	fields := strings.Fields(string(plain))
	if err != nil || len(fields) != 3 {
		return at, nil, "", ErrAfter
	}
	const latest = 7258118400e6 // the year 2200
	micros, err1 := strconv.ParseInt(fields[0], 10, 64)
	hash, err2 := hex.DecodeString(fields[1])
	if err1 != nil || err2 != nil || micros < 0 || micros > latest || (Scope(fields[2]) != AllMails && Scope(fields[2]) != OptionalMails) {
		return at, nil, "", ErrAfter
	}
	return time.UnixMicro(micros), hash, fields[2], nil
}

// Count counts the suppressions that f chooses, by class.
func (s *Store) Count(ctx context.Context, f Filter) (total int64, byClass map[Class]int64, err error) {
	ctx, cancel := s.db.Deadline(ctx)
	defer cancel()
	byClass = map[Class]int64{}
	where, args, err := s.conditions(ctx, f)
	if errors.Is(err, ledger.ErrNoKey) {
		return 0, byClass, nil
	}
	if err != nil {
		return 0, nil, fault("count suppressions", err)
	}
	var counts []struct {
		Class Class `db:"class"`
		N     int64 `db:"n"`
	}
	if err := s.db.Select(ctx, s.db.Pool(), &counts, "SELECT class, count(*) AS n FROM evently_mail.suppressions WHERE "+where+" GROUP BY class", args...); err != nil {
		return 0, nil, fault("count suppressions", err)
	}
	for _, c := range counts {
		total += c.N
		byClass[c.Class] = c.N
	}
	return total, byClass, nil
}

// Detail is a suppression with its evidence, the latest first.
type Detail struct {
	Suppression
	Evidence []Item `json:"evidence"`
}

// Item is a piece of evidence, as it is stored.
type Item struct {
	At         time.Time `json:"at"`
	Class      Class     `json:"class"`
	Source     Source    `json:"source"`
	Kind       string    `json:"kind,omitempty"`
	Code       int       `json:"code,omitempty"`
	Enhanced   string    `json:"enhanced,omitempty"`
	Diagnostic string    `json:"diagnostic,omitempty"`
	Mail       string    `json:"mail,omitempty"`
	TaskID     string    `json:"task_id,omitempty"`
}

// Show returns the suppressions of an address, or of an id or its beginning, with their
// evidence: those in force first. There are at most 20.
func (s *Store) Show(ctx context.Context, of string) ([]Detail, error) {
	const most, mostItems = 20, 200
	page, err := s.List(ctx, Filter{Of: of, Limit: most})
	if err != nil {
		return nil, err
	}
	ctx, cancel := s.db.Deadline(ctx)
	defer cancel()
	details := make([]Detail, 0, len(page.Suppressions))
	for _, p := range page.Suppressions {
		hash, err := hex.DecodeString(p.ID)
		if err != nil {
			return nil, fault("show a suppression", err)
		}
		var items []struct {
			At         ledger.Time `db:"at"`
			Class      Class       `db:"class"`
			Source     Source      `db:"source"`
			Kind       string      `db:"kind"`
			Code       int         `db:"code"`
			Enhanced   string      `db:"enhanced"`
			Diagnostic string      `db:"diagnostic"`
			Mail       string      `db:"mail"`
			TaskID     string      `db:"task_id"`
		}
		err = s.db.Select(ctx, s.db.Pool(), &items, `SELECT at, class, source, kind, code, enhanced, diagnostic, mail, task_id FROM evently_mail.suppression_evidence
			WHERE rcpt_hash = ? ORDER BY at DESC, id DESC LIMIT ?`, hash, mostItems)
		if err != nil {
			return nil, fault("read the evidence", err)
		}
		d := Detail{Suppression: p, Evidence: []Item{}}
		for _, i := range items {
			d.Evidence = append(d.Evidence, Item{At: i.At.Time, Class: i.Class, Source: i.Source, Kind: i.Kind, Code: i.Code, Enhanced: i.Enhanced, Diagnostic: i.Diagnostic, Mail: i.Mail, TaskID: i.TaskID})
		}
		if p.State == Active {
			details = append([]Detail{d}, details...)
		} else {
			details = append(details, d)
		}
	}
	return details, nil
}

// OfMail returns the suppressions of the recipient of a mail that are in force.
func (s *Store) OfMail(ctx context.Context, m ledger.Mail) ([]Suppression, error) {
	ctx, cancel := s.db.Deadline(ctx)
	defer cancel()
	now := s.db.Param(s.now())
	var rows []row
	err := s.db.Select(ctx, s.db.Pool(), &rows, "SELECT "+columns+` FROM evently_mail.suppressions WHERE ended_at IS NULL AND (expires_at IS NULL OR expires_at > ?)
		AND rcpt_hash IN (SELECT rcpt_hash FROM evently_mail.mails WHERE mail = ? AND first_seen = ?) ORDER BY scope`, now, m.Mail, s.db.Param(m.FirstSeen))
	if err != nil {
		return nil, fault("look for a suppression", err)
	}
	var all []Suppression
	for _, r := range rows {
		all = append(all, s.suppression(r))
	}
	return all, nil
}
