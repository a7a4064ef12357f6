package desk

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/worker/broker"
)

// Verb is what a person does to dead letters.
type Verb string

// The verbs. The audit trail has them behind "dead-letters.".
const (
	Retry   Verb = "retry"
	Resolve Verb = "resolve"
	Reopen  Verb = "reopen"
	Delete  Verb = "delete"
)

// Changer changes dead letters. Those of worker/redis do.
type Changer interface {
	RetryMany(ctx context.Context, ids []string, by, note string) []error
	Resolve(ctx context.Context, id, by, note string) error
	Reopen(ctx context.Context, id, by, note string) error
	Delete(ctx context.Context, id string) error
}

// Of returns the states of letters that a verb is usually for.
func (v Verb) Of() []broker.LetterState {
	if v == Reopen {
		return []broker.LetterState{broker.LetterDealtWith}
	}
	return []broker.LetterState{broker.LetterOpen}
}

// Do does it to some letters. It returns an error, or nil, for each.
func (v Verb) Do(ctx context.Context, c Changer, ids []string, by, note string) []error {
	if v == Retry {
		return c.RetryMany(ctx, ids, by, note)
	}
	errs := make([]error, len(ids))
	for i, id := range ids {
		switch v {
		case Resolve:
			errs[i] = c.Resolve(ctx, id, by, note)
		case Reopen:
			errs[i] = c.Reopen(ctx, id, by, note)
		case Delete:
			errs[i] = c.Delete(ctx, id)
		default:
			errs[i] = fmt.Errorf("%q cannot be done to a dead letter", string(v))
		}
	}
	return errs
}

// Action describes what is about to be done, for the audit trail.
type Action struct {
	Name     string // such as dead-letters.retry
	Subjects []string
	Details  map[string]any
}

// Audit runs do between two entries of the audit trail, and returns its error.
type Audit func(ctx context.Context, a Action, do func(context.Context) (details map[string]any, err error)) error

// Outcome is what became of one letter.
type Outcome struct {
	ID    string `json:"id"`
	Done  bool   `json:"done"`
	Error string `json:"error,omitempty"`
}

// Bulk does one thing to many letters: at a rate, and in parts between two entries of the
// audit trail each.
type Bulk struct {
	Letters  Changer
	Verb     Verb
	By, Note string
	Rate     Rate
	Details  map[string]any // how the letters were chosen
	Audit    Audit
	Report   func([]Outcome) // is called after each call; nil: it is not called
}

// Sizes of the parts of a bulk.
const (
	mostAtOnce  = 50  // letters in one call
	mostAudited = 500 // ids in one entry of the audit trail
)

// Run does it to the letters with the given ids, in their order. The end of going stops it
// between two calls, so that it is known what was done; ctx is for the calls themselves. It
// returns how many were tried. The error is that of the audit trail.
func (b Bulk) Run(ctx, going context.Context, ids []string) (tried int, err error) {
	pacer := NewPacer(b.Rate)
	details := maps.Clone(b.Details)
	if details == nil {
		details = map[string]any{}
	}
	details["total"] = len(ids)
	if b.Note != "" {
		details["note"] = mail.MaskAddresses(b.Note)
	}
	for part := range slices.Chunk(ids, mostAudited) {
		if going.Err() != nil {
			break
		}
		of := 0
		action := Action{Name: "dead-letters." + string(b.Verb), Subjects: part, Details: details}
		err := b.Audit(ctx, action, func(ctx context.Context) (map[string]any, error) {
			done, refused := 0, []string{}
			for batch := range slices.Chunk(part, b.batch()) {
				if waitFor(going, pacer, len(batch)) != nil {
					break
				}
				outcomes := b.call(ctx, batch)
				of += len(outcomes)
				for _, o := range outcomes {
					if o.Done {
						done++
					} else {
						refused = append(refused, o.ID)
					}
				}
			}
			told := map[string]any{"done": done, "failed": refused}
			if of < len(part) {
				return told, &stoppedError{of, len(part)}
			}
			return told, nil
		})
		tried += of
		if _, stopped := err.(*stoppedError); stopped {
			return tried, nil
		}
		if err != nil {
			return tried, err
		}
	}
	return tried, nil
}

// call does it to the letters of one call.
func (b Bulk) call(ctx context.Context, ids []string) []Outcome {
	outcomes := make([]Outcome, len(ids))
	for i, err := range b.Verb.Do(ctx, b.Letters, ids, b.By, b.Note) {
		outcomes[i] = Outcome{ID: ids[i], Done: err == nil}
		if err != nil {
			outcomes[i].Error = err.Error()
		}
	}
	if b.Report != nil {
		b.Report(outcomes)
	}
	return outcomes
}

// batch returns how many letters go in one call: those of a fifth of a second.
func (b Bulk) batch() int {
	every := b.Rate.Every()
	if every == 0 {
		return mostAtOnce
	}
	return max(1, min(mostAtOnce, int(200*time.Millisecond/every)))
}

// stoppedError tells the audit trail that only the first letters of an entry were tried.
type stoppedError struct{ tried, of int }

func (e *stoppedError) Error() string {
	return fmt.Sprintf("stopped after the first %d of %d", e.tried, e.of)
}

// waitFor waits for the turn of the last of n letters.
func waitFor(ctx context.Context, p *Pacer, n int) error {
	for range n {
		if err := p.Wait(ctx); err != nil {
			return err
		}
	}
	return ctx.Err()
}

// Details tell the audit trail how letters were chosen.
func (f Filter) Details() map[string]any {
	d := map[string]any{}
	add := func(name string, values []string) {
		if len(values) > 0 {
			d[name] = values
		}
	}
	var reasons []string
	for _, text := range f.Reasons {
		reasons = append(reasons, mail.MaskAddresses(text))
	}
	add("reason", reasons)
	add("task", f.Tasks)
	add("kind", f.Kinds)
	add("domain", f.Domains)
	if !f.Since.IsZero() {
		d["since"] = f.Since.UTC().Format(time.RFC3339)
	}
	if !f.Until.IsZero() {
		d["until"] = f.Until.UTC().Format(time.RFC3339)
	}
	return d
}
