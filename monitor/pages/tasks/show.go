package tasks

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/pages/internal/keep"
	"github.com/evently/workers/monitor/pages/internal/life"
	"github.com/evently/workers/monitor/verdict"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/inspect"
)

// showView is the view of one task.
type showView struct {
	Head     web.Head
	Notes    []string
	Verdict  string // of its mail
	Tone     web.Tone
	Timeline web.Timeline

	Args, Kwargs, Result, Exception, Traceback string
	Headers                                    []web.Fact

	Relatives     []relative
	RelativesText string
	Mails         []link
	Letter        *letterView
	Python, Curl  string // "": the arguments are not known
}

// relative is a task that has called this one, or that it has called.
type relative struct {
	Kind  string // "root", "parent" or "child"
	Href  string
	ID    string
	Name  string
	State web.Chip
}

type link struct{ Text, Href string }

// letterView is the open dead letter of the task.
type letterView struct {
	ID, Href, Reason string
	Since            time.Time
	Retry            *web.Button // nil: the reader must not
}

// known is what is known of a task.
type known struct {
	task      *fleet.Family // nil: the events do not know it
	histories []ledger.History
	missing   string // why the history was not asked
	letter    *broker.DeadLetter
	traces    *verdict.Traces
	held      *inspect.Waiting // until its time
}

// look collects what is known of a task.
func (g *Group) look(ctx context.Context, id string) (k known, err error) {
	if g.cfg.Fleet != nil {
		if f, ok := g.cfg.Fleet.Task(id); ok {
			k.task = &f
		}
	}
	switch {
	case g.cfg.History == nil:
		k.missing = cmp.Or(g.cfg.Off, "There is no history of mails: only what was seen since the start of the monitor is here.")
	default:
		if k.histories, err = g.cfg.History.Show(ctx, id); err != nil {
			fault := life.Fault(err)
			if k.task == nil {
				return k, fault
			}
			k.missing = words.Line(strings.ReplaceAll(fault.Error(), "\n", " "))
		}
	}
	for i := range k.histories {
		k.histories[i].Address = ""
	}
	if k.mayHaveLetter() && g.cfg.Letters != nil {
		k.letter, _ = keep.Get(g.cache, "letter\x00"+id, func() (*broker.DeadLetter, error) {
			ctx, cancel := context.WithTimeout(ctx, time.Second)
			defer cancel()
			return verdict.LetterOf(ctx, g.cfg.Letters, id)
		})
	}
	if k.task == nil && len(k.histories) == 0 && g.cfg.Redis != nil {
		tr := g.cfg.Redis(ctx, id)
		k.traces = &tr
	}
	if g.cfg.Held != nil && k.mayBeHeld(g.cfg.Now()) {
		ctx, cancel := context.WithTimeout(ctx, time.Second)
		defer cancel()
		k.held, _ = g.cfg.Held(ctx, id) // without it the page tells where the task may be
	}
	return k, nil
}

// mayHaveLetter reports whether a dead letter is worth the search.
func (k *known) mayHaveLetter() bool {
	if k.task != nil && k.task.State != fleet.Success && k.task.State != fleet.Started && k.task.State != fleet.Received {
		return true
	}
	return slices.ContainsFunc(k.histories, func(h ledger.History) bool {
		return h.State == ledger.Dead || h.State == ledger.Rejected || h.State == ledger.Unknown
	})
}

