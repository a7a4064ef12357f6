package schedule

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/inspect"
)

// runOne runs one message now.
func (g *Group) runOne(ctx context.Context, r *web.Request) (web.Done, error) {
	claim := r.FormValue("one")
	if err := g.cfg.Schedule.RunNow(ctx, claim); err != nil {
		return web.Done{}, web.Invalid(sentence(err))
	}
	return web.Done{Location: readFilter(r.Form).href(), Notice: "The task is at the front of its queue, and runs as soon as a worker has a free slot."}, nil
}

// cancelOne revokes one message.
func (g *Group) cancelOne(ctx context.Context, r *web.Request) (web.Done, error) {
	s, err := g.cfg.Schedule.Snapshot(ctx)
	if err != nil {
		return web.Done{}, web.Invalid(sentence(err))
	}
	claim := r.FormValue("one")
	w, ok := s.Find(claim)[claim]
	if !ok {
		return web.Done{}, web.Invalid("This task waits no more: it has run, or was cancelled.")
	}
	answers, err := g.cfg.Schedule.Cancel(ctx, []string{w.ID})
	if err != nil {
		return web.Done{}, web.Invalid(sentence(err))
	}
	d := web.Done{Location: readFilter(r.Form).href(), Notice: "The task is cancelled: it does not run, and its result is REVOKED.", Subjects: []string{w.ID}}
	return withAnswers(d, answers, w.Python), nil
}

// withAnswers adds what live workers said about a revocation.
func withAnswers(d web.Done, answers []inspect.Answer, python bool) web.Done {
	if err := inspect.Failed(answers); err != nil {
		d.Notice += " But: " + sentence(err)
		d.Tone = web.Wait
	}
	if python {
		d.Notice += " A Python worker keeps that in its memory: after its restart the task runs all the same, unless it has --statedb."
	}
	return d
}

