package fleet

import (
	"slices"
	"time"
)

// entrySize is about what a task costs besides its texts.
const entrySize = 800

// add makes an entry for a new task.
func (b *book) add(id string) *entry {
	t := &entry{Task: Task{ID: id, State: Pending}}
	b.tasks[id] = t
	if b.last == nil {
		b.first = t
	} else {
		b.last.next, t.prev = t, b.last
	}
	b.last = t
	b.retype(t, "")
	return t
}

// resize counts the memory of a task again.
func (b *book) resize(t *entry) {
	size := entrySize + len(t.ID) + len(t.Args) + len(t.Kwargs) + len(t.Result) + len(t.Exception) + len(t.Traceback) +
		8*len(t.secrets)
	for i := range t.past {
		size += 100 + len(t.past[i].Exception)
	}
	b.status.Bytes += size - t.size
	t.size = size
}

// shrink drops the oldest tasks beyond the bounds, but not keep.
func (b *book) shrink(keep *entry) {
	for (len(b.tasks) > b.limits.tasks || b.status.Bytes > b.limits.bytes) && b.first != keep {
		t := b.first
		if b.first = t.next; b.first == nil {
			b.last = nil
		} else {
			b.first.prev = nil
		}
		delete(b.tasks, t.ID)
		b.move(t, "")
		b.untype(t)
		b.status.Bytes -= t.size
		b.status.DroppedTasks++
	}
}

// move gives a task another parent, "" for none.
func (b *book) move(t *entry, parent string) {
	if t.Parent != "" {
		siblings := b.children[t.Parent]
		if i := slices.Index(siblings, t); i == 0 {
			siblings[0] = nil
			siblings = siblings[1:]
		} else if i > 0 {
			siblings = slices.Delete(siblings, i, i+1)
		}
		if len(siblings) == 0 {
			delete(b.children, t.Parent)
		} else {
			b.children[t.Parent] = siblings
		}
	}
	if t.Parent = parent; parent != "" {
		b.children[parent] = append(b.children[parent], t)
	}
}

// retype gives a task another name.
func (b *book) retype(t *entry, name string) {
	b.untype(t)
	t.Name = name
	if name == "" {
		return
	}
	k := b.types[name]
	if k == nil {
		if len(b.types) >= b.limits.types {
			return
		}
		k = &taskType{name: name}
		b.types[name] = k
	}
	k.tasks++
}

func (b *book) untype(t *entry) {
	if k := b.types[t.Name]; k != nil && t.Name != "" && k.tasks > 0 {
		k.tasks--
	}
}

// count adds an event of a task to the figures.
func (b *book) count(t *entry, e *event, created bool, now time.Time) {
	k := b.types[t.Name]
	if k != nil {
		k.lastSeen = now
	}
	if e.kind.column < 0 {
		return
	}
	b.series.count(now, e.kind.column)
	if k != nil {
		k.counts[e.kind.column]++
	}
	if e.kind.state == Success && e.set.Has(HasRuntime) {
		observe(&b.series.runtime, now, e.runtime)
		if k != nil {
			n := now.Unix() / typeStep
			slot := &k.runtime[n%typeSlots]
			if slot.step != n {
				*slot = stepHistogram{step: n}
			}
			slot.add(e.runtime)
		}
	}
	if e.kind.state == Started {
		if wait, ok := t.Wait(); ok {
			observe(&b.series.wait, now, wait)
		}
	}
}
