package ledger

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/jmoiron/sqlx"
)

// ReaderConfig is the configuration of a [Reader]. DB is required.
type ReaderConfig struct {
	DB      *sqlx.DB      // PostgreSQL or SQLite
	Sealer  *Sealer       // for searches by address and for reading addresses; nil: the stored keys only
	Timeout time.Duration // of one answer; default: DefaultTimeout

	// Reference returns the part of the Message-ID before the @, 32 hexadecimal digits; nil: mails
	// are not found by it.
	Reference func(mail string) string
}

// Reader answers questions about mails. It is safe for concurrent use. Without the tables its
// methods fail with [ErrNoHistory], without rights with an [AccessError].
type Reader struct {
	db     *database
	sealer *Sealer
}

// NewReader returns a Reader. It does no I/O.
func NewReader(cfg ReaderConfig) *Reader {
	r := &Reader{db: newDatabase(cfg.DB, cfg.Timeout), sealer: cfg.Sealer}
	r.db.reference = cfg.Reference
	return r
}

// Mail is one mail and its present state.
type Mail struct {
	TaskID     string     `json:"task_id"`
	Mail       string     `json:"mail"`
	Kind       string     `json:"kind"`
	State      State      `json:"state"`
	StateAt    time.Time  `json:"state_at"`
	FirstSeen  time.Time  `json:"first_seen"`
	AcceptedAt *time.Time `json:"accepted_at,omitempty"`
	Attempts   int        `json:"attempts"`
	NextAt     *time.Time `json:"next_at,omitempty"`

	To      string `json:"to,omitempty"`      // masked
	Address string `json:"address,omitempty"` // only with the key of the operator
	Domain  string `json:"domain,omitempty"`
	UserID  *int64 `json:"user_id,omitempty"`
	Booking string `json:"booking,omitempty"`
	Erased  bool   `json:"erased,omitempty"`

	// The rest tells why the mail is in its state.
	Stage    string `json:"stage,omitempty"`
	Code     int    `json:"code,omitempty"`
	Enhanced string `json:"enhanced,omitempty"`
	Class    string `json:"class,omitempty"`
	Reason   string `json:"reason,omitempty"`
}

// mail returns the row for people and programs.
func (r *Reader) mail(row *row) Mail {
	m := Mail{
		TaskID: row.TaskID, Mail: row.Mail, Kind: row.Kind, State: row.State, StateAt: row.StateAt.Time, FirstSeen: row.FirstSeen.Time,
		AcceptedAt: optional(row.AcceptedAt.Time), Attempts: int(row.Attempts), NextAt: optional(row.NextAt.Time),
		To: row.Masked.String, Domain: row.Domain.String, Booking: row.Booking, Erased: row.Erased,
		Stage: row.Stage, Code: int(row.Code), Enhanced: row.Enhanced, Class: row.Class, Reason: row.Reason,
	}
	if row.UserID.Valid {
		m.UserID = &row.UserID.Int64
	}
	if len(row.Sealed) > 0 {
		m.Address, _ = r.sealer.Open(row.Sealed) // the masked form remains
	}
	return m
}