// sentence returns an error as a sentence for people.
func sentence(err error) string {
	for _, known := range []error{broker.ErrNotHeld, broker.ErrHeldByPython, broker.ErrDue} {
		if errors.Is(err, known) {
			return strings.ToUpper(known.Error()[:1]) + known.Error()[1:] + "."
		}
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "Redis did not answer in time."
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ") + "."
}

// bulkView asks before many messages are changed.
type bulkView struct {
	Problem string
	Back    web.Link
	Empty   web.Empty
	Confirm web.Confirm
	Claims  []string // the chosen ones; none: all that the filter chooses
	Rows    []row
	Nothing bool
}

// verbs are the changes of many messages.
var verbs = map[string]struct{ title, button, word string }{
	"run":    {"Run %d %s now?", "Run now", ""},
	"cancel": {"Cancel %d %s?", "Cancel them", "cancel"},
}

// sampleRows is the number of messages that the confirmation shows.
const sampleRows = 10

// loadBulk shows what would be changed.
func (g *Group) loadBulk(ctx context.Context, r *web.Request) (web.View, error) {
	q := r.URL.Query()
	if r.Problem != "" { // the form again
		q = r.Form
	}
	verb, ok := verbs[q.Get("verb")]
	if !ok {
		return web.View{}, web.Redirect("/scheduled")
	}
	s, err := g.cfg.Schedule.Snapshot(ctx)
	if err != nil {
		return web.View{}, web.Missing("Redis does not answer", sentence(err))
	}
	f := readFilter(q)
	all, claims := pick(s, f, q["claim"])
	able, python := split(all, q.Get("verb"))
	v := bulkView{Problem: r.Problem, Back: web.Link{Text: "Scheduled and retries", Href: f.href()}, Claims: claims}
	if len(able) == 0 {
		v.Nothing = true
		v.Empty = web.Empty{Title: "Nothing to do", Text: "None of these tasks can be changed: they have run meanwhile, or Python workers hold them.", Href: f.href(), Link: "Back"}
		return web.View{Title: "Nothing to do", Data: v}, nil
	}
	v.Confirm = web.Confirm{
		Title: fmt.Sprintf(verb.title, len(able), plural(len(able), "task", "tasks")), Action: "/scheduled/bulk", Button: verb.button, Word: verb.word, Cancel: f.href(),
		Fields: map[string]string{"verb": q.Get("verb"), "kind": f.Kind, "holder": f.Holder, "task": f.Task, "q": f.Text, "count": strconv.Itoa(len(able))},
	}
	if verb.word == "" {
		v.Confirm.Tone, v.Confirm.Text = web.Good, "They go to the front of their queues, and run as workers have free slots."
	} else {
		v.Confirm.Text = "They do not run, and their results are REVOKED. That cannot be taken back."
	}
	if len(python) > 0 {
		v.Confirm.Facts = append(v.Confirm.Facts, web.Fact{Name: "Left out", Value: fmt.Sprintf("%d that Python workers hold in their memory", len(python))})
	}
	for _, w := range able[:min(len(able), sampleRows)] {
		v.Rows = append(v.Rows, newRow(w, ""))
	}
	return web.View{Title: v.Confirm.Title, Data: v}, nil
}

func plural(n int, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// pick returns the messages of these claims, or without claims the ones that the filter
// chooses, and the claims.
func pick(s *inspect.Snapshot, f filter, claims []string) (found []inspect.Waiting, named []string) {
	if len(claims) == 0 {
		return f.of(s), nil
	}
	waiting := s.Find(claims...)
	for _, c := range claims {
		if w, ok := waiting[c]; ok {
			found, named = append(found, w), append(named, c)
		}
	}
	return found, named
}

// split leaves out the messages that a change cannot be made to.
func split(all []inspect.Waiting, verb string) (able, python []inspect.Waiting) {
	for _, w := range all {
		switch {
		case w.Revoked:
		case verb == "run" && w.Python:
			python = append(python, w)
		default:
			able = append(able, w)
		}
	}
	return able, python
}

// bulkTime is the time after which a change of many messages ends, with what is done.
const bulkTime = 45 * time.Second

// bulk changes many messages.
func (g *Group) bulk(ctx context.Context, r *web.Request) (web.Done, error) {
	name := r.FormValue("verb")
	verb, ok := verbs[name]
	if !ok {
		return web.Done{}, web.Invalid("Choose what to do: run or cancel.")
	}
	if verb.word != "" && strings.TrimSpace(r.FormValue("word")) != verb.word {
		return web.Done{}, web.Invalid(fmt.Sprintf("Nothing was done: type %s to confirm.", verb.word))
	}
	s, err := g.cfg.Schedule.Snapshot(ctx)
	if err != nil {
		return web.Done{}, web.Invalid(sentence(err))
	}
	f := readFilter(r.Form)
	all, _ := pick(s, f, r.Form["claim"])
	able, _ := split(all, name)
	if shown, err := strconv.Atoi(r.FormValue("count")); err == nil && len(able) > shown+shown/10+1 {
		return web.Done{}, web.Invalid(fmt.Sprintf("Nothing was done: %d tasks match by now, %d did before. Look again.", len(able), shown))
	}
	ctx, cancel := context.WithTimeout(ctx, bulkTime)
	defer cancel()
	if name == "run" {
		return g.runAll(ctx, able, f), nil
	}
	return g.cancelAll(ctx, able, f)
}

// runAll runs messages now, one after the other. It ends with the time.
func (g *Group) runAll(ctx context.Context, able []inspect.Waiting, f filter) web.Done {
	ran, faults := 0, map[string]int{}
	for _, w := range able {
		err := g.cfg.Schedule.RunNow(ctx, w.Claim)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			faults[sentence(err)]++
			continue
		}
		ran++
	}
	d := web.Done{Location: f.href(), Notice: fmt.Sprintf("%d %s at the front of %s.", ran, plural(ran, "task is", "tasks are"), plural(ran, "its queue", "their queues")),
		Details: map[string]string{"run": strconv.Itoa(ran), "of": strconv.Itoa(len(able))}}
	for text, n := range faults {
		d.Tone = web.Wait
		d.Notice += fmt.Sprintf(" Left out: %d. %s", n, text)
	}
	if ctx.Err() != nil {
		d.Tone = web.Wait
		d.Notice += " The time was over before the rest: run it again."
	}
	return d
}

// revokeStep is the number of tasks of one revocation.
const revokeStep = 500

// cancelAll revokes messages.
func (g *Group) cancelAll(ctx context.Context, able []inspect.Waiting, f filter) (web.Done, error) {
	var answers []inspect.Answer
	python, done := false, 0
	for chunk := range slices.Chunk(able, revokeStep) {
		ids := make([]string, len(chunk))
		for i, w := range chunk {
			ids[i], python = w.ID, python || w.Python
		}
		said, err := g.cfg.Schedule.Cancel(ctx, ids)
		if err != nil {
			return web.Done{}, web.Invalid(fmt.Sprintf("Cancelled: %d. The rest is not: %s", done, sentence(err)))
		}
		answers, done = said, done+len(ids)
	}
	d := web.Done{Location: f.href(), Notice: fmt.Sprintf("Cancelled: %d %s.", done, plural(done, "task", "tasks")), Details: map[string]string{"cancelled": strconv.Itoa(done)}}
	return withAnswers(d, answers, python), nil
}
