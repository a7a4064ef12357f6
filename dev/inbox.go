package dev

import (
	"sync"
)

// Limits of the inbox. The oldest mails are removed first.
const (
	maxMails     = 500
	maxMailBytes = 25 << 20 // of one mail
	maxInbox     = 64 << 20 // of all mails
)

// Inbox keeps the caught mails in memory, the newest first. It is safe for
// concurrent use.
type Inbox struct {
	changed *pulse

	mu    sync.Mutex
	next  int
	size  int
	mails []*Mail // newest last
}

func newInbox(changed *pulse) *Inbox { return &Inbox{changed: changed} }

// add keeps m and gives it its number.
func (b *Inbox) add(m *Mail) {
	b.mu.Lock()
	b.next++
	m.ID = b.next
	b.mails = append(b.mails, m)
	b.size += len(m.Raw)
	for len(b.mails) > maxMails || (b.size > maxInbox && len(b.mails) > 1) {
		b.size -= len(b.mails[0].Raw)
		b.mails[0] = nil
		b.mails = b.mails[1:]
	}
	b.mu.Unlock()
	b.changed.beat()
}

// all returns the mails, the newest first. A Mail never changes once it is in.
func (b *Inbox) all() []*Mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	list := make([]*Mail, 0, len(b.mails))
	for i := len(b.mails) - 1; i >= 0; i-- {
		list = append(list, b.mails[i])
	}
	return list
}

// get returns the mail with that number, or nil.
func (b *Inbox) get(id int) *Mail {
	return b.find(func(m *Mail) bool { return m.ID == id })
}

// of returns the newest mail of a task, or nil.
func (b *Inbox) of(task Entry) *Mail {
	return b.find(func(m *Mail) bool { return task.wrote(m.MessageID) })
}

func (b *Inbox) find(match func(*Mail) bool) *Mail {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.mails) - 1; i >= 0; i-- {
		if match(b.mails[i]) {
			return b.mails[i]
		}
	}
	return nil
}

// clear removes all mails. Their numbers are not reused.
func (b *Inbox) clear() {
	b.mu.Lock()
	b.mails, b.size = nil, 0
	b.mu.Unlock()
	b.changed.beat()
}

// pulse tells any number of waiters that something changed. It does not tell what: each
// waiter reads the current state, so that none falls behind.
type pulse struct {
	mu sync.Mutex
	ch chan struct{}
}

func newPulse() *pulse { return &pulse{ch: make(chan struct{})} }

// next returns a channel that is closed at the next change. Callers take it before they
// read the state, so that they miss no change in between.
func (p *pulse) next() <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.ch
}

func (p *pulse) beat() {
	p.mu.Lock()
	defer p.mu.Unlock()
	close(p.ch)
	p.ch = make(chan struct{})
}
