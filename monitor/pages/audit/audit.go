// Package audit has the pages of the audit trail: who did what, one action with its outcome, the
// check of the whole trail, and its export.
package audit

import (
	"bufio"
	"context"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/internal/moment"
	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/desk/jobs"
	"github.com/evently/workers/monitor/web"
	trail "github.com/evently/workers/store/ledger/audit"
)

//go:embed *.html
var files embed.FS

// Reader reads the trail. A [trail.Trail] is one.
type Reader interface {
	List(ctx context.Context, f trail.Filter) (trail.Listed, error)
	Each(ctx context.Context, f trail.Filter, do func(trail.Row) error) error
	VerifySlices(ctx context.Context, next func(rows int64) error, heads ...string) (*trail.Report, error)
}

// Config is what the pages need.
type Config struct {
	Trail Reader       // nil: each page says that there is none
	Jobs  *jobs.Runner // runs the check
	Now   func() time.Time
}

// Group serves the pages.
type Group struct{ cfg Config }

// New returns the pages.
func New(cfg Config) *Group {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Group{cfg}
}

// Templates implements [web.Group].
func (g *Group) Templates() fs.FS { return files }

// Register implements [web.Group].
func (g *Group) Register(r *web.Router) {
	r.Page(web.Page{Pattern: "/audit", Menu: "Audit", Template: "audit.list", Load: g.loadList})
	r.Page(web.Page{Pattern: "/audit/{number}", Template: "audit.one", Load: g.loadOne})
	r.Action(web.Action{Pattern: "/audit/verify", Audit: "audit.verify", Page: "/audit", Do: g.doVerify})
	r.Handle("GET /audit/export/{format}", web.RoleOperator, http.HandlerFunc(g.export))
}

func (g *Group) here() error {
	if g.cfg.Trail == nil {
		return web.Missing("No audit trail", "The trail is in LEDGER_DATABASE_URL, or in Redis without a database. This monitor has neither.")
	}
	return nil
}

func plain(err error) error {
	if errors.Is(err, trail.ErrNoTables) {
		return web.Missing("No audit trail yet", words.Sentence(trail.ErrNoTables.Error()))
	}
	return err
}

// query is what a list shows.
type query struct {
	actor, action, id, since, until string
	before                          int64
}

// readQuery reads the conditions of a URL.
func (g *Group) readQuery(v url.Values) (q query, f trail.Filter, err error) {
	q = query{
		actor: strings.TrimSpace(v.Get("actor")), action: strings.TrimSpace(v.Get("action")), id: strings.TrimSpace(v.Get("id")),
		since: strings.TrimSpace(v.Get("since")), until: strings.TrimSpace(v.Get("until")),
	}
	f = trail.Filter{Actor: q.actor, Action: q.action, ID: q.id}
	for _, t := range []struct {
		name, text string
		into       *time.Time
	}{{"Since", q.since, &f.Since}, {"Until", q.until, &f.Until}} {
		if t.text == "" {
			continue
		}
		if *t.into, err = moment.Parse(t.text, g.cfg.Now()); err != nil {
			return q, f, web.Invalid(t.name + ": " + err.Error() + ".")
		}
	}
	if !f.Since.IsZero() && !f.Until.IsZero() && !f.Since.Before(f.Until) {
		return q, f, web.Invalid("Since must be before until.")
	}
	if text := v.Get("before"); text != "" {
		if q.before, err = strconv.ParseInt(text, 10, 64); err != nil || q.before < 1 {
			return q, f, web.Invalid("This is not a page of the list: go back to its beginning.")
		}
		f.Before = q.before
	}
	return q, f, nil
}

// href returns the path of a page with the conditions.
func (q query) href(path string) string {
	v := url.Values{}
	for name, value := range map[string]string{"actor": q.actor, "action": q.action, "id": q.id, "since": q.since, "until": q.until} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if q.before > 0 {
		v.Set("before", strconv.FormatInt(q.before, 10))
	}
	if len(v) == 0 {
		return path
	}
	return path + "?" + v.Encode()
}

// listView is the page of the list.
type listView struct {
	Head    web.Head
	Problem string

	Actor, Action, ID, Since, Until string // of the form
	Groups                          []string
	Rows                            []row
	Waiting                         int
	Pager                           web.Pager
	Empty                           *web.Empty
	Verify                          bool // the form is offered
	ExportJSON, ExportCSV           string
}

// row is an action.
type row struct {
	Number, Href string // of the page; "": it has none yet
	At           time.Time
	Action       string
	Actor, Via   string
	IDs          string
	Outcome      web.Chip
	Words        string // behind the outcome
}

// groups are the beginnings of names, for the form.
var groups = []string{"dead-letters", "suppressions", "deliveries", "queue", "worker", "task", "control", "session", "audit"}

const pageSize = 50

