package dev

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/emersion/go-smtp"
)

// Fault is what the mail server does instead of taking a mail.
type Fault string

// The faults of the mail server.
const (
	NoFault       Fault = ""
	FaultClose    Fault = "421"      // closes the connection at MAIL
	FaultLater    Fault = "451"      // defers each recipient
	FaultLogin    Fault = "535"      // refuses the login
	FaultRefuse   Fault = "550"      // refuses each recipient for good
	FaultGreylist Fault = "greylist" // defers the first attempt for each recipient
	FaultHang     Fault = "hang"     // does not answer DATA
	FaultDrop     Fault = "drop"     // takes the mail, and hangs up without an answer
)

// faultWords describes a fault for people.
type faultWords struct {
	Fault       Fault
	Title, Text string
}

// faults lists the faults in the order of the page.
var faults = []faultWords{
	{NoFault, "Works", "Takes every mail."},
	{FaultClose, "421", "Closes each connection: service not available."},
	{FaultLater, "451", "Defers each mail: try again later."},
	{FaultLogin, "535", "Refuses the login: nothing goes out until it is mended."},
	{FaultRefuse, "550", "Refuses each recipient for good: no such user. The address then gets no mails and no codes until it is released under Suppressions."},
	{FaultGreylist, "Greylist", "Defers the first attempt for each recipient, and takes the second."},
	{FaultHang, "Hang", "Accepts the commands, and never answers the mail."},
	{FaultDrop, "Drop after the dot", "Takes the mail, and hangs up without an answer: the outcome is unknown."},
}

// chaos switches faults on and off.
type chaos struct {
	redis *miniredis.Miniredis
	now   func() time.Time

	mu      sync.Mutex
	state   ChaosState
	seen    map[string]bool // recipients that greylisting knows
	changed chan struct{}   // closed at the next change of the fault
}

// ChaosState is what is broken now.
type ChaosState struct {
	Fault        Fault
	Since        time.Time // of Fault
	Met          int       // mails that met it
	RedisAway    bool
	DatabaseAway bool
}

func newChaos(m *miniredis.Miniredis, now func() time.Time) *chaos {
	return &chaos{redis: m, now: now, changed: make(chan struct{}), seen: map[string]bool{}}
}

// State returns what is broken now.
func (c *chaos) State() ChaosState {
	if c == nil {
		return ChaosState{}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state
}

// setFault switches the fault of the mail server.
func (c *chaos) setFault(f Fault) error {
	if !slices.ContainsFunc(faults, func(one faultWords) bool { return one.Fault == f }) {
		return fmt.Errorf("there is no fault %q", f)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.Fault, c.state.Since, c.state.Met, c.seen = f, c.now(), 0, map[string]bool{}
	close(c.changed) // mails that hang go on
	c.changed = make(chan struct{})
	return nil
}

// setDatabase makes lookups of users fail, or work again.
func (c *chaos) setDatabase(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.DatabaseAway = away
}

// setRedis stops the embedded Redis, or starts it again on its port. It keeps its data.
func (c *chaos) setRedis(away bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.RedisAway == away {
		return nil
	}
	if away {
		c.redis.Close()
	} else {
		// Close has ended the context, without which commands that wait are never answered.
		c.redis.Ctx, c.redis.CtxCancel = context.WithCancel(context.Background())
		if err := c.redis.Restart(); err != nil {
			return fmt.Errorf("start Redis again: %w", err)
		}
		c.redis.Server().SetPreHook(answer)
	}
	c.state.RedisAway = away
	return nil
}

// meet counts a mail that meets the fault, if it is one of some.
func (c *chaos) meet(some ...Fault) (Fault, bool) {
	if c == nil {
		return NoFault, false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state.Fault == NoFault || !slices.Contains(some, c.state.Fault) {
		return NoFault, false
	}
	c.state.Met++
	return c.state.Fault, true
}

// reply is a reply of the mail server.
func reply(code int, enhanced smtp.EnhancedCode, text string) error {
	return &smtp.SMTPError{Code: code, EnhancedCode: enhanced, Message: text}
}

// onMail returns the reply to MAIL, nil for a good one.
func (c *chaos) onMail() error {
	switch f, ok := c.meet(FaultClose, FaultLogin); {
	case !ok:
		return nil
	case f == FaultLogin:
		return reply(535, smtp.EnhancedCode{5, 7, 8}, "authentication credentials invalid")
	}
	return reply(421, smtp.EnhancedCode{4, 3, 2}, "service not available, closing transmission channel")
}

// onRecipient returns the reply to RCPT, nil for a good one.
func (c *chaos) onRecipient(to string) error {
	f, ok := c.meet(FaultLater, FaultRefuse)
	switch {
	case ok && f == FaultLater:
		return reply(451, smtp.EnhancedCode{4, 3, 0}, "try again later")
	case ok:
		return reply(550, smtp.EnhancedCode{5, 1, 1}, "no such user here")
	case c == nil:
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	key := strings.ToLower(to)
	if c.state.Fault != FaultGreylist || c.seen[key] {
		return nil
	}
	c.seen[key] = true
	c.state.Met++
	return reply(451, smtp.EnhancedCode{4, 7, 1}, "greylisted, please try again later")
}

// hang waits until the fault is switched, or done is closed.
func (c *chaos) hang(done <-chan struct{}) error {
	c.mu.Lock()
	changed := c.changed
	c.mu.Unlock()
	select {
	case <-changed:
	case <-done:
	}
	return reply(451, smtp.EnhancedCode{4, 3, 0}, "it took too long")
}
