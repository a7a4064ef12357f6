package letters

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/monitor/desk/jobs"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/worker/broker"
)

// bulkView asks before something is done to many letters.
type bulkView struct {
	Head    web.Head
	Problem string
	Text    string // what happens
	Count   int
	Expired int // of them, which cannot be retried
	Facts   []web.Fact
	Causes  []causeRow
	Others  int
	Sample  []row
	Empty   *web.Empty

	Verb, Query, State string
	Until              string // only letters that were set aside before are chosen
	IDs                []string
	Button             string
	Rate, Note         string
	Word               string // to be typed; "": none
	Danger             bool
	Cancel             string
}

// verbTexts are the words of each verb.
var verbTexts = map[desk.Verb]struct{ title, button, text string }{
	desk.Retry: {"Retry", "Retry", "Each message goes back into its queue, with its retries unspent. A mail that was sent before may be sent again. " +
		"Retried mails wait in the same queue as new ones: the rate keeps it short."},
	desk.Resolve: {"Mark as dealt with", "Mark", "Nothing is sent. The letters leave the list of open ones, and can be reopened."},
	desk.Reopen:  {"Reopen", "Reopen", "The letters are open again."},
	desk.Delete:  {"Delete", "Delete", "Deleted letters cannot be had back. To keep a trace beside the audit trail, mark them as dealt with."},
}

// choice is what a bulk is for: letters that were named, or all of a query.
type choice struct {
	verb  desk.Verb
	query *query
	ids   []string
	until time.Time
}

// readChoice reads what a page or a form chooses.
func readChoice(v url.Values, now time.Time) (*choice, error) {
	c := &choice{verb: desk.Verb(v.Get("verb")), ids: v["id"], until: now}
	if _, ok := verbTexts[c.verb]; !ok {
		return nil, web.Invalid("It is not said what to do with the letters: choose it on their list.")
	}
	const most = 10_000
	if len(c.ids) > most {
		return nil, web.Invalid(fmt.Sprintf("More than %d letters are named.", most))
	}
	sort.Strings(c.ids)
	c.ids = slices.Compact(c.ids)
	var err error
	if c.query, err = readQuery(v, now); err != nil {
		return nil, err
	}
	if text := v.Get("before"); text != "" {
		nanos, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return nil, web.Invalid("The form is not of this page: go back to the list.")
		}
		c.until = time.Unix(0, nanos)
	}
	return c, nil
}

// items returns the letters of the choice, the newest first.
func (c *choice) items(l *look) (chosen []desk.Item) {
	if len(c.ids) > 0 {
		for i := range l.items {
			if _, ok := slices.BinarySearch(c.ids, l.items[i].ID); ok {
				chosen = append(chosen, l.items[i])
			}
		}
		return chosen
	}
	for _, it := range c.query.filter.Choose(l.items) {
		if it.At.Before(c.until) {
			chosen = append(chosen, it)
		}
	}
	return chosen
}

// key names the choice: two jobs of one key are the same.
func (c *choice) key() string {
	sum := sha256.Sum256([]byte(strings.Join(append([]string{string(c.verb), c.query.state, c.query.text()}, c.ids...), "\x00")))
	return string(c.verb) + "." + hex.EncodeToString(sum[:12])
}

// facts tell people how the letters were chosen.
func (c *choice) facts() []jobs.Fact {
	if len(c.ids) > 0 {
		return []jobs.Fact{{Name: "Chosen", Value: "one by one"}}
	}
	facts := []jobs.Fact{{Name: "State", Value: strings.ReplaceAll(c.query.state, "_", " ")}}
	for _, t := range c.query.terms {
		name := t.key
		if name == "" {
			name = "reason"
		}
		facts = append(facts, jobs.Fact{Name: strings.ToUpper(name[:1]) + name[1:], Value: mail.MaskAddresses(line(t.value))})
	}
	return facts
}

func (c *choice) back() string {
	q := *c.query
	q.after = ""
	return q.href()
}

func (g *Group) loadBulk(ctx context.Context, r *web.Request) (web.View, error) {
	if err := g.here(); err != nil {
		return web.View{}, err
	}
	if r.Form == nil {
		if err := r.ParseForm(); err != nil {
			return web.View{}, web.Invalid("The form cannot be read.")
		}
	}
	now := g.cfg.Now()
	c, err := readChoice(r.Form, now)
	if err != nil {
		return web.View{}, err
	}
	l, err := g.box.look(ctx)
	if err != nil {
		return web.View{}, plain(err)
	}
	if r.Form.Get("before") == "" {
		c.until = l.at
	}
	chosen, words := c.items(l), verbTexts[c.verb]
	v := &bulkView{
		Problem: r.Problem, Text: words.text, Count: len(chosen), Verb: string(c.verb), Query: c.query.text(), State: c.query.state,
		Until: strconv.FormatInt(c.until.UnixNano(), 10), IDs: c.ids, Button: words.button + " " + count(len(chosen), "letter"),
		Rate: r.Form.Get("rate"), Note: r.Form.Get("note"), Danger: c.verb == desk.Delete, Cancel: c.back(),
	}
	v.Head = web.Head{Title: words.title + ": " + count(len(chosen), "dead letter"), Back: &web.Link{Text: "Dead letters", Href: c.back()}}
	if c.verb == desk.Retry && v.Rate == "" {
		v.Rate = "50/s"
	}
	if v.Danger {
		v.Word = "delete " + strconv.Itoa(len(chosen))
	}
	for _, f := range c.facts() {
		v.Facts = append(v.Facts, web.Fact{Name: f.Name, Value: f.Value})
	}
	v.preview(chosen, now)
	if len(chosen) == 0 {
		v.Empty = &web.Empty{Title: "No letter is chosen", Text: "Others may have dealt with them meanwhile.", Href: c.back(), Link: "Back to the list"}
	}
	return web.View{Title: v.Head.Title, Data: v}, nil
}

