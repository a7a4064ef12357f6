package letters

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/evently/workers/internal/sorting"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/worker/broker"
)

// box has what may be shown of all letters, for all readers at once: it reads them again when
// what it has is older than two seconds, or when something was done to them.
type box struct {
	letters    monitor.Letters
	deliveries monitor.Deliveries // nil: the domains of users are not known
	now        func() time.Time

	life  context.Context // of reads; they go on when the reader who began one leaves
	end   context.CancelFunc
	reads sync.WaitGroup
	seen  memory
	open  atomic.Int64
}

// look is what was seen at a time.
type look struct {
	at     time.Time
	items  []desk.Item // the newest first
	counts broker.LetterCounts
	locked int
}

// memory has the last look, and the recipients that the history knows.
type memory struct {
	mu         sync.Mutex
	last       *look
	reading    *reading             // nil: none goes on that will be kept
	closed     bool                 // no read begins any more
	changes    int                  // by people here: a look that began before one is not kept
	recipients map[string]recipient // by task id
}

// recipient is what the history knows of a mail. Unknown ones are asked for again later.
type recipient struct {
	to, domain string
	asked      time.Time
}

// reading is a read of all letters that goes on.
type reading struct {
	done chan struct{} // closed at its end
	look *look
	err  error
}

// Times of a box.
const (
	freshFor  = 2 * time.Second
	oldest    = 10 * time.Minute       // look that is shown while the letters are read again
	quick     = 200 * time.Millisecond // time that a reader waits for these
	tellsAge  = 5 * time.Second        // age of a look that the page tells
	askAgain  = 10 * time.Minute       // for recipients that the history did not know
	mostAsked = 20000                  // recipients that are remembered
)

func newBox(l monitor.Letters, d monitor.Deliveries, now func() time.Time) *box {
	b := &box{letters: l, deliveries: d, now: now, seen: memory{recipients: map[string]recipient{}}}
	b.life, b.end = context.WithCancel(context.Background())
	return b
}

// close ends the read that goes on, and waits for it.
func (b *box) close() {
	b.seen.close()
	b.end()
	b.reads.Wait()
}

// look returns what there is. Many callers at once read the letters once.
func (b *box) look(ctx context.Context) (*look, error) {
	if l := b.seen.latest(); l != nil && b.now().Sub(l.at) < freshFor {
		return l, nil
	}
	r := b.begin()
	select {
	case <-r.done:
		return r.look, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// glance returns what there is, or what there was a moment ago if reading it takes long.
func (b *box) glance(ctx context.Context) (*look, error) {
	last := b.seen.latest()
	if last == nil || b.now().Sub(last.at) < freshFor || b.now().Sub(last.at) > oldest {
		return b.look(ctx)
	}
	timer := time.NewTimer(quick)
	defer timer.Stop()
	r := b.begin()
	select {
	case <-r.done:
		return r.look, r.err
	case <-timer.C:
		return last, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin returns the read that goes on, or begins one.
func (b *box) begin() *reading {
	return b.seen.read(func(r *reading) {
		b.reads.Go(func() {
			const patience = 8 * time.Second
			ctx, cancel := context.WithTimeout(b.life, patience)
			defer cancel()
			r.look, r.err = b.read(ctx)
			b.seen.ended(r)
			close(r.done)
		})
	})
}

// read reads all letters.
func (b *box) read(ctx context.Context) (*look, error) {
	l, changes := &look{at: b.now()}, b.seen.changed(0)
	var err error
	if l.counts, err = b.letters.Counts(ctx); err != nil {
		return nil, err
	}
	if l.items, err = desk.Gather(ctx, b.letters, desk.Filter{}); err != nil {
		return nil, err
	}
	sorting.By(l.items, func(a, b desk.Item) int { return cmp.Or(b.At.Compare(a.At), strings.Compare(b.ID, a.ID)) })
	for i := range l.items {
		if l.items[i].Locked != nil {
			l.locked++
		}
	}
	b.open.Store(int64(l.counts.Open))
	b.addRecipients(ctx, l.items)
	b.seen.keep(l, changes)
	return l, nil
}

// addRecipients adds the masked addresses of users. They are an extra: without the history the
// list has the ids.
func (b *box) addRecipients(ctx context.Context, items []desk.Item) {
	if b.deliveries == nil {
		return
	}
	now := b.now()
	missing := b.seen.fill(items, now)
	if len(missing) == 0 {
		return
	}
	const patience = 2 * time.Second
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	asked := make([]desk.Item, len(missing))
	for i, at := range missing {
		asked[i] = items[at]
	}
	_ = desk.Recipients(ctx, b.deliveries, asked)
	b.seen.learn(asked, now)
	b.seen.fill(items, now)
}

// forget makes the next look read the letters again.
func (b *box) forget() { b.seen.changed(1) }

// count counts the open letters.
func (b *box) count(ctx context.Context) {
	if c, err := b.letters.Counts(ctx); err == nil {
		b.open.Store(int64(c.Open))
	}
}

func (m *memory) latest() *look {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

// read returns the read that goes on; without one it calls begin.
func (m *memory) read(begin func(*reading)) *reading {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reading != nil {
		return m.reading
	}
	r := &reading{done: make(chan struct{})}
	if m.closed {
		r.err = context.Canceled
		close(r.done)
		return r
	}
	m.reading = r
	begin(r)
	return r
}

// ended forgets a read at its end.
func (m *memory) ended(r *reading) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.reading == r {
		m.reading = nil
	}
}

func (m *memory) close() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
}

// keep keeps a look, unless something was changed since it began.
func (m *memory) keep(l *look, changes int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if changes == m.changes {
		m.last = l
	}
}

// changed counts n changes, and returns all of them. A change ends the last look.
func (m *memory) changed(n int) int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if n > 0 {
		m.last, m.reading = nil, nil
	}
	m.changes += n
	return m.changes
}

// fill adds the recipients that are known. It returns the places of the items to ask for.
func (m *memory) fill(items []desk.Item, now time.Time) (missing []int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range items {
		it := &items[i]
		if it.To != "" || it.UserID == nil || it.TaskID == "" {
			continue
		}
		known, ok := m.recipients[it.TaskID]
		it.To, it.Domain = known.to, known.domain
		if !ok || known.to == "" && now.Sub(known.asked) > askAgain {
			missing = append(missing, i)
		}
	}
	return missing
}

// learn remembers what the history has said.
func (m *memory) learn(asked []desk.Item, now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.recipients)+len(asked) > mostAsked {
		clear(m.recipients)
	}
	for i := range asked {
		m.recipients[asked[i].TaskID] = recipient{asked[i].To, asked[i].Domain, now}
	}
}

// states counts the letters of each state.
func states(items []desk.Item) map[broker.LetterState]int64 {
	counts := map[broker.LetterState]int64{}
	for i := range items {
		counts[items[i].State]++
	}
	return counts
}

// after returns the items behind the place of a page before: a time and an id.
func after(items []desk.Item, at time.Time, id string) []desk.Item {
	i := slices.IndexFunc(items, func(it desk.Item) bool {
		return it.At.Before(at) || it.At.Equal(at) && it.ID < id
	})
	if i < 0 {
		return nil
	}
	return items[i:]
}
