package fleet

import (
	"container/heap"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/evently/workers/internal/sorting"
)

// Status says whether events arrive at all, since when, and what was lost.
func (s *State) Status() Status {
	b := s.book
	b.mu.RLock()
	defer b.mu.RUnlock()
	status := b.status
	status.Tasks, status.Workers = len(b.tasks), len(b.workers)
	return status
}

// Workers returns the workers in the order of their node names.
func (s *State) Workers() []Worker {
	now := s.cfg.Now()
	b := s.book
	b.mu.RLock()
	defer b.mu.RUnlock()
	all := make([]Worker, 0, len(b.workers))
	for _, w := range b.workers {
		all = append(all, w.view(now))
	}
	sorting.By(all, func(v, w Worker) int { return strings.Compare(v.Node, w.Node) })
	return all
}

// Task returns a task with its relatives.
func (s *State) Task(id string) (Family, bool) {
	b := s.book
	b.mu.RLock()
	defer b.mu.RUnlock()
	t := b.tasks[id]
	if t == nil {
		return Family{}, false
	}
	relative := func(id string) *Task {
		r := b.tasks[id]
		if r == nil || r == t {
			return nil
		}
		v := r.view()
		return &v
	}
	children := b.children[id]
	f := Family{Task: t.view(), ParentTask: relative(t.Parent), RootTask: relative(t.Root), ChildrenTotal: len(children)}
	for _, c := range children[:min(len(children), MaxChildren)] {
		f.Children = append(f.Children, c.view())
	}
	return f, true
}

// ChildrenOf returns the ids of the children of a task.
func (s *State) ChildrenOf(id string) []string {
	b := s.book
	b.mu.RLock()
	defer b.mu.RUnlock()
	ids := make([]string, 0, len(b.children[id]))
	for _, c := range b.children[id] {
		ids = append(ids, c.ID)
	}
	return ids
}

// Each calls fn with each task in memory, oldest first, until it returns false. The task is
// valid during the call alone, has no Attempts, and must not be changed.
func (s *State) Each(fn func(*Task) bool) {
	b := s.book
	b.mu.RLock()
	defer b.mu.RUnlock()
	for t := b.first; t != nil && fn(&t.Task); t = t.next {
	}
}

// Types returns the kinds of tasks in the order of their names.
func (s *State) Types() []Type {
	now := s.cfg.Now().Unix() / typeStep
	b := s.book
	b.mu.RLock()
	defer b.mu.RUnlock()
	all := make([]Type, 0, len(b.types))
	for _, name := range sorting.Keys(b.types) {
		k := b.types[name]
		n := &k.counts
		v := Type{
			Name: name, Sent: n[0], Received: n[1], Started: n[2], Succeeded: n[3], Failed: n[4], Retried: n[5], Rejected: n[6], Revoked: n[7],
			LastSeen: k.lastSeen, InMemory: k.tasks,
		}
		var h histogram
		for i := range k.runtime {
			if slot := &k.runtime[i]; slot.step > now-typeSlots {
				h.merge(&slot.histogram)
			}
		}
		v.Runtime = h.quantiles()
		all = append(all, v)
	}
	return all
}

// Series returns the events of the last d, at most those of Window.
func (s *State) Series(d time.Duration) Series {
	b := s.book
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.series.view(s.cfg.Now(), d)
}

// Latency returns the durations of the last d, at most those of Window.
func (s *State) Latency(d time.Duration) Latency {
	b := s.book
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.series.latency(s.cfg.Now(), d)
}

// Tasks returns a page of the tasks that f chooses.
func (s *State) Tasks(f Filter) (Page, error) {
	after, err := parseCursor(f.After)
	if err != nil {
		return Page{}, err
	}
	limit := f.Limit
	if limit <= 0 || limit > MaxPage {
		limit = MaxPage
	}
	m := newMatcher(f)
	b := s.book
	b.mu.RLock()
	defer b.mu.RUnlock()
	page := Page{Known: len(b.tasks), States: map[string]int{}, Errors: map[string]int{}}
	first := firstTasks{oldest: f.OldestFirst}
	state, count := "", 0 // of neighbours, which often have the same
	for t := first.start(b); t != nil; t = first.next(t) {
		if !m.match(&t.Task) {
			continue
		}
		chosen, class := len(f.States) == 0 || slices.Contains(f.States, t.State), errorClass(&t.Task)
		if chosen && class != "" {
			page.Errors[class]++
		}
		if f.Error != "" && class != f.Error {
			continue
		}
		if t.State != state {
			page.States[state] += count
			state, count = t.State, 0
		}
		count++
		if !chosen {
			continue
		}
		page.Total++
		if after == nil || first.before(after, &t.Task) {
			first.add(t, limit+1)
		}
	}
	page.States[state] += count
	delete(page.States, "")
	sorting.By(first.tasks, func(a, b *entry) int { return first.compare(&a.Task, &b.Task) })
	if len(first.tasks) > limit {
		first.tasks = first.tasks[:limit]
		page.Next = cursor(&first.tasks[limit-1].Task)
	}
	for _, t := range first.tasks {
		v := t.view()
		if f.Terse {
			v.Args, v.Kwargs, v.Result, v.Exception, v.Traceback, v.Attempts = "", "", "", "", "", nil
		}
		page.Tasks = append(page.Tasks, v)
	}
	return page, nil
}