func (g *Group) loadList(ctx context.Context, r *web.Request) (web.View, error) {
	if err := g.here(); err != nil {
		return web.View{}, err
	}
	q, f, err := g.readQuery(r.URL.Query())
	if err != nil {
		return web.View{}, err
	}
	f.Limit = pageSize
	found, err := g.cfg.Trail.List(ctx, f)
	if err != nil {
		return web.View{}, plain(err)
	}
	v := &listView{
		Head:    web.Head{Title: "Audit", Lead: "Who did what, when, from where, and how it ended."},
		Problem: r.Problem, Actor: q.actor, Action: q.action, ID: q.id, Since: q.since, Until: q.until, Groups: groups, Waiting: found.Waiting,
		Verify: r.May(web.RoleOperator) && g.cfg.Jobs != nil,
	}
	for _, a := range found.Actions() {
		v.Rows = append(v.Rows, rowOf(a.Row, a.Waiting))
	}
	if q.before > 0 {
		first := q
		first.before = 0
		v.Pager.First = first.href("/audit")
	}
	if n := len(found.Rows); n == pageSize && n > found.Waiting {
		next := q
		next.before = found.Rows[n-1].Number
		v.Pager.Next = next.href("/audit")
	}
	if len(v.Rows) == 0 {
		title := "No row of the audit trail meets the conditions"
		if q == (query{}) {
			title = "The audit trail has no row"
		}
		v.Empty = &web.Empty{Title: title, Text: "Commands and pages that change something, and the remote control that workers obeyed, are here."}
	}
	if r.May(web.RoleOperator) {
		q.before = 0
		v.ExportJSON, v.ExportCSV = q.href("/audit/export/jsonl"), q.href("/audit/export/csv")
	}
	return web.View{Title: "Audit", Data: v}, nil
}

func rowOf(r trail.Row, waiting bool) row {
	const shown = 3
	ids := words.Maybe(strings.Join(r.IDs[:min(len(r.IDs), shown)], " "))
	if more := len(r.IDs) - shown; more > 0 {
		ids = fmt.Sprintf("%s and %d more", ids, more)
	}
	out := row{At: r.At, Action: words.Maybe(r.Action), Actor: words.Maybe(r.Actor), Via: words.Maybe(r.Via), IDs: ids}
	out.Outcome, out.Words = outcome(r.Outcome)
	if !waiting {
		out.Number = strconv.FormatInt(r.Number, 10)
		out.Href = "/audit/" + out.Number
	}
	return out
}

// outcome splits an outcome into its word and the words behind it.
func outcome(text string) (web.Chip, string) {
	word, rest, _ := strings.Cut(text, ":")
	tone := map[string]web.Tone{trail.Started: web.Info, trail.Done: web.Good, trail.Failed: web.Bad, trail.Refused: web.Wait}[word]
	return web.Chip{Text: words.Maybe(word), Tone: tone}, words.Maybe(strings.TrimSpace(rest))
}

// oneView is the page of one action.
type oneView struct {
	Head web.Head
	Rows []oneRow
}

// oneRow is a row of an action: its beginning, a further part, or its outcome.
type oneRow struct {
	Title   string
	Chip    web.Chip
	Facts   []web.Fact
	IDs     []string
	More    int // ids that are not shown
	Details string
}

func (g *Group) loadOne(ctx context.Context, r *web.Request) (web.View, error) {
	if err := g.here(); err != nil {
		return web.View{}, err
	}
	number, err := strconv.ParseInt(r.PathValue("number"), 10, 64)
	if err != nil || number < 1 {
		return web.View{}, web.NotFound("There is no such row of the audit trail.")
	}
	// The outcome of an action comes some rows after its beginning.
	const around = 400
	found, err := g.cfg.Trail.List(ctx, trail.Filter{Before: number + around/2, Limit: around})
	if err != nil {
		return web.View{}, plain(err)
	}
	op := ""
	for _, row := range found.Rows {
		if row.Number == number {
			op = row.Op()
		}
	}
	if op == "" {
		return web.View{}, web.NotFound("There is no such row of the audit trail.")
	}
	v := &oneView{}
	for i := len(found.Rows) - 1; i >= 0; i-- {
		if row := found.Rows[i]; row.Op() == op {
			v.Rows = append(v.Rows, partOf(row))
			if v.Head.Title == "" {
				v.Head = head(row)
			}
		}
	}
	return web.View{Title: v.Head.Title, Data: v}, nil
}

func head(r trail.Row) web.Head {
	h := web.Head{
		Title: words.Line(r.Action), Back: &web.Link{Text: "Audit", Href: "/audit"},
		Facts: []web.Fact{
			{Name: "Who", Value: words.Line(r.Actor), Href: query{actor: r.Actor}.href("/audit")}, {Name: "When", Time: r.At}, {Name: "Via", Value: words.Line(r.Via)},
		},
	}
	if r.From != "" {
		h.Facts = append(h.Facts, web.Fact{Name: "From", Value: words.Line(r.From)})
	}
	return h
}

