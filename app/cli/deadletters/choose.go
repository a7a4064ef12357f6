package deadletters

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/app"
	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/worker/broker"
)

// conditions choose dead letters.
type conditions struct {
	Reason []string    `help:"Part of the reason, such as \"550 5.1.1\"." placeholder:"TEXT" sep:"none"`
	Task   []string    `help:"Names of tasks." placeholder:"TASK"`
	Kind   []string    `help:"Kinds of mails, such as otp,welcome." placeholder:"KIND"`
	Domain []string    `help:"Domains of recipients." placeholder:"DOMAIN"`
	Since  term.Moment `help:"Set aside then or later: a time ago such as 2h or 7d, a day, or a time." placeholder:"WHEN"`
	Until  term.Moment `help:"Set aside before." placeholder:"WHEN"`
}

func (c conditions) filter(states []state) desk.Filter {
	f := desk.Filter{Reasons: c.Reason, Tasks: c.Task, Kinds: c.Kind, Domains: c.Domain, Since: c.Since.Time, Until: c.Until.Time}
	for _, s := range states {
		if s.all {
			f.States = nil
			break
		}
		f.States = append(f.States, s.LetterState)
	}
	return f
}

func (c conditions) check() error {
	if !c.Since.IsZero() && !c.Until.IsZero() && !c.Since.Before(c.Until.Time) {
		return errors.New("--since must be before --until")
	}
	for name, values := range map[string][]string{"--reason": c.Reason, "--task": c.Task, "--kind": c.Kind, "--domain": c.Domain} {
		for _, v := range values {
			if strings.TrimSpace(v) == "" {
				return fmt.Errorf("%s: it is empty, and would choose all dead letters; use --all for that", name)
			}
		}
	}
	return nil
}

// state is a state on the command line, or all of them.
type state struct {
	broker.LetterState
	all bool
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *state) UnmarshalText(text []byte) error {
	word := strings.ReplaceAll(strings.TrimSpace(string(text)), "-", "_")
	if word == "all" {
		s.all = true
		return nil
	}
	if err := s.LetterState.UnmarshalText([]byte(word)); err != nil {
		return fmt.Errorf("%q is not a state; write open, retried, replaced, dealt_with or all", text)
	}
	return nil
}

// gather returns what may be shown of the letters that a filter chooses, the newest first.
func (b *box) gather(ctx context.Context, f desk.Filter, t term.Terminal) ([]desk.Item, error) {
	items, err := desk.Gather(ctx, b, f)
	if err != nil {
		return nil, unreachable(err)
	}
	tellLocked(t, items)
	if len(f.Domains) == 0 {
		return items, nil
	}
	if err := b.addRecipients(ctx, items); err != nil {
		term.Warn(t.Err, "the history of mails cannot be read, so --domain finds mails to addresses and none to users: %v", err)
	}
	return f.Choose(items), nil
}

// addRecipients asks the history for the domains of users. Without a history it does nothing.
func (b *box) addRecipients(ctx context.Context, items []desk.Item) error {
	if b.cfg.Ledger.Off {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	d, err := app.OpenDeliveries(b.cfg)
	if err != nil {
		return err
	}
	defer d.Close()
	return desk.Recipients(ctx, d, items)
}
