// Package schedule has the pages of what waits for its time: scheduled tasks and retries.
package schedule

import (
	"context"
	"embed"
	"io/fs"
	"net/url"
	"strings"
	"time"

	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/inspect"
)

//go:embed *.html
var files embed.FS

// Schedule reads and changes what waits for its time. [inspect.Schedule] does.
type Schedule interface {
	Snapshot(ctx context.Context) (*inspect.Snapshot, error)
	Reasons(ctx context.Context, waiting []inspect.Waiting) (map[string]string, error)
	RunNow(ctx context.Context, claim string) error
	Cancel(ctx context.Context, ids []string) ([]inspect.Answer, error)
}

// Config is what the pages need.
type Config struct {
	Schedule Schedule
	Now      func() time.Time
}

// Group serves the pages.
type Group struct{ cfg Config }

// New returns the pages.
func New(cfg Config) *Group {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Group{cfg: cfg}
}

// Templates implements [web.Group].
func (g *Group) Templates() fs.FS { return files }

// Register implements [web.Group].
func (g *Group) Register(r *web.Router) {
	r.Page(web.Page{Pattern: "/scheduled", Menu: "Scheduled", Template: "schedule.list", Load: g.loadList})
	r.Page(web.Page{Pattern: "/scheduled/bulk", Template: "schedule.bulk", Role: web.RoleOperator, Load: g.loadBulk})
	r.Action(web.Action{Pattern: "/scheduled/run", Audit: "schedule.run_now", Page: "/scheduled", Subjects: g.chosen, Do: g.runOne})
	r.Action(web.Action{Pattern: "/scheduled/cancel", Audit: "schedule.cancel", Page: "/scheduled", Subjects: g.chosen, Do: g.cancelOne})
	r.Action(web.Action{Pattern: "/scheduled/bulk", Audit: "schedule.bulk", Page: "/scheduled/bulk", MaxBody: 4 << 20, Subjects: g.chosen, Do: g.bulk})
}

// namesTime is how long the names of chosen tasks are looked for.
const namesTime = 3 * time.Second

// chosen returns the ids of the tasks that a form chooses, or the filter that chooses them. A
// message that waits no more is named by its claim.
func (g *Group) chosen(r *web.Request) (subjects []string) {
	claims := r.Form["claim"]
	if one := r.FormValue("one"); one != "" {
		claims = []string{one}
	}
	if len(claims) == 0 {
		return []string{"all of " + readFilter(r.Form).href()}
	}
	var waiting map[string]inspect.Waiting
	ctx, cancel := context.WithTimeout(r.Context(), namesTime)
	defer cancel()
	if s, err := g.cfg.Schedule.Snapshot(ctx); err == nil {
		waiting = s.Find(claims...)
	}
	for _, claim := range claims {
		if w, ok := waiting[claim]; ok {
			claim = w.ID
		}
		subjects = append(subjects, claim)
	}
	return subjects
}

// filter chooses from what waits.
type filter struct {
	Kind   string // "scheduled", "retry" or "cancelled"; "": all
	Holder string // "go" or "python"; "": all
	Task   string // name; "": all
	Text   string // part of an id, a task, an argument or a queue
}

func readFilter(v url.Values) filter {
	return filter{Kind: v.Get("kind"), Holder: v.Get("holder"), Task: v.Get("task"), Text: strings.TrimSpace(v.Get("q"))}
}

// values returns the filter as a query.
func (f filter) values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{"kind": f.Kind, "holder": f.Holder, "task": f.Task, "q": f.Text} {
		if value != "" {
			v.Set(name, value)
		}
	}
	return v
}

// href returns the path of the list that the filter chooses.
func (f filter) href() string {
	if q := f.values().Encode(); q != "" {
		return "/scheduled?" + q
	}
	return "/scheduled"
}

// chooses reports whether the filter chooses a message.
func (f filter) chooses(w *inspect.Waiting) bool {
	if f.Kind != "" && f.Kind != kind(w) || f.Holder != "" && f.Holder != holder(w) || f.Task != "" && f.Task != w.Task {
		return false
	}
	text := strings.ToLower(f.Text)
	for _, field := range []string{w.ID, w.RootID, w.Task, w.Queue, w.Node, w.Args, w.Kwargs} {
		if strings.Contains(strings.ToLower(field), text) {
			return true
		}
	}
	return false
}

func kind(w *inspect.Waiting) string {
	switch {
	case w.Revoked:
		return "cancelled"
	case w.Retries > 0:
		return "retry"
	}
	return "scheduled"
}

func holder(w *inspect.Waiting) string {
	if w.Python {
		return "python"
	}
	return "go"
}

// of returns what the filter chooses, in order.
func (f filter) of(s *inspect.Snapshot) (found []inspect.Waiting) {
	for i := range s.Waiting {
		if f.chooses(&s.Waiting[i]) {
			found = append(found, s.Waiting[i])
		}
	}
	return found
}