// show loads the page of one task.
func (g *Group) show(ctx context.Context, r *web.Request) (web.View, error) {
	id := r.PathValue("id")
	k, err := g.look(ctx, id)
	if err != nil {
		return web.View{}, err
	}
	v := showView{Head: web.Head{Title: "Task", Back: &web.Link{Text: "Tasks", Href: "/tasks"}, Facts: []web.Fact{{Name: "Id", Value: id, Mono: true, Copy: true}}}}
	if k.missing != "" {
		v.Notes = append(v.Notes, k.missing)
	}
	switch {
	case k.task != nil:
		g.addTask(&v, k.task)
		if k.cancelled() {
			v.Head.Chips = []web.Chip{cancelledChip}
		}
		if !r.May(web.RoleAdmin) {
			v.Curl = "" // the monitor would refuse it
		}
	case len(k.histories) > 0:
		v.Head.Title = verdict.KindText(k.histories[0].Kind) + " mail"
		if g.cfg.Fleet != nil {
			v.Notes = append(v.Notes, "The events of this task were not heard: the monitor has listened since "+words.Clock(g.cfg.Fleet.Status().Began)+". This is what the history of mails has.")
		}
	case k.held != nil:
		v.addHeld(k.held)
	case k.traces != nil && (k.traces.Status != "" || k.traces.DeadLetter != nil):
		v.Notes = append(v.Notes, "Neither the events nor the history know this task.")
		v.Notes = append(v.Notes, k.traces.Lines()...)
	default:
		return web.View{}, &web.NotFoundError{
			Text:  "No task " + words.Line(id) + " is known: its events were not heard since the start of the monitor, and the history has no mail of it. It may still wait in its queue.",
			Links: []web.Link{{Text: "Look into the queues", Href: "/queues", Icon: "queues"}},
		}
	}
	v.Timeline = timeline(k.task, k.histories)
	if len(k.histories) > 0 {
		newest := k.histories[0]
		_, v.Verdict = verdict.Judge(newest, g.cfg.Now())
		v.Tone = life.Tone(newest.State)
		v.Head.Chips = append(v.Head.Chips, web.Chip{Text: "mail " + newest.State.String(), Tone: life.Tone(newest.State)})
		for _, h := range k.histories {
			v.Mails = append(v.Mails, link{verdict.About(h.Mail), "/deliveries/" + segment.Of(id) + "?" + url.Values{"mail": {h.Mail.Mail}}.Encode()})
		}
	}
	g.addActions(&v, r, id, k)
	return web.View{Title: v.Head.Title, Data: v}, nil
}

// addTask adds what the events tell.
func (g *Group) addTask(v *showView, f *fleet.Family) {
	v.Head.Title, v.Head.Chips = shortName(f.Name), []web.Chip{stateChip(f.State)}
	add := func(facts *[]web.Fact, name, value, href string) {
		if value != "" {
			*facts = append(*facts, web.Fact{Name: name, Value: words.Line(value), Href: href, Mono: href == ""})
		}
	}
	add(&v.Head.Facts, "Worker", f.Worker, "/tasks?"+url.Values{"q": {"worker:" + f.Worker}}.Encode())
	add(&v.Head.Facts, "Queue", f.Queue, "/tasks?"+url.Values{"q": {"queue:" + f.Queue}}.Encode())
	if f.State == fleet.Started && f.Started != 0 {
		v.Head.Facts = append(v.Head.Facts, web.Fact{Name: "Started", Time: f.Started.Time()})
	}
	if due, ok := f.Due(); ok && !f.Ready() && due.After(g.cfg.Now()) {
		v.Head.Facts = append(v.Head.Facts, web.Fact{Name: "Due", Time: due})
	}
	if f.Retries > 0 {
		add(&v.Head.Facts, "Retries", fmt.Sprint(f.Retries), "")
	}
	if f.Has.Has(fleet.HasRuntime) {
		add(&v.Head.Facts, "Runtime", life.Milliseconds(time.Duration(f.Runtime*float64(time.Second))), "")
	}
	if wait, ok := f.Wait(); ok && len(f.Attempts) < 2 { // a later run has waited for its turn
		add(&v.Head.Facts, "Waited", words.Spell(time.Duration(wait*float64(time.Second))), "")
	}
	for _, h := range []struct{ name, value string }{
		{"task", f.Name}, {"id", f.ID}, {"root_id", f.Root}, {"parent_id", f.Parent}, {"origin", f.Client}, {"exchange", f.Exchange}, {"routing_key", f.RoutingKey},
		{"eta", f.ETA}, {"expires", f.Expires},
	} {
		add(&v.Headers, h.name, h.value, "")
	}
	if f.Has.Has(fleet.HasRetries) {
		add(&v.Headers, "retries", fmt.Sprint(f.Retries), "")
	}
	v.Args, v.Kwargs, v.Result, v.Exception, v.Traceback = f.Args, f.Kwargs, f.Result, f.Exception, clean(f.Traceback)
	v.Python, v.Curl = copies(&f.Task, g.cfg.URL)
	v.addRelatives(f)
}

