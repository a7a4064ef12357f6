package attention

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/internal/words"
)

// Bounds of the rules.
const (
	// CodeLimit is the time within which a code must be accepted.
	CodeLimit = 10 * time.Second
	// oldQueue is the age of the oldest message of a queue from which it counts as late.
	oldQueue = 30 * time.Second
	// oldSecret is the age of a secret from which it is to be changed.
	oldSecret = 365 * 24 * time.Hour
	// mostSkew is the difference of clocks that does no harm.
	mostSkew = 5 * time.Second
	// longestLost is how long a lost worker is told of.
	longestLost = 15 * time.Minute
	// fewestCodes is the number of codes from which a share says anything.
	fewestCodes = 20
	// fewestFailed and leastFailed are how many tasks must fail, and which share of all, to be
	// told of.
	fewestFailed = 3
	leastFailed  = 0.05
)

// rule finds one kind of trouble.
type rule struct {
	name  string
	level Level
	link  string
	look  func(f *Facts) []Finding
}

// rules are in the order of their importance.
var rules = []rule{
	{"queues", Urgent, "/health", queuesAway},
	{"writes", Urgent, "/queues", writesRefused},
	{"no-worker", Urgent, "/workers", noWorker},
	{"code-waits", Urgent, "/deliveries?q=kind:otp&state=queued&state=deferred&state=sending", codeWaits},
	{"refused", Urgent, "/health", serverRefuses},
	{"breaker", Urgent, "/health", breakerOpen},
	{"queue-late", Warning, "/queues", queueLate},
	{"queue-broken", Urgent, "/queues", queueBroken},
	{"queue-paused", Notice, "/queues", queuePaused},
	{"faults", Urgent, "/health", workerFaults},
	{"unhealthy", Urgent, "/health", unhealthy},
	{"part", Warning, "/health", parts},
	{"codes", Warning, "/deliveries?q=kind:otp", codesMissed},
	{"letters", Warning, "/dead-letters", lettersGrow},
	{"letters-lost", Warning, "/dead-letters", lettersLost},
	{"failures", Warning, "/tasks?state=FAILURE", tasksFail},
	{"reputation", Warning, "/deliveries?q=class:reputation", reputation},
	{"lost", Warning, "/workers", workersLost},
	{"same-node", Urgent, "/workers", sameNode},
	{"visibility", Urgent, "/configuration", shorterVisibility},
	{"clock", Warning, "/workers", clockDrift},
	{"history", Warning, "/health", historyFails},
	{"configuration", Notice, "/configuration", differences},
	{"secret", Notice, "/configuration", oldSecrets},
}

func one(f Finding) []Finding { return []Finding{f} }

func noWorker(f *Facts) []Finding {
	if !f.WorkersKnown || f.QueueFault != "" {
		return nil
	}
	waiting, oldest := 0, time.Duration(0)
	for _, q := range f.Queues {
		waiting, oldest = waiting+q.Messages, max(oldest, q.Oldest)
	}
	switch {
	case len(f.Workers) > 0:
		return noConsumer(f)
	case waiting == 0:
		return one(Finding{Level: Warning, Text: "No worker runs. Nothing waits yet.", Advice: "Start a worker."})
	}
	return one(Finding{
		Text:   fmt.Sprintf("No worker runs, and %s in the queues%s.", wait(waiting), forOldest(oldest)),
		Advice: "Start a worker.",
	})
}

// noConsumer finds queues that no live worker consumes.
func noConsumer(f *Facts) (found []Finding) {
	for _, q := range f.Queues {
		if q.Consumers == 0 && q.Messages > 0 && !q.Paused {
			found = append(found, Finding{
				Subject: q.Name, Link: queueLink(q.Name),
				Text:   fmt.Sprintf("No worker consumes the queue %s, and %s in it%s.", q.Name, wait(q.Messages), forOldest(q.Oldest)),
				Advice: "Add the queue to QUEUES of a worker, or on the page of a worker.",
			})
		}
	}
	return found
}

func codeWaits(f *Facts) []Finding {
	if f.Codes.Waiting <= CodeLimit {
		return nil
	}
	text := fmt.Sprintf("A code is not accepted after %s; the objective is %s.", Spell(f.Codes.Waiting), Spell(CodeLimit))
	if f.Codes.Number > 1 {
		text = fmt.Sprintf("%d codes are not accepted yet, the oldest after %s; the objective is %s.", f.Codes.Number, Spell(f.Codes.Waiting), Spell(CodeLimit))
	}
	return one(Finding{Text: text, Since: f.Now.Add(-f.Codes.Waiting)})
}

