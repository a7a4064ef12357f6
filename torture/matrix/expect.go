package matrix

import (
	"slices"
	"strings"
)

// Expectation is what must become of the mail of a cell.
type Expectation struct {
	Outcomes []Outcome // one of them; several where the network decides what arrives first
	Why      string
}

// Allows reports whether m is as expected: the outcome, and the number of mails that the server
// has taken. A mail that was sent is there once, and one of which that is unknown at most once.
func (e Expectation) Allows(m Measured) bool {
	if !slices.Contains(e.Outcomes, m.Outcome) {
		return false
	}
	switch m.Outcome {
	case Sent:
		return m.Mails == 1
	case Unknown:
		return m.Mails <= 1
	}
	return m.Mails == 0
}

func must(why string, outcomes ...Outcome) *Expectation { return &Expectation{outcomes, why} }

// rules are asked in their order: the first one that knows a cell decides. The way of a mail
// makes no difference.
var rules = []func(Cell) *Expectation{elsewhere, good, unanswered, nonsense, hello, session, account, mailbox}

// Expect returns what must become of the mail of a cell.
func Expect(c Cell) Expectation {
	for _, rule := range rules {
		if e := rule(c); e != nil {
			return *e
		}
	}
	return Expectation{Why: "no rule knows this cell"}
}

// code returns the first word of the reply.
func (c Cell) code() string {
	code, _, _ := strings.Cut(c.Reply.Text, " ")
	return code
}

func (c Cell) among(codes ...string) bool { return slices.Contains(codes, c.code()) }

func (c Cell) at(stages ...Stage) bool { return slices.Contains(stages, c.Stage) }

// silent reports whether the client learns no reply at the stage.
func (c Cell) silent() bool { return c.Reply == None || c.Fault == Trickle }

// elsewhere has the stages that do not decide about a mail.
func elsewhere(c Cell) *Expectation {
	switch c.Stage {
	case Quit:
		return must("The server has the mail already, so the end of the connection does not matter.", Sent)
	case Reset:
		return must("A reused connection may be dead, or out of step. The mail gets a new one.", Sent)
	case Connect:
		return must("The server cannot be reached: that is no fault of the mail.", PutBack)
	}
	return nil
}

// good has the positive replies, and what follows them.
func good(c Cell) *Expectation {
	switch {
	case c.Reply != Late || c.Fault == Trickle:
		return nil
	case c.Fault == Answer:
		return must("All is well, if slow.", Sent)
	case c.Stage == End:
		return must("The server has said that it has the mail, so the end of the connection does not matter.", Sent)
	case c.Stage == Data && c.Fault == Freeze:
		return must(whyUnread, Unknown)
	case c.Stage == Body:
		return nil // there is no reply in the middle of a mail
	}
	return must(whyBefore, PutBack)
}

const (
	whyBefore = "The end of the mail was not sent, so the server cannot have it. The fault is the network's or the server's: it costs no attempt. (Of connections that break during a mail the first three cost none.)"
	whyUnread = "The end of the mail was sent, and nothing tells whether it was read."
)

// unanswered has the replies that do not come.
func unanswered(c Cell) *Expectation {
	switch {
	case !c.silent() && !(c.Stage == Body && c.Reply == Late):
		return nil
	case c.Stage == End:
		return must("The end of the mail was sent, and the reply to it is missing: RFC 1047.", Unknown)
	case c.Stage == Body && c.Fault == Trickle:
		return must(whyUnread+" If octets of a reply arrive before, the mail is put back.", Unknown, PutBack)
	case c.Stage == Body && c.Fault != RST && c.Fault != FIN:
		return must(whyUnread, Unknown)
	case c.at(Banner, TLS) && c.Reply == Garbage:
		return nil
	}
	return must(whyBefore, PutBack)
}

// nonsense has the replies that are none.
func nonsense(c Cell) *Expectation {
	switch {
	case c.Stage == TLS && c.Reply == Garbage:
		return must("Plain text is no TLS. If it looks like a web server, the configuration names the wrong one.", PutBack, Paused)
	case c.Stage == TLS:
		return must("Plain text is no TLS. The fault is not the mail's.", PutBack)
	case c.Reply != Garbage:
		return nil
	case c.Stage == Banner && c.Fault == RST:
		return must(whyReset, Paused, PutBack)
	case c.Stage == Banner && c.Fault == Trickle:
		return must("A few octets may be enough to tell a web server from a slow one.", Paused, PutBack)
	case c.Stage == Banner:
		return must("This is no mail server: a person has to correct the configuration.", Paused)
	case c.Stage == End:
		return must("The end of the mail was sent, and the reply tells nothing.", Unknown)
	case c.Stage == Body && c.Fault != RST && c.Fault != FIN:
		return must("The server is out of step. If its text arrives before the end of the mail is sent, the mail is put back.", PutBack, Unknown)
	}
	return must("The server is out of step, before the end of the mail. That is no fault of the mail.", PutBack)
}

const whyReset = "A reset may overtake the reply. Neither costs an attempt."

// hello has the reply that is no refusal.
func hello(c Cell) *Expectation {
	switch {
	case c.Stage != Hello || c.code() != "500":
		return nil
	case c.Fault == Answer:
		return must("The server does not know EHLO. HELO is tried, and works.", Sent)
	}
	return must(whyBefore, PutBack)
}

// session has the refusals before the first command about a mail.
func session(c Cell) *Expectation {
	switch {
	case !c.at(Banner, Hello, StartTLS, Auth):
		return nil
	case c.Stage == Banner && c.Fault == RST:
		return must(whyReset, Paused, PutBack)
	}
	return must("The server refuses this service before it knows of a mail.", Paused)
}

// account has the refusals of all mails, by their words.
func account(c Cell) *Expectation {
	var e *Expectation
	switch {
	case c.among("421"):
		e = must("The server closes, or has too much to do: it defers all mails.", Paused)
	case c.among("454", "530", "535"):
		e = must("The login is refused, or is needed: that concerns all mails.", Paused)
	case c.Reply.Name == "550 5.4.5":
		e = must("The quota is used up, although the code begins with 5: later mails of the day are refused as well.", Paused)
	case c.Stage == Mail && c.among("500", "501", "503", "550", "554"):
		e = must("At MAIL a server refuses the sender, which all mails have in common.", Paused)
	}
	return c.orReset(e)
}

// mailbox has the refusals of this mail.
func mailbox(c Cell) *Expectation {
	switch {
	case c.among("450", "451", "452"):
		return c.orReset(must("The server defers this mail: RFC 5321, section 4.2.1.", Retried))
	case c.among("500", "501", "503"):
		return c.orReset(must("A final refusal that does not say what it refuses may concern all mails: attempts are spent before it counts as final.", Retried))
	}
	return c.orReset(must("The server refuses the recipient or the mail for good.", Final))
}

// orReset adds the outcome of a reset in the middle of a mail that overtakes the reply.
func (c Cell) orReset(e *Expectation) *Expectation {
	if e == nil || c.Stage != Body || c.Fault != RST {
		return e
	}
	return &Expectation{append(slices.Clone(e.Outcomes), PutBack), e.Why + " A reset may overtake the reply, and then the mail is put back."}
}
