package bounce

import (
	"regexp"
	"strings"

	"github.com/evently/workers/mail/internal/verdict"
)

// readText reads a bounce that is no report of RFC 3464. It returns false if the mail does not
// come from a mail system, or if its text does not say that a mail was not delivered.
func readText(m *mail, s sender) (Message, bool) {
	n := readNotice(m)
	failed := m.header.get("x-failed-recipients")
	form := formOf(n, m.header)
	isCarrier := s.null && deliveredTo.MatchString(strings.Join(n.lines, " "))
	if failed == "" && !isCarrier && !s.sends(m.mediaType == "multipart/report", form != "text" || n.proves()) {
		return Message{}, false
	}
	msg, ok := embeddedReport(n)
	if ok {
		msg.complete(m)
	} else {
		msg = Message{Form: form}
		list := recipientsOf(m, n, failed, s.failure || isCarrier)
		if msg.Kind, ok = kindOfNotice(s, n, list); !ok {
			return Message{}, false
		}
		for i := range list {
			if len(msg.Recipients) < MaxRecipients {
				msg.Recipients = append(msg.Recipients, list[i].recipient(msg.Kind, n))
			}
		}
	}
	if len(msg.Recipients) == 0 {
		return Message{}, false
	}
	msg.setReturned(n.returned)
	return msg, true
}

// sends reports whether the sender of a mail is a mail system: by its name, by the empty envelope
// sender, and by a report or another proof in the mail.
func (s sender) sends(report, proof bool) bool {
	switch {
	case s.daemon && (s.null || report || proof), s.program && s.failure, s.maybe && s.failure && (report || proof):
		return true
	}
	return report && (s.failure || s.null) || s.failure && s.null
}

// proves reports whether a notice has what only a mail system has: the mail that came back, or
// the reply of a server.
func (n notice) proves() bool {
	if n.cut {
		return true
	}
	text := n.words
	return statusIn(text) != "" || replyCode(text) != 0 && smtpLine.MatchString(text)
}

// deliveredTo is a sentence of Japanese carriers, whose mails have no other sign of a bounce.
var deliveredTo = regexp.MustCompile(`(?i)could not be delivered to:? *<` + addressForm + `>`)

// recipientsOf returns the recipients of a notice: those of X-Failed-Recipients (Exim,
// Google), those in the text, or the only one of the mail that came back.
func recipientsOf(m *mail, n notice, failed string, failure bool) []entry {
	own := map[string]bool{}
	for _, name := range []string{"to", "from", "return-path", "reply-to"} {
		own[strings.ToLower(cleanAddress(m.header.text(name)))] = true
	}
	for _, name := range []string{"from", "return-path", "reply-to", "sender"} {
		own[strings.ToLower(cleanAddress(n.returned.text(name)))] = true
	}
	to := anywhere.FindAllString(n.returned.text("to"), 3)
	for _, address := range to {
		delete(own, strings.ToLower(address)) // a mail to oneself
	}
	list := readEntries(n, own, failure)
	var named []entry
	for _, address := range anywhere.FindAllString(failed, MaxRecipients) {
		e := addEntry(&named, trimAddress(address))
		if e == nil {
			break
		}
		for i := range list {
			if strings.EqualFold(list[i].address, address) || len(list) == 1 {
				e.words, e.original = list[i].words, list[i].original
			}
		}
		if len(e.words) == 0 {
			e.words = unquoted(n.lines)
		}
	}
	if len(named) > 0 {
		return named
	}
	if len(list) == 0 && len(to) == 1 && !readSender(n.returned).daemon {
		return []entry{{address: trimAddress(to[0]), words: unquoted(n.lines)}}
	}
	return list
}

// kindOfNotice returns whether a notice reports a failure or a delay. It returns false if it
// reports neither.
func kindOfNotice(s sender, n notice, list []entry) (Kind, bool) {
	text := fold(n.words)
	delayed := containsAny(text, delayWords)
	switch {
	case containsAny(text, deliveredWords):
		return Delivered, true
	case containsAny(s.subject, delaySubjects) && !containsAny(s.subject, finalSubjects), delayed && !containsAny(text, finalWords), delayed && !s.failure:
		return Delayed, true
	case s.failure, containsAny(text, failureWords):
		return Failed, true
	}
	for i := range list {
		if class := list[i].class(n, ""); class != verdict.Unknown && class != verdict.Transient {
			return Failed, true
		}
	}
	return Unrelated, false
}

// delaySubjects are in the subjects of delays.
var (
	delaySubjects = []string{"delayed", "delay)", "warning", "deferred", "still undelivered", "verzögert", "retardé", "отложен", "задержан", "遅延", "延迟"}
	finalSubjects = []string{"returned mail", "undeliverable", "failure", "failed", "returned to sender", "unknown", "permanent"} // they outweigh delaySubjects
)

// recipient returns the recipient of an entry.
func (e *entry) recipient(kind Kind, n notice) Recipient {
	r := Recipient{Address: e.address, Original: e.original, Action: Action(kind)}
	text := e.text()
	r.setDiagnostic(text)
	if r.Action == ActionFailed {
		r.Class = e.class(n, "")
	}
	return r
}

// class returns the class of the words about a recipient. The reason may also stand before the
// recipients.
func (e *entry) class(n notice, status string) Class {
	text := e.text()
	if replyCode(text) != 0 || statusIn(text) != "" {
		return classify(text, status)
	}
	whole := n.words
	if class := verdict.ClassifyText(text); class != verdict.Unknown {
		return verdict.Classify(0, status, text)
	}
	if replyCode(whole) != 0 || statusIn(whole) != "" {
		return classify(whole, status)
	}
	if n.class != verdict.Unknown {
		return verdict.Classify(0, status, whole)
	}
	if class := verdict.Classify(0, status, text); class != verdict.Unknown || verdict.Classify(0, "", whole) != verdict.Transient {
		return class
	}
	return verdict.Transient
}

// embeddedReport reads the fields of RFC 3464 in a text: some servers do not put them in a
// part of their own.
func embeddedReport(n notice) (Message, bool) {
	text := strings.Join(n.lines, "\n")
	at := strings.Index(strings.ToLower(text), "\nfinal-recipient:")
	if at < 0 {
		return Message{}, false
	}
	if start := strings.LastIndex(text[:at], "\n\n"); start >= 0 {
		at = start
	}
	return readFields(text[at:])
}

// formOf names the form of a notice.
func formOf(n notice, h header) string {
	text := fold(strings.Join(n.lines, " "))
	for _, form := range forms {
		if strings.Contains(text, form.words) {
			return form.name
		}
	}
	if h.has("x-failed-recipients") {
		return "exim"
	}
	return "text"
}

// forms holds words by which the text forms are told apart, for people and statistics. They
// decide nothing.
var forms = []struct{ words, name string }{
	{"this is the postfix program", "postfix"}, {"this is the mail system at host", "postfix"}, {"qmail-send program", "qmail"}, {"created automatically by mail delivery software", "exim"},
	{"transcript of session follows", "sendmail"}, {"permanent fatal errors", "sendmail"}, {"delivery has failed to these recipients", "exchange"}, {"did not reach", "exchange"},
	{"google tried to deliver", "gmail"}, {"the response was", "gmail"}, {"courier mail server", "courier"}, {"mailer-daemon, please do not reply", "opensmtpd"}, {"domino", "domino"},
	{"amazon ses", "ses"}, {"dragonfly mail agent", "dma"}, {"sorry, we were unable to deliver your message", "yahoo"}, {"mdaemon", "mdaemon"}, {"mail.ru", "mailru"},
}