// partOf returns what is shown of a row.
func partOf(r trail.Row) oneRow {
	const shown = 100
	out := oneRow{Title: "Row " + strconv.FormatInt(r.Number, 10), More: max(0, len(r.IDs)-shown), Details: words.Maybe(r.Details)}
	var rest string
	out.Chip, rest = outcome(r.Outcome)
	out.Facts = []web.Fact{{Name: "At", Time: r.At}}
	if rest != "" {
		out.Facts = append(out.Facts, web.Fact{Name: "Outcome", Value: rest})
	}
	key := "none: its hash has no key"
	if r.Key != "" {
		key = words.Line(r.Key)
	}
	out.Facts = append(out.Facts, web.Fact{Name: "Hash", Value: words.Line(r.Hash), Mono: true, Copy: true}, web.Fact{Name: "Hash before", Value: words.Line(r.Prev), Mono: true}, web.Fact{Name: "Key", Value: key, Mono: r.Key != ""})
	for _, id := range r.IDs[:min(len(r.IDs), shown)] {
		out.IDs = append(out.IDs, words.Line(id))
	}
	return out
}

// doVerify starts the check of the whole trail as a job: it reads a thousand rows at a time, and
// rests between them.
func (g *Group) doVerify(ctx context.Context, r *web.Request) (web.Done, error) {
	if err := g.here(); err != nil {
		return web.Done{}, err
	}
	if g.cfg.Jobs == nil {
		return web.Done{}, web.Invalid("This monitor runs no jobs. Use the command audit verify.")
	}
	var heads []string
	for head := range strings.FieldsSeq(r.PostFormValue("head")) {
		if h, err := trail.ParseHead(head); err != nil || h == (trail.Head{}) {
			return web.Done{}, web.Invalid("The end of the trail is written as number:hash, as the log of a worker and the check itself print it.")
		}
		heads = append(heads, head)
	}
	id, err := g.cfg.Jobs.Start(ctx, jobs.Spec{
		Kind: "verify", Title: "Verify the audit trail", By: r.Actor.Name, Key: "audit.verify",
		Work: func(going context.Context, p *jobs.Progress) ([]string, error) { return g.verify(going, p, heads) },
	})
	if same, ok := errors.AsType[*jobs.SameError](err); ok {
		return web.Done{Location: "/jobs/" + same.ID, Tone: web.Wait, Notice: "The check runs already."}, nil
	}
	if err != nil {
		return web.Done{}, err
	}
	return web.Done{Location: "/jobs/" + id, Notice: "The check has begun."}, nil
}

// verify checks the trail and returns what it has found, in lines.
func (g *Group) verify(going context.Context, p *jobs.Progress, heads []string) (lines []string, err error) {
	const longest, rest = 30 * time.Minute, 5 * time.Millisecond
	ctx, cancel := context.WithTimeout(going, longest)
	defer cancel()
	seen := int64(0)
	report, err := g.cfg.Trail.VerifySlices(ctx, func(rows int64) error {
		p.Add(int(rows-seen), 0)
		seen = rows
		timer := time.NewTimer(rest)
		defer timer.Stop()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-timer.C:
			return nil
		}
	}, heads...)
	if err != nil {
		return nil, plain(err)
	}
	for _, f := range report.Faults {
		p.Fault(f.Kind + ": " + f.Text)
	}
	lines = append(lines, words.Sentence(report.Verdict()), fmt.Sprintf("%s, %d of them with a key; %d wait in Redis.", words.Count(report.Rows, "row"), report.Keyed, report.Waiting))
	if !report.First.IsZero() {
		lines = append(lines, "From "+words.Clock(report.First)+" to "+words.Clock(report.Last)+".")
	}
	for _, remark := range report.Remarks {
		lines = append(lines, "Remark: "+words.Sentence(remark))
	}
	if report.Head != "" {
		lines = append(lines, "Head, to keep elsewhere: "+report.Head)
	}
	return lines, nil
}

// export answers with all rows that meet the conditions, for another program.
func (g *Group) export(w http.ResponseWriter, r *http.Request) {
	_, f, err := g.readQuery(r.URL.Query())
	if err != nil || g.cfg.Trail == nil {
		http.Error(w, "There is nothing to export with these conditions.", http.StatusBadRequest)
		return
	}
	const patience = 10 * time.Minute
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(patience))
	kind, ending := "application/x-ndjson", "jsonl"
	out := bufio.NewWriter(w)
	write := trail.JSONLines
	if r.PathValue("format") == "csv" {
		kind, ending, write = "text/csv; charset=utf-8", "csv", trail.CSV
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Content-Disposition", `attachment; filename="audit-`+g.cfg.Now().UTC().Format("20060102-150405")+"."+ending+`"`)
	if g.cfg.Trail.Each(r.Context(), f, write(out)) != nil || out.Flush() != nil {
		panic(http.ErrAbortHandler) // the reader must not take a part for the whole
	}
}
