package summary

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/monitor/attention"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/store/ledger"
)

// Times that the figures are of.
const (
	rateTime     = 10 * time.Second
	latencyTime  = 5 * time.Minute
	outcomesTime = 5 * time.Minute
)

// compose makes the current summary of what the sources have told.
func (k *Keeper) compose() {
	s := &Summary{At: k.cfg.Now(), Queues: Queues{Unacked: -1}, Codes: Codes{Share: 1, Budget: 1, Objective: k.cfg.Objective}}
	k.events(s)
	k.queues(s)
	k.history(s)
	state := vitals.State{}
	if k.cfg.Vitals != nil {
		state = k.cfg.Vitals.State()
	}
	if s.Queues.Fault != "" {
		k.told.noteFault(s.At)
	} else if k.told.isStale(state.At) {
		state.Processes = nil
	}
	s.Breakers = breakers(state.Processes)
	s.Workers = k.workers(state.Processes)
	k.deadLetters(s)
	s.Findings = k.watcher.Look(k.facts(s, state))
	if s.Queues.Fault != "" {
		s.forget()
	} else {
		k.unknown(s, state)
	}
	k.current.Store(s)
}

func (s *Summary) miss(part, why, advice string) {
	s.Missing = append(s.Missing, Missing{part, why, advice})
}

// events fills in what the events of workers tell.
func (k *Keeper) events(s *Summary) {
	if k.cfg.Fleet == nil {
		s.miss("rates", "this monitor does not listen to events", "")
		return
	}
	status := k.cfg.Fleet.Status()
	if status.Joined.IsZero() {
		s.miss("rates", "events do not arrive yet", "the monitor connects to Redis by itself")
		return
	}
	if status.LastEvent.IsZero() {
		s.miss("rates", "no event has arrived since "+attention.Spell(s.At.Sub(status.Began)),
			"workers of this program send them when a monitor asks; start Python's with -E; see that they use the same Redis database and prefix")
	}
	series := k.cfg.Fleet.Series(fleet.Window)
	s.Rates.Series.Begin = series.Begin
	for _, c := range series.Counts {
		all := &s.Rates.Series
		all.Received, all.Succeeded = append(all.Received, c.Received), append(all.Succeeded, c.Succeeded)
		all.Retried, all.Failed = append(all.Retried, c.Retried), append(all.Failed, c.Failed+c.Rejected)
	}
	seconds := int(rateTime / time.Second)
	last := series.Counts[max(0, len(series.Counts)-seconds):]
	for _, c := range last {
		s.Rates.Received += float64(c.Received)
		s.Rates.Succeeded += float64(c.Succeeded)
		s.Rates.Retried += float64(c.Retried)
		s.Rates.Failed += float64(c.Failed + c.Rejected)
	}
	if n := float64(len(last)); n > 0 {
		s.Rates.Known = true
		for _, r := range []*float64{&s.Rates.Received, &s.Rates.Succeeded, &s.Rates.Retried, &s.Rates.Failed} {
			*r /= n
		}
	}
	for _, c := range series.Counts[max(0, len(series.Counts)-int(outcomesTime/time.Second)):] {
		s.Outcomes.Succeeded += int(c.Succeeded)
		s.Outcomes.Failed += int(c.Failed) // a rejection may be a message that was given back
	}
	if q := k.cfg.Fleet.Latency(latencyTime).Runtime; q.Count > 0 {
		s.Latency = Latency{Known: true, P50: q.P50.Seconds(), P95: q.P95.Seconds(), P99: q.P99.Seconds(), Samples: q.Count}
	}
}

func (k *Keeper) queues(s *Summary) {
	if k.cfg.Queues == nil {
		s.miss("queues", "this monitor does not look at queues", "")
		return
	}
	s.Queues = k.cfg.Queues()
}