// preview adds the causes of the chosen letters and some of them.
func (v *bulkView) preview(chosen []desk.Item, now time.Time) {
	const sample = 10
	var list listView
	list.causes(chosen, &query{state: "none"}, now)
	v.Causes, v.Others = list.Causes, list.Others
	for i := range chosen {
		if chosen[i].State == broker.LetterOpen && chosen[i].Expired(now) {
			v.Expired++
		}
		if i < sample {
			v.Sample = append(v.Sample, rowOf(&chosen[i], now))
		}
	}
}

// doBulk starts the job.
func (g *Group) doBulk(ctx context.Context, r *web.Request) (web.Done, error) {
	if err := g.here(); err != nil {
		return web.Done{}, err
	}
	c, err := readChoice(r.PostForm, g.cfg.Now())
	if err != nil {
		return web.Done{}, err
	}
	text, err := note(r)
	if err != nil {
		return web.Done{}, err
	}
	var rate desk.Rate
	if typed := strings.TrimSpace(r.PostForm.Get("rate")); typed != "" {
		if err := rate.UnmarshalText([]byte(typed)); err != nil {
			return web.Done{}, web.Invalid("Rate: " + err.Error() + ".")
		}
	}
	g.box.forget()
	l, err := g.box.look(ctx)
	if err != nil {
		return web.Done{}, plain(err)
	}
	chosen := c.items(l)
	if len(chosen) == 0 {
		return web.Done{}, web.Invalid("No letter is chosen any more. Nothing was done.")
	}
	if word := r.PostForm.Get("word"); c.verb == desk.Delete && !confirmed(word, len(chosen)) {
		return web.Done{}, web.Invalid(fmt.Sprintf("Type delete %d to confirm: so many letters are chosen now. Nothing was done.", len(chosen)))
	}
	id, err := g.start(ctx, r.Actor, c, chosen, rate, text)
	if same, ok := errors.AsType[*jobs.SameError](err); ok {
		to := "/jobs"
		if same.ID != "" {
			to += "/" + same.ID
		}
		return web.Done{Location: to, Tone: web.Wait, Notice: sentence(same.Error()) + " Nothing was started."}, nil
	}
	if err != nil {
		return web.Done{}, plain(err)
	}
	return web.Done{
		Location: "/jobs/" + id, Notice: fmt.Sprintf("Started: %s, %s.", strings.ToLower(verbTexts[c.verb].title), count(len(chosen), "letter")),
		Subjects: []string{"job:" + id}, Details: map[string]string{"verb": string(c.verb), "letters": strconv.Itoa(len(chosen)), "rate": r.PostForm.Get("rate")},
	}, nil
}

// confirmed reports whether a person has typed the number of letters that are deleted. Fewer
// may be left than the page showed.
func confirmed(word string, n int) bool {
	typed, ok := strings.CutPrefix(strings.ToLower(strings.TrimSpace(word)), "delete ")
	shown, err := strconv.Atoi(strings.TrimSpace(typed))
	return ok && err == nil && shown >= n
}

// start starts the job of a choice. The oldest letters go first, as their mails are the latest.
func (g *Group) start(ctx context.Context, who web.Actor, c *choice, chosen []desk.Item, rate desk.Rate, note string) (id string, err error) {
	ids := make([]string, len(chosen))
	for i := range chosen {
		ids[len(chosen)-1-i] = chosen[i].ID
	}
	details := c.query.filter.Details()
	details["state"] = c.query.state
	if len(c.ids) > 0 {
		details = map[string]any{"chosen": len(c.ids)}
	}
	facts := c.facts()
	if rate.Every() > 0 {
		facts = append(facts, jobs.Fact{Name: "Rate", Value: rateText(rate)})
	}
	if note != "" {
		facts = append(facts, jobs.Fact{Name: "Note", Value: mail.MaskAddresses(note)})
	}
	return g.cfg.Jobs.Start(ctx, jobs.Spec{
		Kind: string(c.verb), Title: verbTexts[c.verb].title + ": " + count(len(ids), "dead letter"), By: who.Name, Facts: facts, Key: c.key(), Total: len(ids),
		Work: func(going context.Context, p *jobs.Progress) ([]string, error) {
			bulk := desk.Bulk{
				Letters: g.cfg.Letters, Verb: c.verb, By: who.Name, Note: note, Rate: rate, Details: details,
				Audit: func(ctx context.Context, a desk.Action, do func(context.Context) (map[string]any, error)) error {
					return g.cfg.Audit(ctx, who, a, do)
				},
				Report: func(outcomes []desk.Outcome) { report(p, outcomes) },
			}
			defer g.box.forget()
			_, err := bulk.Run(context.WithoutCancel(going), going, ids)
			return nil, err
		},
	})
}

func report(p *jobs.Progress, outcomes []desk.Outcome) {
	refused := 0
	for _, o := range outcomes {
		if !o.Done {
			refused++
			p.Fault(o.Error)
		}
	}
	p.Add(len(outcomes)-refused, refused)
}

// rateText writes a rate as people type it.
func rateText(r desk.Rate) string {
	unit := map[time.Duration]string{time.Second: "s", time.Minute: "m", time.Hour: "h"}[r.Per]
	return strconv.FormatFloat(r.N, 'f', -1, 64) + "/" + unit
}