// errorClass returns the class of the exception that a task ended with, or is tried again for;
// "" if there is none. Events have the repr of an exception, such as KeyError('x').
func errorClass(t *Task) string {
	if t.Exception == "" || t.State == Success || t.State == Revoked || t.State == Rejected { // of an earlier attempt
		return ""
	}
	end := strings.IndexFunc(t.Exception, func(r rune) bool {
		return r != '_' && r != '.' && !unicode.IsLetter(r) && !unicode.IsDigit(r)
	})
	if end < 0 {
		end = len(t.Exception)
	}
	if end == 0 || end > mostClass {
		return "other"
	}
	return t.Exception[:end]
}

// mostClass is the length of the longest name of a class of errors.
const mostClass = 80

// firstTasks keeps the first tasks of an order: a heap whose root is the last of them.
type firstTasks struct {
	oldest bool
	tasks  []*entry
}

// start and next walk over the tasks about in their order, so that few are added and replaced.
func (f *firstTasks) start(b *book) *entry {
	if f.oldest {
		return b.first
	}
	return b.last
}

func (f *firstTasks) next(t *entry) *entry {
	if f.oldest {
		return t.next
	}
	return t.prev
}

func (f *firstTasks) compare(a, b *Task) int {
	if f.oldest {
		return later(b, a)
	}
	return later(a, b)
}

func (f *firstTasks) before(a, b *Task) bool { return f.compare(a, b) < 0 }

func (f *firstTasks) add(t *entry, most int) {
	if len(f.tasks) < most {
		heap.Push(f, t)
	} else if f.before(&t.Task, &f.tasks[0].Task) {
		f.tasks[0] = t
		heap.Fix(f, 0)
	}
}

// Len, Less, Swap, Push and Pop implement [heap.Interface].
func (f *firstTasks) Len() int           { return len(f.tasks) }
func (f *firstTasks) Less(i, j int) bool { return f.before(&f.tasks[j].Task, &f.tasks[i].Task) }
func (f *firstTasks) Swap(i, j int)      { f.tasks[i], f.tasks[j] = f.tasks[j], f.tasks[i] }
func (f *firstTasks) Push(x any)         { f.tasks = append(f.tasks, x.(*entry)) }
func (f *firstTasks) Pop() any {
	last := f.tasks[len(f.tasks)-1]
	f.tasks = f.tasks[:len(f.tasks)-1]
	return last
}

// cursor returns the place of a task in the order of a page.
func cursor(t *Task) string { return strconv.FormatFloat(float64(t.At), 'f', -1, 64) + "~" + t.ID }

func parseCursor(s string) (*Task, error) {
	if s == "" {
		return nil, nil
	}
	at, id, ok := strings.Cut(s, "~")
	f, err := strconv.ParseFloat(at, 64)
	if !ok || err != nil {
		return nil, fmt.Errorf("page after %q: this is no place in a list of tasks", s)
	}
	return &Task{ID: id, At: Seconds(f)}, nil
}

// matcher decides about all of a filter but its states.
type matcher struct {
	Filter
	since, until Seconds
	words        []string
}

func newMatcher(f Filter) *matcher {
	m := &matcher{Filter: f, words: strings.Fields(strings.ToLower(f.Search))}
	if !f.Since.IsZero() {
		m.since = secondsOf(f.Since)
	}
	if !f.Until.IsZero() {
		m.until = secondsOf(f.Until)
	}
	return m
}

func (m *matcher) match(t *Task) bool {
	switch {
	case m.Name != "" && t.Name != m.Name, m.Worker != "" && t.Worker != m.Worker, m.Queue != "" && t.Queue != m.Queue:
		return false
	case m.Root != "" && t.Root != m.Root && t.ID != m.Root:
		return false
	case m.since != 0 && t.At < m.since, m.until != 0 && t.At >= m.until:
		return false
	}
	for _, word := range m.words {
		if !mentions(t, word) {
			return false
		}
	}
	return true
}

// mentions reports whether a text of the task has a word in it, which is in lower case.
func mentions(t *Task, word string) bool {
	for _, text := range [...]string{t.ID, t.Name, t.State, t.Worker, t.Root, t.Queue, t.Args, t.Kwargs, t.Result, t.Exception} {
		if containsFold(text, word) {
			return true
		}
	}
	return false
}

// containsFold looks for a word in lower case without making a copy of an ASCII text.
func containsFold(text, word string) bool {
	for i := range len(text) {
		if text[i] >= 0x80 {
			return strings.Contains(strings.ToLower(text), word)
		}
	}
	for i := 0; i+len(word) <= len(text); i++ {
		j := 0
		for j < len(word) && lower(text[i+j]) == word[j] {
			j++
		}
		if j == len(word) {
			return true
		}
	}
	return false
}

func lower(c byte) byte {
	if 'A' <= c && c <= 'Z' {
		return c | 0x20
	}
	return c
}

// Hide shows the reprs of the arguments of a task without their secrets, as the tasks of a
// State have them.
func (s *State) Hide(task string, args, kwargs []byte) (shownArgs, shownKwargs string) {
	b := s.book
	b.mu.Lock()
	defer b.mu.Unlock()
	shownArgs, _ = b.hider.args(task, args)
	shownKwargs, _ = b.hider.kwargs(kwargs)
	return shownArgs, shownKwargs
}

// HideText shows a text, such as a result or an error, without its secrets.
func (s *State) HideText(text string) string { return s.book.hider.redact.Text(text) }