// serverRefuses finds servers that refuse the workers themselves: their login, rights or sender. It
// also finds servers whose certificate is not trusted. The reason tells which.
func serverRefuses(f *Facts) (found []Finding) {
	for _, b := range f.Breakers {
		if !b.Refused {
			continue
		}
		one := Finding{Subject: b.Name, Since: b.Since, Text: fmt.Sprintf("The %s cannot be used by %s: %s.", b.Name, nodes(b.Nodes), clause(b.Reason))}
		if strings.HasPrefix(b.Name, "relay") {
			one.Advice = "Correct what the text names: login, sender or certificate. Mails wait in their queues, and no attempt is spent. The worker tries again by itself."
		} else {
			one.Advice = "Correct what the text names: login, rights, table or certificate. Mails to users wait in their queues, and no attempt is spent. The worker tries again by itself."
		}
		found = append(found, one)
	}
	return found
}

func breakerOpen(f *Facts) (found []Finding) {
	for _, b := range f.Breakers {
		if b.Refused {
			continue
		}
		one := Finding{Subject: b.Name, Since: b.Since}
		switch {
		case b.Phase == "half-open":
			one.Level = Notice
			one.Text = fmt.Sprintf("The %s is tried again after an outage, with few mails at a time.", b.Name)
		case strings.HasPrefix(b.Name, "relay"):
			one.Text = fmt.Sprintf("The %s takes no mails of %s: %s.", b.Name, nodes(b.Nodes), clause(b.Reason))
			one.Advice = "Mails wait in their queues, and no attempt is spent. Look at the relay."
		default:
			one.Text = fmt.Sprintf("The %s does not answer %s: %s.", b.Name, nodes(b.Nodes), clause(b.Reason))
			one.Advice = "Mails to users wait in their queues, and no attempt is spent. Look at the database."
		}
		found = append(found, one)
	}
	return found
}

func queueLate(f *Facts) (found []Finding) {
	for _, q := range f.Queues {
		switch {
		case q.Paused || q.Consumers == 0:
		case q.Oldest > oldQueue && q.Growing:
			found = append(found, Finding{
				Subject: q.Name, Link: queueLink(q.Name), Since: f.Now.Add(-q.Oldest),
				Text:   fmt.Sprintf("The queue %s grows: %s, the oldest one for %s.", q.Name, wait(q.Messages), Spell(q.Oldest)),
				Advice: "Raise CONCURRENCY, or start another worker, unless the relay is the limit.",
			})
		case q.Oldest > oldQueue:
			found = append(found, Finding{
				Subject: q.Name, Link: queueLink(q.Name), Since: f.Now.Add(-q.Oldest),
				Text: fmt.Sprintf("A message has waited in the queue %s for %s; %s.", q.Name, Spell(q.Oldest), wait(q.Messages)),
			})
		}
	}
	return found
}

func queueBroken(f *Facts) (found []Finding) {
	for _, q := range f.Queues {
		if q.Broken {
			found = append(found, Finding{
				Subject: q.Name, Link: queueLink(q.Name),
				Text:   fmt.Sprintf("A key of the queue %s has a wrong type, so that its messages cannot be taken.", q.Name),
				Advice: "Find what has written it, rename the key, and put the messages back.",
			})
		}
	}
	return found
}

func queuePaused(f *Facts) (found []Finding) {
	for _, q := range f.Queues {
		if !q.Paused {
			continue
		}
		one := Finding{Subject: q.Name, Link: queueLink(q.Name), Since: q.Since, Text: fmt.Sprintf("The queue %s is paused", q.Name)}
		if q.PausedBy != "" {
			one.Text += " by " + q.PausedBy
		}
		if one.Text += "."; q.Messages > 0 {
			one.Level = Warning
			one.Text = strings.TrimSuffix(one.Text, ".") + fmt.Sprintf(", and %s in it%s.", wait(q.Messages), forOldest(q.Oldest))
		}
		found = append(found, one)
	}
	return found
}

func workerFaults(f *Facts) (found []Finding) {
	nodes := map[string][]string{}
	for _, w := range f.Workers {
		for _, fault := range w.Faults {
			nodes[fault] = append(nodes[fault], w.Node)
		}
	}
	for _, fault := range sorting.Keys(nodes) {
		found = append(found, Finding{Subject: fault, Text: sentence(fault)})
	}
	return found
}

