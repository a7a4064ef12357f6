package desk

import (
	"context"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Rate is a pace that a person types, such as 50/s or 600/m. Its zero value is no pace.
type Rate struct {
	N   float64
	Per time.Duration
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Rate) UnmarshalText(text []byte) error {
	s := strings.TrimSpace(string(text))
	number, unit, _ := strings.Cut(s, "/")
	per, known := map[string]time.Duration{"": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour}[strings.TrimSpace(unit)]
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || !known || n < 0 || n > 1e6 || math.IsNaN(n) {
		return fmt.Errorf("%q is not a rate; write a number a second, minute or hour, such as 50/s or 600/m, or 0 for no limit", s)
	}
	*r = Rate{N: n, Per: per}
	return nil
}

// Every returns the time between two actions, 0 without a pace.
func (r Rate) Every() time.Duration {
	if r.N <= 0 {
		return 0
	}
	return time.Duration(float64(r.Per) / r.N)
}

// Pacer lets actions go at a rate.
type Pacer struct {
	every time.Duration
	next  time.Time
}

// NewPacer returns a pacer whose first action may go at once.
func NewPacer(r Rate) *Pacer { return &Pacer{every: r.Every()} }

// Wait waits for the turn of the next action. It returns the error of ctx when that ends before.
func (p *Pacer) Wait(ctx context.Context) error {
	if err := ctx.Err(); err != nil || p.every == 0 {
		return err
	}
	now := time.Now()
	// A pause of the process or of Redis is caught up for a second at most.
	if behind := now.Add(-time.Second); p.next.Before(behind) {
		if p.next.IsZero() {
			behind = now
		}
		p.next = behind
	}
	wait := p.next.Sub(now)
	p.next = p.next.Add(p.every)
	if wait <= 0 {
		return nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