// history fills in what the history of mails tells.
func (k *Keeper) history(s *Summary) {
	if k.cfg.Mails == nil {
		s.miss("codes", cmp.Or(k.cfg.NoHistory, "there is no history of mails"), "set LEDGER_DATABASE_URL to the database of the workers")
		k.codesOfEvents(s)
		return
	}
	seen := k.mails.Load()
	switch {
	case seen == nil:
		return
	case errors.Is(seen.err, ledger.ErrNoHistory):
		s.miss("codes", "the database has no history of mails yet", "a worker makes its tables at its start")
	case seen.err != nil:
		s.miss("codes", "the database of the history does not answer", "see LEDGER_DATABASE_URL")
	}
	if seen.err != nil {
		k.codesOfEvents(s)
		return
	}
	s.Codes.Known = true
	for _, c := range seen.stats {
		if !slices.Contains(k.cfg.CodeKinds, c.Kind) {
			continue
		}
		switch c.State {
		case ledger.Accepted:
			s.Codes.Ended, s.Codes.InTime = s.Codes.Ended+c.N, s.Codes.InTime+c.Within
			s.Codes.P95 = max(s.Codes.P95, c.P95)
		case ledger.Expired:
			s.Codes.Ended, s.Codes.Expired = s.Codes.Ended+c.N, s.Codes.Expired+c.N
		case ledger.Dead, ledger.Unknown:
			s.Codes.Ended += c.N
		}
	}
	s.Codes.budget()
	waiting := k.waiting.Load()
	if waiting == nil {
		waiting = new(waitingSeen)
	}
	for _, m := range waiting.mails {
		if age := s.At.Sub(m.FirstSeen).Seconds(); age > 0 {
			s.Codes.Number++
			s.Codes.Waiting = max(s.Codes.Waiting, age)
		}
	}
	counts := map[string]int64{}
	for _, c := range seen.classes {
		counts[cmp.Or(c.Class, "unknown")] += c.N
	}
	for class, n := range counts {
		s.Failures = append(s.Failures, Failure{class, n})
	}
	sorting.By(s.Failures, func(a, b Failure) int { return cmp.Or(cmp.Compare(b.N, a.N), strings.Compare(a.Class, b.Class)) })
}

// budget fills in the share and what is left of the allowed failures.
func (c *Codes) budget() {
	if c.Ended == 0 {
		return
	}
	c.Share = float64(c.InTime) / float64(c.Ended)
	c.Budget = 1 - (1-c.Share)/(1-c.Objective)
}

// codesOfEvents looks for codes that wait among the tasks, where there is no history.
func (k *Keeper) codesOfEvents(s *Summary) {
	if k.cfg.Fleet == nil {
		return
	}
	for _, name := range k.cfg.CodeTasks {
		page, err := k.cfg.Fleet.Tasks(fleet.Filter{
			Name: name, States: []string{fleet.Pending, fleet.Received, fleet.Started, fleet.Retry},
			Since: s.At.Add(-codeLife), Limit: fleet.MaxPage, OldestFirst: true, Terse: true,
		})
		if err != nil {
			continue
		}
		for _, t := range page.Tasks {
			from := cmp.Or(t.Sent, t.Received)
			if age := s.At.Sub(from.Time()).Seconds(); from != 0 && age > 0 {
				s.Codes.Number++
				s.Codes.Waiting = max(s.Codes.Waiting, age)
			}
		}
	}
}

// workers lists the live workers: processes that share their health, and nodes that only
// events tell of.
func (k *Keeper) workers(processes []vitals.Process) []Worker {
	all := []Worker{}
	byNode := map[string]*fleet.Worker{}
	if k.cfg.Fleet != nil {
		for _, w := range k.cfg.Fleet.Workers() {
			if w.Online && !w.Left {
				byNode[w.Node] = &w
			}
		}
	}
	told := map[string]bool{}
	for _, p := range processes {
		told[p.Node] = true
		w := Worker{
			Node: p.Node, Process: p.ID, Version: p.Version, Status: p.Report.Status,
			Active: p.Report.Tasks.Running, Concurrency: p.Report.Tasks.Concurrency, Processed: p.Report.Tasks.Received, Trouble: vitals.Trouble(p.Report),
		}
		if e := byNode[p.Node]; e != nil {
			w.Skew = skew(e)
		}
		all = append(all, w)
	}
	for node, e := range byNode {
		if !told[node] {
			all = append(all, Worker{
				Node: node, Python: e.Python, Version: strings.TrimSpace(e.Ident + " " + e.Version), Active: e.Active, Processed: e.Processed, Skew: skew(e),
			})
		}
	}
	sorting.By(all, func(a, b Worker) int {
		return cmp.Or(strings.Compare(a.Node, b.Node), strings.Compare(a.Process, b.Process))
	})
	return all
}

// skew returns the seconds by which the clock of a worker is ahead of ours. Its events take a
// moment to arrive.
func skew(w *fleet.Worker) float64 {
	const delivery = 2.0
	if len(w.Heartbeats) == 0 || w.Seen.IsZero() {
		return 0
	}
	ahead := w.Heartbeats[len(w.Heartbeats)-1].Time().Sub(w.Seen).Seconds()
	if ahead < delivery && ahead > -max(delivery, w.Freq) {
		return 0
	}
	return ahead
}