func (v *showView) addRelatives(f *fleet.Family) {
	add := func(kind, id string, t *fleet.Task) {
		r := relative{Kind: kind, Href: path(id), ID: id, Name: "(not seen)"}
		if t != nil {
			r.Name, r.State = shortName(t.Name), stateChip(t.State)
		}
		v.Relatives = append(v.Relatives, r)
	}
	if f.Root != "" && f.Root != f.ID {
		add("root", f.Root, f.RootTask)
	}
	if f.Parent != "" && f.Parent != f.ID && f.Parent != f.Root {
		add("parent", f.Parent, f.ParentTask)
	}
	for i := range f.Children {
		if f.Children[i].ID != f.ID { // a retry names its own task as its parent
			add("child", f.Children[i].ID, &f.Children[i])
		}
	}
	if f.ChildrenTotal > len(f.Children) {
		v.RelativesText = fmt.Sprintf("The first %d of %s children.", len(f.Children), life.Number(int64(f.ChildrenTotal)))
	}
}

// addActions adds what the reader may do.
func (g *Group) addActions(v *showView, r *web.Request, id string, k known) {
	ended := k.task != nil && k.task.Ready() || k.cancelled()
	if k.task == nil && len(k.histories) > 0 {
		ended = k.histories[0].State >= ledger.Suppressed
	}
	if g.cfg.Revoke != nil && r.May(web.RoleOperator) && !ended {
		v.Head.Links = append(v.Head.Links, web.Link{Text: "Revoke…", Href: path(id) + "/revoke", Icon: "close"})
	}
	if k.letter == nil {
		return
	}
	l := &letterView{ID: k.letter.ID, Href: "/dead-letters/" + segment.Of(k.letter.ID), Reason: words.Line(k.letter.Reason), Since: k.letter.At}
	if r.May(web.RoleOperator) {
		l.Retry = &web.Button{Text: "Retry from the dead letter", Action: path(id) + "/retry", Fields: map[string]string{"letter": k.letter.ID}}
	}
	v.Letter = l
}

// clean returns a traceback without control characters but line ends.
func clean(text string) string {
	var lines []string
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		indent := line[:len(line)-len(strings.TrimLeft(line, " "))]
		if line != "" {
			line = indent + words.Line(strings.TrimLeft(line, " \t"))
		}
		lines = append(lines, line)
	}
	return strings.TrimRight(strings.Join(lines, "\n"), "\n")
}

// timeline joins the events of a task with those of its mails, in the order of their times. The
// events of an attempt are nested in it.
func timeline(f *fleet.Family, histories []ledger.History) web.Timeline {
	var line web.Timeline
	if f == nil {
		for _, h := range slices.Backward(histories) {
			line = append(line, life.Timeline(h)...)
		}
		return line
	}
	var records []ledger.Record
	for _, h := range histories {
		records = append(records, h.Events...)
	}
	sorting.Stable(records, func(a, b ledger.Record) int { return a.At.Compare(b.At) })
	if f.Sent != 0 {
		e := web.Event{Time: f.Sent.Time(), Title: published, Tone: web.Calm}
		if f.Client != "" {
			e.Facts = append(e.Facts, web.Fact{Name: "by", Value: words.Line(f.Client), Mono: true})
		}
		if f.Queue != "" {
			e.Facts = append(e.Facts, web.Fact{Name: "queue", Value: words.Line(f.Queue), Mono: true})
		}
		line = append(line, e)
	}
	for i, a := range f.Attempts {
		var next time.Time
		if i+1 < len(f.Attempts) {
			next = beginOf(f.Attempts[i+1])
		}
		e, rest := attempt(a, next, records)
		line, records = append(line, e), rest
	}
	for _, r := range records {
		line = append(line, life.Event(r))
	}
	sorting.Stable(line, func(a, b web.Event) int { return a.Time.Compare(b.Time) })
	if f.Sent != 0 {
		placePublished(line, f)
	}
	for i := 1; i < len(line); i++ {
		line[i].After = max(0, line[i].Time.Sub(line[0].Time))
	}
	return line
}

