// Package matrix runs one mail through every fault of a mail server that it knows: each class of
// reply, at each stage of the dialogue, with each fate of the connection, in each way to send a
// mail. It holds the outcomes that are right, with the reasons, and writes docs/smtp-matrix.md.
package matrix

import "fmt"

// Stage is a step of the dialogue with the mail server.
type Stage string

// The stages in their order.
const (
	Connect  Stage = "connection"
	Banner   Stage = "banner"
	Hello    Stage = "EHLO"
	StartTLS Stage = "STARTTLS"
	TLS      Stage = "TLS"
	Auth     Stage = "AUTH"
	Mail     Stage = "MAIL"
	Rcpt     Stage = "RCPT"
	Data     Stage = "DATA"
	Body     Stage = "body"
	End      Stage = "end of data"
	Reset    Stage = "RSET"
	Quit     Stage = "QUIT"
)

// Stages lists them.
var Stages = []Stage{Connect, Banner, Hello, StartTLS, TLS, Auth, Mail, Rcpt, Data, Body, End, Reset, Quit}

// Reply is a class of replies.
type Reply struct {
	Name string
	Text string // "": the positive reply of the stage, or none
}

// Late is the positive reply after a delay, and None no reply.
var (
	Late    = Reply{Name: "2xx late"}
	None    = Reply{Name: "none"}
	Garbage = Reply{"garbage", "<html>this is no mail server</html>"}
)

// Replies lists the classes.
var Replies = []Reply{
	Late,
	{"421", "421 4.3.2 service not available, closing"},
	{"450", "450 4.2.1 mailbox busy"},
	{"451", "451 4.3.0 local error in processing"},
	{"452", "452 4.3.1 insufficient system storage"},
	{"454", "454 4.7.0 temporary authentication failure"},
	{"500", "500 5.5.1 command unrecognized"},
	{"501", "501 5.5.4 syntax error in parameters"},
	{"503", "503 5.5.1 bad sequence of commands"},
	{"530", "530 5.7.0 authentication required"},
	{"535", "535 5.7.8 authentication credentials invalid"},
	{"550", "550 5.1.1 no such user here"},
	{"550 5.4.5", "550 5.4.5 daily user sending limit exceeded"},
	{"552", "552 5.3.4 message size exceeds the limit"},
	{"554", "554 5.7.1 message rejected as spam"},
	Garbage,
	None,
}

// Fault is what happens to the connection.
type Fault string

// The faults.
const (
	Answer  Fault = "reply"   // the dialogue goes on after the reply
	RST     Fault = "RST"     // the connection is reset after the reply
	FIN     Fault = "FIN"     // the connection is closed after the reply
	Freeze  Fault = "freeze"  // nothing more is read or written after the reply
	Trickle Fault = "trickle" // the reply comes octet by octet and never ends
)

// Faults lists them.
var Faults = []Fault{Answer, RST, FIN, Freeze, Trickle}

// Way is a way to send a mail.
type Way string

// The ways.
const (
	Stepwise  Way = "DATA"       // one command after the other
	Pipelined Way = "PIPELINING" // the commands at once
	Chunked   Way = "CHUNKING"   // and the mail by BDAT
)

// Ways lists them.
var Ways = []Way{Stepwise, Pipelined, Chunked}

// Cell is one case.
type Cell struct {
	Stage Stage
	Reply Reply
	Fault Fault
	Way   Way
}

func (c Cell) String() string {
	return fmt.Sprintf("%s, %s, %s, %s", c.Stage, c.Reply.Name, c.Fault, c.Way)
}

// Cells returns all of them.
func Cells() []Cell {
	var all []Cell
	for _, way := range Ways {
		all = append(all, Cell{Connect, None, RST, way})
		for _, stage := range Stages[1:] {
			for _, reply := range Replies {
				for _, fault := range Faults {
					all = append(all, Cell{stage, reply, fault, way})
				}
			}
		}
	}
	return all
}

// Outcome is what becomes of a mail.
type Outcome string

// The outcomes.
const (
	Sent    Outcome = "sent"     // the result says that it was sent
	Retried Outcome = "retried"  // an attempt is spent
	PutBack Outcome = "put back" // tried again, no attempt spent
	Paused  Outcome = "paused"   // the server refuses all mails of ours: put back, for longer
	Final   Outcome = "final"    // the result says that it was not sent, dead letter
	Unknown Outcome = "unknown"  // a dead letter "delivery unsure"; codes are sent once more
)

// waits reports whether the client waits for a reply that does not come.
func (c Cell) waits() bool {
	return c.Fault == Freeze || c.Fault == Trickle || c.Reply == None && c.Fault == Answer
}