// facts makes the facts of the rules.
func (k *Keeper) facts(s *Summary, state vitals.State) attention.Facts {
	f := attention.Facts{
		Now: s.At, QueueFault: s.Queues.Fault, Refusal: s.Queues.Refusal, Remedy: s.Queues.Remedy,
		Codes: attention.Codes{
			Waiting: time.Duration(s.Codes.Waiting * float64(time.Second)), Number: s.Codes.Number,
			Ended: s.Codes.Ended, InTime: s.Codes.InTime, Expired: s.Codes.Expired, Objective: s.Codes.Objective,
		},
	}
	f.Outcomes = attention.Outcomes{Ended: s.Outcomes.Succeeded + s.Outcomes.Failed, Failed: s.Outcomes.Failed, Over: outcomesTime}
	for _, c := range s.Failures {
		f.Failures = append(f.Failures, attention.Failure{Class: c.Class, N: c.N})
	}
	if f.QueueFault != "" {
		return f // what Redis told before its outage would look like news
	}
	for _, q := range s.Queues.All {
		f.Queues = append(f.Queues, attention.Queue{
			Name: q.Name, Messages: q.Messages, Oldest: q.Oldest.Duration(), Growing: q.In > q.Out && q.Messages > 0,
			Consumers: q.Consumers, Paused: q.Paused, PausedBy: q.PausedBy, Since: q.Since, Broken: q.Broken,
		})
	}
	for _, b := range s.Breakers {
		if b.Phase != "closed" {
			f.Breakers = append(f.Breakers, attention.Breaker{Name: b.Name, Phase: b.Phase, Reason: b.Reason, Since: b.Since, Nodes: b.Nodes, Refused: b.Refused})
		}
	}
	if seen := k.counted(); seen != nil {
		f.Letters.Known, f.Letters.Open = true, seen.counts.Open
		f.Letters.Grown, f.Letters.GrownIn, f.Letters.Since = seen.grown()
		if s.At.Sub(seen.counts.LastDropped) < 24*time.Hour {
			f.Letters.Lost = seen.counts.Dropped
		}
	}
	k.workerFacts(&f, s, state)
	return f
}

// settled is how long after the start of the monitor the list of workers is complete.
const settled = 30 * time.Second

// silence is how long a worker must say nothing at least to be lost.
const silence = 30 * time.Second

// lost returns the workers whose heartbeats have ended without a farewell.
func (k *Keeper) lost(s *Summary) (all []attention.Lost) {
	if k.cfg.Fleet == nil {
		return nil
	}
	for _, w := range k.cfg.Fleet.Workers() {
		silent, interval := s.At.Sub(w.Seen), time.Duration(w.Freq*float64(time.Second))
		if !w.Left && len(w.Heartbeats) > 0 && silent > max(silence, 3*interval) {
			all = append(all, attention.Lost{Node: w.Node, Python: w.Python, Silent: silent, Active: w.Active})
		}
	}
	return all
}

func (k *Keeper) workerFacts(f *attention.Facts, s *Summary, state vitals.State) {
	if k.cfg.Fleet != nil {
		joined := k.cfg.Fleet.Status().Joined
		f.WorkersKnown = !joined.IsZero() && s.At.Sub(joined) > settled && !state.At.IsZero()
	}
	f.Lost = k.lost(s)
	for _, w := range s.Workers {
		f.Workers = append(f.Workers, attention.Worker{
			Node: w.Node, Process: w.Process, Python: w.Python, Status: w.Status, Skew: time.Duration(w.Skew * float64(time.Second)),
		})
	}
	for _, p := range state.Processes {
		for i := range f.Workers {
			w := &f.Workers[i]
			if w.Process != p.ID {
				continue
			}
			w.VisibilityTimeout = time.Duration(p.VisibilityTimeout * float64(time.Second))
			if !p.Report.Keys.OK {
				w.Faults = []string{p.Report.Keys.Text}
			}
			w.Parts = partsInTrouble(p.Report)
		}
		f.History.Fleet = true
		h := p.Report.History
		f.History.Off = f.History.Off || h.OK && strings.HasPrefix(h.Text, "off")
		if since, err := time.Parse(time.RFC3339, h.Since); !h.OK && f.History.Fault == "" {
			f.History.Fault = fmt.Sprintf("%s tells: %s", p.Node, h.Text)
			if err == nil {
				f.History.Since = since
			}
		}
	}
	f.History.Absent = f.History.Fleet && !f.History.Off && k.cfg.Mails == nil
	f.Differences = vitals.Differences(state.Processes)
	f.Secrets = secrets(state.Processes)
}

// secrets returns the secrets in use, each with the latest time at which one of its values was
// seen first.
func secrets(processes []vitals.Process) (all []attention.Secret) {
	for _, p := range processes {
		for _, s := range p.Settings {
			if !s.Secret || s.Since.IsZero() {
				continue
			}
			i := slices.IndexFunc(all, func(o attention.Secret) bool { return o.Variable == s.Variable })
			if i < 0 {
				all = append(all, attention.Secret{Variable: s.Variable, Since: s.Since})
			} else if s.Since.After(all[i].Since) {
				all[i].Since = s.Since
			}
		}
	}
	return all
}
