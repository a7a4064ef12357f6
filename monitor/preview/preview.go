// Package preview makes a mail again that was sent before. The bodies of mails are not stored
// anywhere, so the mail is rendered from its template with the data that is still known. Codes,
// addresses and the secrets of links are masked in it.
package preview

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// Renderer makes a mail of its data. [templates.Set] is one.
type Renderer interface {
	Render(m templates.Mail) (templates.Rendered, error)
}

// Composer builds the message that is sent. [mail.Sender] is one.
type Composer interface {
	Compose(m mail.Message) (mail.Composed, error)
}

// Letters reads open dead letters.
type Letters interface {
	List(ctx context.Context, offset, limit int) (letters []broker.DeadLetter, total int, err error)
	Get(ctx context.Context, id string) (broker.DeadLetter, error)
}

// Arguments returns the redacted arguments of a task that was seen lately, as JSON or nil.
type Arguments func(taskID string) (args, kwargs protocol.Raw)

// Config is the configuration of a [Maker]. Templates is required.
type Config struct {
	Templates Renderer
	Composer  Composer  // nil: there are no headers and no parts
	Letters   Letters   // nil: no dead letter is looked for
	Arguments Arguments // nil: no task was seen
}

// Maker makes mails again. It is safe for concurrent use.
type Maker struct{ cfg Config }

// New returns a Maker.
func New(cfg Config) *Maker { return &Maker{cfg} }

// Preview is a mail that was made again.
type Preview struct {
	Subject string
	Text    string
	HTML    string
	Headers []Header
	Parts   []Part

	Source  string   // where the data is from, as a sentence
	Hidden  []string // labels of the fields that are masked
	Missing []string // labels of the fields that are not known any more
}

// letterPatience is how long dead letters are looked through.
const letterPatience = time.Second

// Make makes the mail of a history again. Its error is for people.
func (m *Maker) Make(ctx context.Context, h ledger.History) (p Preview, err error) {
	t, ok := taskOf(h.Kind)
	if !ok {
		return p, fmt.Errorf("this program has no templates for mails of the kind %q", h.Kind)
	}
	if h.Erased {
		return p, errors.New("the data about the person was erased, so that the mail cannot be made again")
	}
	known := tasks.Known{Booking: h.Booking, To: h.To}
	known.Args, known.Kwargs, p.Source = m.arguments(ctx, h)
	remade, err := t.Remake(known)
	if err != nil {
		return p, fmt.Errorf("no mail can be made of the data: %w", err)
	}
	p.Hidden, p.Missing = remade.Hidden, remade.Missing
	body, err := m.cfg.Templates.Render(remade.Mail)
	if err != nil {
		return p, fmt.Errorf("no mail can be made of the data that is still known: %w", err)
	}
	p.Subject, p.Text, p.HTML = body.Subject, body.Text, body.HTML
	return p, m.compose(&p, h, body)
}

// taskOf returns the task of a kind of mails.
func taskOf(kind string) (tasks.MailTask, bool) {
	for _, t := range tasks.Mails() {
		if t.Kind() == kind {
			return t, true
		}
	}
	return tasks.MailTask{}, false
}

// arguments returns what is still known of the arguments of the task, and from where.
func (m *Maker) arguments(ctx context.Context, h ledger.History) (args, kwargs protocol.Raw, source string) {
	if m.cfg.Letters != nil && h.State < ledger.Accepted {
		if args, kwargs := m.letter(ctx, h.TaskID); args != nil {
			return args, kwargs, "The data is that of the dead letter."
		}
	}
	if m.cfg.Arguments != nil {
		if args, kwargs = m.cfg.Arguments(h.TaskID); args != nil || kwargs != nil {
			return args, kwargs, "The data is that of the task's event, which is redacted."
		}
	}
	return nil, nil, "The message of the task is gone, and bodies are never stored: only the data of the history is known."
}

// letter returns the arguments of the dead letter of a task, nil without one.
func (m *Maker) letter(ctx context.Context, taskID string) (args, kwargs protocol.Raw) {
	ctx, cancel := context.WithTimeout(ctx, letterPatience)
	defer cancel()
	const page, most = 500, 2000
	for offset := 0; offset < most; offset += page {
		found, total, err := m.cfg.Letters.List(ctx, offset, page)
		if err != nil {
			return nil, nil
		}
		for _, l := range found {
			if l.TaskID != taskID {
				continue
			}
			if l, err = m.cfg.Letters.Get(ctx, l.ID); err != nil || l.Wiped || l.Locked != nil || l.Raw == nil {
				return nil, nil
			}
			message, err := desk.Decode(l.Raw)
			if err != nil {
				return nil, nil
			}
			return message.Args, message.Kwargs
		}
		if len(found) == 0 || offset+page >= total {
			break
		}
	}
	return nil, nil
}

// compose adds the headers and the parts of the message.
func (m *Maker) compose(p *Preview, h ledger.History, body templates.Rendered) error {
	if m.cfg.Composer == nil {
		return nil
	}
	to := h.To
	if !strings.Contains(to, "@") {
		to = "hidden@invalid.example"
	}
	composed, err := m.cfg.Composer.Compose(mail.Message{
		To: to, Subject: body.Subject, Text: body.Text, HTML: body.HTML, TaskID: h.Mail.Mail, Kind: h.Kind, Date: h.FirstSeen,
	})
	if err != nil {
		return fmt.Errorf("the message cannot be composed: %s", words.Line(err.Error()))
	}
	p.Headers, p.Parts = read(composed.Bytes)
	return nil
}

// Scheme returns the HTML of a mail as a program with a light or a dark scheme shows it,
// in every scheme of the reader.
func Scheme(html string, dark bool) string {
	media := "@media not all"
	if dark {
		media = "@media all"
	}
	return strings.ReplaceAll(html, "@media (prefers-color-scheme:dark)", media)
}