// placePublished moves the publication before the run that it caused. Celery tells of it after
// the message is in the queue, so that a quick worker may have been first. A retry of Python
// publishes the task once more.
func placePublished(line web.Timeline, f *fleet.Family) {
	sent := f.Sent.Time()
	at := slices.IndexFunc(line, func(e web.Event) bool { return e.Title == published })
	for _, a := range f.Attempts {
		if a.Ended != 0 && !a.Ended.Time().After(sent) {
			line[at].Title = published + " again"
			continue
		}
		begin := cmp.Or(a.Received, a.Started, a.Ended).Time()
		run := slices.IndexFunc(line, func(e web.Event) bool { return e.Time.Equal(begin) && strings.HasPrefix(e.Title, "Attempt") })
		if run >= 0 && run < at {
			e := line[at]
			copy(line[run+1:at+1], line[run:at])
			line[run] = e
		}
		return
	}
}

// published is the title of the publication.
const published = "Published"

// beginOf returns the first time of a run: its events may come in another order.
func beginOf(a fleet.Attempt) (first time.Time) {
	for _, at := range []fleet.Seconds{a.Received, a.Started, a.Ended} {
		if at != 0 && (first.IsZero() || at.Time().Before(first)) {
			first = at.Time()
		}
	}
	return first
}

// attempt shows a run of a task, with the records that fall into it: not those after the begin
// of the next run, if there is one. It returns the others.
func attempt(a fleet.Attempt, next time.Time, records []ledger.Record) (e web.Event, rest []ledger.Record) {
	// Events and records carry the clocks of workers and of their hosts.
	const before, after = time.Second, 2 * time.Second
	begin := cmp.Or(a.Received, a.Started, a.Ended).Time()
	end := time.Time{}
	if a.Ended != 0 {
		end = a.Ended.Time().Add(after)
	}
	if !next.IsZero() && (end.IsZero() || next.Before(end)) {
		end = next
	}
	e = web.Event{Time: begin, Title: fmt.Sprintf("Attempt %d", a.Number), Chip: stateChip(a.State), Tone: stateChip(a.State).Tone, Text: firstLine(a.Exception)}
	if a.Worker != "" {
		e.Facts = append(e.Facts, web.Fact{Name: "worker", Value: words.Line(a.Worker), Mono: true})
	}
	if d := a.Duration(); d > 0 {
		e.Facts = append(e.Facts, web.Fact{Name: "took", Value: life.Milliseconds(d)})
	}
	point := func(at fleet.Seconds, title string, tone web.Tone) {
		if at != 0 {
			e.Events = append(e.Events, web.Event{Time: at.Time(), Title: title, Tone: tone})
		}
	}
	point(a.Received, "Received", web.Info)
	point(a.Started, "Started", web.Info)
	for _, r := range records {
		if r.Stage == ledger.StageBounce || r.At.Before(begin.Add(-before)) || !end.IsZero() && r.At.After(end) {
			rest = append(rest, r)
			continue
		}
		inner := life.Event(r)
		inner.Facts = slices.DeleteFunc(inner.Facts, func(f web.Fact) bool { return f.Name == "worker" })
		e.Events = append(e.Events, inner)
	}
	point(a.Ended, "Ended: "+a.State, e.Tone)
	for i := range e.Events {
		e.Events[i].After = max(0, e.Events[i].Time.Sub(begin))
	}
	return e, rest
}