func unhealthy(f *Facts) (found []Finding) {
	for _, w := range f.Workers {
		if w.Status == "unhealthy" {
			found = append(found, Finding{Subject: w.Node + " " + w.Process, Text: fmt.Sprintf("The worker %s does not consume.", w.Node)})
		}
	}
	return found
}

// parts finds parts of the health of workers for which no other rule speaks.
func parts(f *Facts) (found []Finding) {
	spoken := []string{"history", "keys", "held", "dead_letters"}
	for _, b := range f.Breakers {
		if kind, _, _ := strings.Cut(b.Name, " "); kind == "relay" {
			spoken = append(spoken, "mail")
		} else {
			spoken = append(spoken, kind)
		}
	}
	for _, w := range f.Workers {
		for _, p := range w.Parts {
			if w.Status == "unhealthy" || slices.Contains(spoken, p.Name) {
				continue
			}
			found = append(found, Finding{
				Subject: w.Node + " " + w.Process + " " + p.Name, Since: p.Since, Advice: advice(p.Advice),
				Text: fmt.Sprintf("The worker %s is degraded, %s: %s.", w.Node, strings.ReplaceAll(p.Name, "_", " "), clause(p.Text)),
			})
		}
	}
	return found
}

func workersLost(f *Facts) (found []Finding) {
	if !f.WorkersKnown || f.QueueFault != "" {
		return nil
	}
	var names []string
	for _, w := range f.Lost {
		if w.Silent > longestLost {
			continue
		}
		lost := Finding{
			Subject: w.Node, Since: f.Now.Add(-w.Silent),
			Text:   fmt.Sprintf("The worker %s is silent, and has not said that it stops.", w.Node),
			Advice: "Look whether its process runs. Other workers take over its tasks.",
		}
		if w.Active > 0 {
			lost.Text += fmt.Sprintf(" It ran %s.", words.Count(int64(w.Active), "task"))
		}
		if w.Python {
			lost.Advice = "Look whether its process runs. Its tasks are delivered again after the visibility timeout."
		}
		found, names = append(found, lost), append(names, w.Node)
	}
	if len(found) > mostNames {
		return one(Finding{
			Text:   fmt.Sprintf("%d workers are silent, and have not said that they stop: %s.", len(found), listed(names)),
			Advice: "Look whether their processes run, their machines and their network.",
		})
	}
	return found
}

func sameNode(f *Facts) (found []Finding) {
	processes := map[string]map[string]bool{}
	for _, w := range f.Workers {
		if processes[w.Node] == nil {
			processes[w.Node] = map[string]bool{}
		}
		processes[w.Node][w.Process] = true
	}
	for _, node := range sorting.Keys(processes) {
		if n := len(processes[node]); n > 1 {
			found = append(found, Finding{
				Subject: node,
				Text:    fmt.Sprintf("%d workers have the node name %s, so that remote control reaches only one of them.", n, node),
				Advice:  "Give each its own WORKER_NAME, such as email-worker@%h.",
			})
		}
	}
	return found
}

func shorterVisibility(f *Facts) []Finding {
	var shortest, longest time.Duration
	var who, other string
	for _, w := range f.Workers {
		switch v := w.VisibilityTimeout; {
		case v == 0:
		case shortest == 0:
			shortest, longest, who, other = v, v, w.Node, w.Node
		case v < shortest:
			shortest, who = v, w.Node
		case v > longest:
			longest, other = v, w.Node
		}
	}
	if shortest == longest {
		return nil
	}
	return one(Finding{
		Text: fmt.Sprintf("The worker %s has a visibility timeout of %s, shorter than the %s of %s: it delivers messages again that %s holds.",
			who, Spell(shortest), Spell(longest), other, other),
		Advice: "Set the same VISIBILITY_TIMEOUT for all.",
	})
}

func clockDrift(f *Facts) (found []Finding) {
	for _, w := range f.Workers {
		if d := w.Skew.Abs(); d > mostSkew {
			direction := "ahead of"
			if w.Skew < 0 {
				direction = "behind"
			}
			found = append(found, Finding{
				Subject: w.Node, Text: fmt.Sprintf("The clock of %s is %s %s that of this monitor.", w.Node, Spell(d), direction),
				Advice: "Let both machines follow a time server. Times and expiries are wrong meanwhile.",
			})
		}
	}
	return found
}
