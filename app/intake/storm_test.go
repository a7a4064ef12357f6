package intake_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"github.com/evently/workers/app/intake"
	"github.com/evently/workers/mail"
	"github.com/evently/workers/store/ledger"
)

var stormSize = flag.Int("intake.storm", 500, "messages of TestStorm")

// message is one message of the storm.
type message struct {
	to, text string
	forged   bool
}

// TestStorm sends bounces in random order over several connections, with copies, forged tags,
// delays and bounces of mails that are stored later. Each mail bounces once, forged tags do
// nothing, and a mail without a true bounce stays as it is.
func TestStorm(t *testing.T) {
	t.Parallel()
	f := newFixture(t, postgres(t))
	mails := *stormSize / 2
	events := make([]ledger.Event, mails)
	wantBounced := map[string]bool{}
	var storm []message
	for i := range events {
		id := fmt.Sprintf("%032x", i)
		events[i] = accepted(id)
		events[i].Address = fmt.Sprintf("user%d@example.com", i)
		reference := mail.Reference(id)
		bounce, delay := unknownUser(), unknownUser()
		bounce.recipient, delay.recipient = events[i].Address, events[i].Address
		delay.action, delay.status, delay.text = "delayed", "4.4.1", "451 4.4.1 try again"
		// The texts differ: only copies are equal.
		bounce.text, delay.text = fmt.Sprint(bounce.text, " ", i), fmt.Sprint(delay.text, " ", i)
		to, forged := addressOf(t, []string{key, oldKey}[i%2], reference), addressOf(t, wrongKey, reference)
		switch i % 4 {
		case 0: // a bounce and its copy, which came another way
			wantBounced[id] = true
			storm = append(storm, message{to: to, text: bounce.String()}, message{to: to, text: "Received: another way\n" + bounce.String()})
		case 1: // a true and a forged one
			wantBounced[id] = true
			storm = append(storm, message{to: to, text: bounce.String()}, message{to: forged, text: bounce.String(), forged: true})
		case 2: // forged ones
			storm = append(storm, message{to: forged, text: bounce.String(), forged: true}, message{to: strings.Replace(to, "-", "-a", 1), text: bounce.String(), forged: true})
		case 3: // a delay, twice
			storm = append(storm, message{to: to, text: delay.String()}, message{to: to, text: delay.String()})
		}
	}
	random := rand.New(rand.NewPCG(1, uint64(mails)))
	random.Shuffle(len(storm), func(i, j int) { storm[i], storm[j] = storm[j], storm[i] })
	f.write(events[:mails/2]...)

	addr, _ := f.listen(f.intake, func(c *intake.ListenerConfig) { c.LMTP = true })
	begin := time.Now()
	f.blow(addr, storm)
	took := time.Since(begin)
	f.write(events[mails/2:]...) // their bounces are there already

	reader := ledger.NewReader(ledger.ReaderConfig{DB: f.db, Sealer: f.sealer})
	states, evidence := map[ledger.State]int{}, f.suppress.byMail(t)
	for filter := (ledger.Filter{Limit: 1000}); ; {
		page, err := reader.List(t.Context(), filter)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range page.Mails {
			states[m.State]++
			if (m.State == ledger.Bounced) != wantBounced[m.Mail] {
				t.Errorf("mail %s is %s", m.Mail, m.State)
			}
			if n := evidence[m.Mail]; (n == 1) != wantBounced[m.Mail] || n > 1 {
				t.Errorf("mail %s: %d times evidence", m.Mail, n)
			}
		}
		if filter.After = page.Next; page.Next == "" {
			break
		}
	}
	counts, err := reader.Stats(t.Context(), noon.Add(-time.Hour), noon.Add(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	counted := map[ledger.State]int64{}
	for _, c := range counts {
		counted[c.State] += c.N
	}
	if int(counted[ledger.Bounced]) != len(wantBounced) || int(counted[ledger.Accepted]) != mails || states[ledger.Bounced]+states[ledger.Accepted] != mails {
		t.Errorf("%d mails, %d to bounce: states %v, counts %v", mails, len(wantBounced), states, counted)
	}
	t.Logf("%d messages in %.1f s, %.0f a second", len(storm), took.Seconds(), float64(len(storm))/took.Seconds())
}

// blow sends all messages over some connections.
func (f *fixture) blow(addr string, storm []message) {
	f.Helper()
	const conns = 8
	var group sync.WaitGroup
	next := make(chan message)
	for range conns {
		group.Go(func() {
			conn, err := net.Dial("tcp", addr)
			if err != nil {
				f.Error(err)
				return
			}
			c := smtp.NewClientLMTP(conn)
			defer func() { _ = c.Close() }()
			refused := 0
			for m := range next {
				err := c.Mail("", nil)
				if err == nil {
					err = c.Rcpt(m.to, nil)
				}
				if m.forged {
					if got := code(err); got != "550 5.1.1" {
						f.Errorf("forged recipient: %s", got)
					}
					_ = c.Reset()
					if refused++; refused == 9 { // the tenth one closes the connection
						_ = c.Close()
						if conn, err = net.Dial("tcp", addr); err != nil {
							f.Error(err)
							return
						}
						c, refused = smtp.NewClientLMTP(conn), 0
					}
					continue
				}
				if err == nil {
					err = send(c, m.text)
				}
				if err != nil {
					f.Errorf("message: %v", err)
				}
			}
		})
	}
	for _, m := range storm {
		next <- m
	}
	close(next)
	group.Wait()
}

func send(c *smtp.Client, text string) error {
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(text)); err != nil {
		return err
	}
	return w.Close()
}