func optional(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// Filter chooses mails. Its zero value chooses all; each field that is set narrows the
// choice.
type Filter struct {
	States  []State
	Kinds   []string
	Address string
	UserID  *int64
	Booking string
	Domain  string
	TaskID  string
	Tasks   []string // ids
	Mail    string   // fingerprint of the task
	Classes []string // of failures

	mails []string // fingerprints

	Since, Until time.Time // of the first claim; Until is excluded

	Limit int    // mails at most; default 50, at most 1000
	After string // Page.Next of the page before
}

// Limits of [Filter].
const (
	defaultLimit = 50
	mostMails    = 1000
	mostChoices  = 100 // pairs of a state and a kind
)

// Page is a part of a list, the newest mails first.
type Page struct {
	Mails []Mail
	Next  string // for Filter.After; "" on the last page
}

// List returns the mails that f chooses, the latest first claim first.
func (r *Reader) List(ctx context.Context, f Filter) (Page, error) {
	limit := min(f.Limit, mostMails)
	if limit <= 0 {
		limit = defaultLimit
	}
	ctx, cancel := r.db.deadline(ctx)
	defer cancel()
	where, args, err := r.conditions(ctx, f)
	if errors.Is(err, ErrNoKey) {
		return Page{}, nil // no address was ever stored
	}
	if err != nil {
		return Page{}, r.fault("list mails", err)
	}
	rows, err := r.rows(ctx, choices(f), where, args, limit+1)
	if err != nil {
		return Page{}, r.fault("list mails", err)
	}
	var page Page
	if len(rows) > limit {
		rows = rows[:limit]
		last := rows[limit-1]
		page.Next = cursor(last.FirstSeen.Time, last.Mail)
	}
	page.Mails = make([]Mail, len(rows))
	for i, row := range rows {
		page.Mails[i] = r.mail(row)
	}
	return page, nil
}

// conditions returns the conditions of a filter except those on state and kind.
func (r *Reader) conditions(ctx context.Context, f Filter) (where []string, args []any, err error) {
	add := func(condition string, values ...any) {
		where = append(where, condition)
		args = append(args, values...)
	}
	if f.Address != "" {
		hashes, err := r.db.hashes(ctx, r.sealer, f.Address)
		if err != nil {
			return nil, nil, err
		}
		add("rcpt_hash IN (?)", hashes)
	}
	if f.UserID != nil {
		add("user_id = ?", *f.UserID)
	}
	if f.Booking != "" {
		add("booking = ? AND booking <> ''", f.Booking)
	}
	if f.Domain != "" {
		domain := Normalise("@" + f.Domain)[1:]
		add("rcpt_domain = ?", domain)
	}
	if f.TaskID != "" {
		add("task_id = ?", f.TaskID)
	}
	if len(f.Tasks) > 0 {
		add("task_id IN (?)", f.Tasks)
	}
	if f.Mail != "" {
		add("mail = ?", f.Mail)
	}
	if len(f.mails) > 0 {
		add("mail IN (?)", f.mails)
	}
	if len(f.Classes) > 0 {
		add(r.db.ofClass(f), f.Classes)
	}
	if !f.Since.IsZero() {
		add("first_seen >= ?", r.db.time(f.Since))
	}
	if !f.Until.IsZero() {
		add("first_seen < ?", r.db.time(f.Until))
	}
	if f.After != "" {
		at, mail, err := readCursor(f.After)
		if err != nil {
			return nil, nil, err
		}
		// The first condition is for the choice of partitions.
		add("first_seen <= ? AND (first_seen, mail) < (?, ?)", r.db.time(at), r.db.time(at), mail)
	}
	return where, args, nil
}

// choice is a condition on the state and the kind.
type choice struct {
	where string
	args  []any
}

// choices returns the pairs of states and kinds that a filter asks for. Each gets a query of
// its own, which an index answers in the order of the list; a query for several of them
// would have to sort all their mails.
func choices(f Filter) []choice {
	cs := []choice{{}}
	narrow := func(where string, values []any) {
		if len(values) == 0 {
			return
		}
		var narrowed []choice
		for _, c := range cs {
			for _, v := range values {
				narrowed = append(narrowed, choice{c.where + " AND " + where, append(slices.Clone(c.args), v)})
			}
		}
		cs = narrowed
	}
	var states, kinds []any
	for _, s := range f.States {
		states = append(states, int64(s))
	}
	for _, k := range f.Kinds {
		kinds = append(kinds, k)
	}
	narrow("state = ?", states)
	narrow("kind = ?", kinds)
	return cs
}

// rows returns rows of mails that meet the conditions and one of the choices.
func (r *Reader) rows(ctx context.Context, cs []choice, where []string, args []any, limit int) ([]*row, error) {
	if len(cs) > mostChoices {
		return nil, fmt.Errorf("%d pairs of states and kinds, at most %d", len(cs), mostChoices)
	}
	const order = " ORDER BY first_seen DESC, mail DESC LIMIT ?"
	var parts []string
	var all []any
	for _, c := range cs {
		condition := strings.TrimPrefix(strings.Join(append([]string{""}, where...), " AND ")+c.where, " AND ")
		if condition != "" {
			condition = " WHERE " + condition
		}
		parts = append(parts, "SELECT * FROM (SELECT "+mailColumns+" FROM evently_mail.mails"+condition+order+") AS q")
		all = append(append(append(all, args...), c.args...), limit)
	}
	query := parts[0]
	if len(parts) > 1 {
		query = "SELECT * FROM (" + strings.Join(parts, " UNION ALL ") + ") AS u" + order
		all = append(all, limit)
	}
	var rows []*row
	return rows, r.db.query(ctx, r.db.db, &rows, query, all...)
}

// fault adds what was being done to an error, and makes errors of rights and of missing
// tables plain.
func (r *Reader) fault(doing string, err error) error {
	refined := refine(err)
	if isMissing(err) {
		refined = ErrNoHistory
	}
	return fmt.Errorf("%s: %w", doing, refined)
}

func cursor(at time.Time, mail string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(strconv.FormatInt(at.UnixMicro(), 10) + " " + mail))
}

// ErrCursor is the error of a [Filter] whose After is not that of a [Page].
var ErrCursor = errors.New("the position in the list is not one that an earlier page gave")

func readCursor(text string) (at time.Time, mail string, err error) {
	plain, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return time.Time{}, "", ErrCursor
	}
	micros, mail, ok := strings.Cut(string(plain), " ")
	n, err := strconv.ParseInt(micros, 10, 64)
	if !ok || err != nil || n < 0 || n > latestTime || !isPlain(mail) {
		return time.Time{}, "", ErrCursor
	}
	return time.UnixMicro(n), mail, nil
}

// Find returns the latest mails that an identifier belongs to: an address or a Message-ID, if it has an @,
// and otherwise the id of a user, a booking or a task, the fingerprint of a task, or the id that
// the relay gave to the mail. limit is the number of mails at most.
func (r *Reader) Find(ctx context.Context, identifier string, limit int) ([]Mail, error) {
	if identifier = strings.TrimSpace(identifier); identifier == "" {
		return nil, nil
	}
	filters := []Filter{{TaskID: identifier}, {Mail: identifier}, {Booking: identifier}}
	if id, err := strconv.ParseInt(identifier, 10, 64); err == nil {
		filters = append(filters, Filter{UserID: &id})
	}
	queued, err := r.queued(ctx, identifier, limit)
	if err != nil {
		return nil, err
	}
	if len(queued) > 0 {
		filters = append(filters, Filter{mails: queued})
	}
	if strings.Contains(identifier, "@") {
		filters = []Filter{{Address: identifier}, {TaskID: identifier}}
		written, err := r.written(ctx, identifier, limit)
		if err != nil {
			return nil, err
		}
		if len(written) > 0 {
			filters = append(filters, Filter{mails: written})
		}
	}
	var found []Mail
	seen := map[string]bool{}
	for _, f := range filters {
		f.Limit = limit
		page, err := r.List(ctx, f)
		if err != nil {
			return nil, err
		}
		for _, m := range page.Mails {
			if key := m.Mail + m.FirstSeen.String(); !seen[key] {
				seen[key] = true
				found = append(found, m)
			}
		}
	}
	sort.SliceStable(found, func(i, j int) bool { return found[i].FirstSeen.After(found[j].FirstSeen) })
	if limit > 0 {
		found = found[:min(len(found), limit)]
	}
	return found, nil
}

// written returns the fingerprints of the latest mails with a Message-ID, with or without its
// angle brackets.
func (r *Reader) written(ctx context.Context, messageID string, limit int) ([]string, error) {
	reference, _, _ := strings.Cut(strings.Trim(messageID, "<> "), "@")
	if r.db.reference == nil || len(reference) != 32 || strings.Trim(reference, "0123456789abcdef") != "" {
		return nil, nil
	}
	ctx, cancel := r.db.deadline(ctx)
	defer cancel()
	if limit <= 0 {
		limit = defaultLimit
	}
	var found []string
	err := r.db.query(ctx, r.db.db, &found, "SELECT mail FROM evently_mail.mails WHERE ref = ? AND ref <> 0 ORDER BY first_seen DESC LIMIT ?",
		refNumber(reference), min(limit, mostMails))
	if err != nil {
		return nil, r.fault("look for a Message-ID", err)
	}
	return slices.DeleteFunc(found, func(mail string) bool { return r.db.reference(mail) != reference }), nil
}

// queued returns the fingerprints of the latest mails with an id in the queue of a relay.
func (r *Reader) queued(ctx context.Context, id string, limit int) ([]string, error) {
	if len(id) > maxName {
		return nil, nil
	}
	ctx, cancel := r.db.deadline(ctx)
	defer cancel()
	if limit <= 0 {
		limit = defaultLimit
	}
	var rows []struct {
		Mail string `db:"mail"`
		At   stamp  `db:"at"`
	}
	err := r.db.query(ctx, r.db.db, &rows, "SELECT mail, max(event_at) AS at FROM evently_mail.events WHERE queue_id = ? AND queue_id <> '' GROUP BY mail ORDER BY at DESC LIMIT ?",
		id, min(limit, mostMails))
	if err != nil {
		return nil, r.fault("look for a queue id", err)
	}
	mails := make([]string, len(rows))
	for i, row := range rows {
		mails[i] = row.Mail
	}
	return mails, nil
}
