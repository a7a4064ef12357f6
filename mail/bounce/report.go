package bounce

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/evently/workers/mail/internal/verdict"
)

// readReport reads a delivery status notification (RFC 3464, and RFC 6533 for addresses in
// UTF-8). It returns false if the mail has none, or none that names a recipient.
func readReport(m *mail, s sender) (Message, bool) {
	p := m.find("message/delivery-status", "message/global-delivery-status")
	if p == nil || m.mediaType != "multipart/report" && !s.daemon && !s.null {
		return Message{}, false // a person forwards a report
	}
	msg, ok := readFields(p.body)
	if !ok {
		return Message{}, false
	}
	msg.setReturned(returnedHeader(m))
	msg.complete(m)
	return msg, true
}

// complete takes from the notice what the fields of a report leave out: the words of the server
// that refused the mail.
func (m *Message) complete(whole *mail) {
	var list []entry
	var n notice
	for i := range m.Recipients {
		r := &m.Recipients[i]
		if r.Action != ActionFailed || r.Class != verdict.Unknown && (r.Diagnostic != "" || !isGeneric(r.Status)) {
			continue
		}
		if n.lines == nil {
			n = readNotice(whole)
			list = readEntries(n, nil, true)
		}
		e := entry{words: unquoted(n.lines)}
		for j := range list {
			if len(list) > 1 && (strings.EqualFold(list[j].address, r.Address) || strings.EqualFold(list[j].address, r.Original)) {
				e = list[j]
			}
		}
		words := e.text()
		if r.Class = e.class(n, r.Status); r.Code == 0 {
			r.Code = replyCode(words)
		}
		if r.Diagnostic == "" {
			r.Diagnostic = verdict.Clean(words, maxDiagnostic)
		}
	}
}

// readFields reads the fields of a delivery status.
func readFields(body string) (Message, bool) {
	perMessage, groups := statusGroups(body)
	msg := Message{
		Form:         "rfc3464",
		EnvelopeID:   clean(decodeXtext(perMessage.get("original-envelope-id"))),
		ReportingMTA: clean(typedValue(perMessage.get("reporting-mta"))),
	}
	for _, group := range groups {
		if r, ok := readRecipient(group); ok && len(msg.Recipients) < MaxRecipients {
			msg.Recipients = append(msg.Recipients, r)
		}
	}
	msg.Kind = kindOf(msg.Recipients)
	return msg, len(msg.Recipients) > 0 || slices.ContainsFunc(groups, isProbe)
}

// isProbe reports whether the fields of a recipient have an action that RFC 3464 does not know.
// Postfix answers so to "sendmail -bv". Such a report is no failure, even if its text says so.
func isProbe(h header) bool {
	_, known := actionOf(h.get("action"), "")
	return h.get("action") != "" && !known
}

// kindOf returns the kind of a report: one failure outweighs all.
func kindOf(recipients []Recipient) Kind {
	kind := Unrelated // a report on addresses that were only looked up
	for i := range recipients {
		switch recipients[i].Action {
		case ActionFailed:
			return Failed
		case ActionDelayed:
			kind = Delayed
		default:
			if kind == Unrelated {
				kind = Delivered
			}
		}
	}
	return kind
}

// statusGroups splits a delivery status into the fields of the message and those of each
// recipient. An empty line separates them, but some servers add empty lines within a group.
// So a group begins where a field names a recipient and the group before has one.
func statusGroups(body string) (perMessage header, groups []header) {
	for body != "" && len(groups) <= MaxRecipients {
		var block header
		block, body = statusBlock(body)
		switch {
		case len(block) == 0:
		case !namesRecipient(block) && len(groups) > 0:
			groups[len(groups)-1] = append(groups[len(groups)-1], block...)
		case !namesRecipient(block):
			perMessage = append(perMessage, block...)
		default:
			if block.has("reporting-mta") { // no empty line between the two
				perMessage = append(perMessage, block...)
			}
			groups = append(groups, splitGroups(block)...)
		}
	}
	return perMessage, groups
}

// splitGroups splits fields where a second recipient begins: some servers put no empty line
// between recipients.
func splitGroups(block header) (groups []header) {
	start := 0
	for i, f := range block {
		if (f.name == "final-recipient" || f.name == "original-recipient") && block[start:i].has(f.name) {
			groups = append(groups, block[start:i])
			start = i
		}
	}
	return append(groups, block[start:])
}

// statusBlock reads the fields up to an empty line. A line that is no field continues the
// field before it: some servers do not indent the lines of a long reply.
func statusBlock(text string) (block header, rest string) {
	rest = text
	for rest != "" {
		var line string
		line, rest = cutLine(rest)
		if strings.TrimSpace(line) == "" {
			return block, rest
		}
		name, value, ok := cutField(line)
		switch {
		case ok && !isFolded(line) && strings.Contains(name, "-") || ok && (name == "action" || name == "status"):
			if len(block) < maxFields {
				block = append(block, field{name, value})
			}
		case len(block) > 0:
			last := &block[len(block)-1]
			last.value = joinWords(last.value, line)
		}
	}
	return block, ""
}

func namesRecipient(block header) bool {
	return block.has("final-recipient") || block.has("original-recipient") || block.has("x-actual-recipient")
}

// readRecipient reads the fields of one recipient.
func readRecipient(h header) (Recipient, bool) {
	r := Recipient{
		Address:   typedAddress(h.get("final-recipient")),
		Original:  typedAddress(h.get("original-recipient")),
		RemoteMTA: clean(typedValue(h.get("remote-mta"))),
	}
	if r.Address == "" {
		r.Address = r.Original
	}
	if r.Address == "" {
		r.Address = typedAddress(h.get("x-actual-recipient"))
	}
	if r.Address == "" {
		return Recipient{}, false
	}
	r.Status = statusIn(h.get("status"))
	var ok bool
	if r.Action, ok = actionOf(h.get("action"), r.Status); !ok {
		return Recipient{}, false
	}
	r.setDiagnostic(typedValue(h.text("diagnostic-code")))
	return r, true
}

// actionOf returns the action that a field names. Without the field the class of the status
// decides; an action of another name is no evidence of a failure.
func actionOf(value, status string) (Action, bool) {
	word, _, _ := strings.Cut(strings.ToLower(strings.TrimSpace(value)), " ")
	word, _, _ = strings.Cut(word, ";")
	switch a := Action(strings.Trim(word, "()")); a {
	case ActionFailed, ActionDelayed, ActionDelivered, ActionRelayed, ActionExpanded:
		return a, true
	case "failure", "failed,", "fail", "expired":
		return ActionFailed, true
	case "delay", "deferred":
		return ActionDelayed, true
	case "":
	default:
		return "", false
	}
	switch {
	case strings.HasPrefix(status, "5"):
		return ActionFailed, true
	case strings.HasPrefix(status, "4"):
		return ActionDelayed, true
	case strings.HasPrefix(status, "2"):
		return ActionDelivered, true
	}
	return "", false
}

// setDiagnostic sets the fields of a recipient that follow from the words of the server.
func (r *Recipient) setDiagnostic(text string) {
	r.Code = replyCode(text)
	said := statusIn(text)
	if r.Action == ActionFailed {
		r.Class = classify(text, r.Status)
	}
	if r.Status == "" || isGeneric(r.Status) && said != "" {
		r.Status = said
	}
	r.Diagnostic = verdict.Clean(text, maxDiagnostic)
}

// classify returns the class of a failure. The words of the server that refused the mail
// outweigh the status that the reporting server made of them.
func classify(text, status string) Class {
	early := beforeRecipient(text)
	text = smtpCommand.ReplaceAllString(text, " ")
	reply := replyIn(text)
	if said := statusIn(reply); said != "" && (!isGeneric(said) || isGeneric(status) || status == "") {
		status = said
	}
	class := verdict.Classify(replyCode(reply), status, reply)
	if class == verdict.Unknown && reply != text {
		class = verdict.Classify(replyCode(reply), status, text)
	}
	if all := verdict.ClassifyText(text); class == verdict.Protocol && all != verdict.Unknown {
		class = all // the protocol of the last server, not the cause
	}
	if (class == verdict.BadAddress || class == verdict.BadDomain) && early {
		return verdict.Sender // "does not exist" is about the sender
	}
	return class
}

// smtpCommand is the command to which a server replied, in the words of Postfix and Exim.
var smtpCommand = regexp.MustCompile(`(?i)\(in reply to [^()]{0,60}\)|after (?:MAIL FROM|RCPT TO):<[^<>]{0,320}>(?: SIZE=\d+)?:?`)

// beforeRecipient reports whether words say that a server refused the mail before it knew the
// recipient.
func beforeRecipient(text string) bool {
	return containsAny(strings.ToLower(text), []string{"in reply to mail from", "in reply to ehlo", "in reply to helo", "after mail from:", "after ehlo", "after helo", "[mail_from]", "but sender was rejected", "my name was rejected", "did not like our mail from", "did not like our ehlo", "did not like our helo"})
}

// isGeneric reports whether a status names no cause.
func isGeneric(status string) bool {
	return strings.HasSuffix(status, ".0.0") || status == "5.5.0" || status == "5.3.0" || status == "5.1.0" || status == "5.2.0" || status == "5.4.0"
}

// replyIn returns a text from the reply of a server on, if it quotes one.
func replyIn(text string) string {
	for _, at := range codePattern.FindAllStringSubmatchIndex(text, 8) {
		if text[at[2]] == '4' || text[at[2]] == '5' {
			return text[at[2]:]
		}
	}
	return text
}

// typedValue returns the value of a field after its type, as in "dns; mx.example.com".
func typedValue(value string) string {
	kind, rest, ok := strings.Cut(value, ";")
	if !ok || strings.ContainsAny(strings.TrimSpace(kind), " \t@<>:()") {
		return strings.TrimSpace(value)
	}
	return strings.TrimSpace(rest)
}

// typedAddress returns the address of a field such as "rfc822; ada@example.com", without
// angle brackets and the encodings of ORCPT. It returns "" for other types, such as x400.
func typedAddress(value string) string {
	if kind, _, ok := strings.Cut(value, ";"); ok {
		switch strings.ToLower(strings.TrimSpace(kind)) {
		case "x400", "x500", "unknown", "fax":
			return ""
		}
	}
	return cleanAddress(decodeXtext(typedValue(value)))
}

var addressPattern = regexp.MustCompile(`(?:"[^"\s]{1,64}"|[^\s<>()\[\]"',;:@]+)@[^\s<>()"',;:@]+`)

// cleanAddress returns the address in a text, or "" without one.
func cleanAddress(text string) string {
	address := addressPattern.FindString(text)
	if len(address) > 320 || strings.ContainsFunc(address, isHidden) {
		return ""
	}
	return strings.TrimRight(address, ".")
}

// clean returns the value of a field without hidden characters, of at most 300 octets.
func clean(value string) string {
	value = strings.Map(func(r rune) rune {
		if isHidden(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(value, ""))
	if len(value) > 300 {
		value = strings.ToValidUTF8(value[:300], "")
	}
	return strings.TrimSpace(value)
}

// isHidden reports whether a character cannot be seen, such as an escape or a mark that turns the
// direction of a text.
func isHidden(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }

// decodeXtext decodes the xtext of RFC 3461 section 4: "+2B" stands for "+".
func decodeXtext(text string) string {
	if !strings.Contains(text, "+") {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '+' && i+2 < len(text) && isUpperHex(text[i+1]) && isUpperHex(text[i+2]) {
			if n, err := strconv.ParseUint(text[i+1:i+3], 16, 8); err == nil && isXtextEscaped(byte(n)) {
				b.WriteByte(byte(n))
				i += 2
				continue
			}
		}
		b.WriteByte(text[i])
	}
	return b.String()
}

func isUpperHex(c byte) bool { return c >= '0' && c <= '9' || c >= 'A' && c <= 'F' }

// isXtextEscaped reports whether xtext must escape an octet. "+12" in an address that was not
// encoded stays as it is.
func isXtextEscaped(c byte) bool { return c == '+' || c == '=' || c <= ' ' || c > '~' }

var (
	statusPattern = regexp.MustCompile(`(?:^|[\s(\[#;:-])([245]\.\d{1,3}\.\d{1,3})(?:$|[\s)\],;:#-]|\.(?:\s|$))`)
	codePattern   = regexp.MustCompile(`(?:^|[\s(\[:;])([2345][0-5]\d)(?:$|[\s\]):;,#-])`)
)

// statusIn returns the first enhanced code in a text, or "".
func statusIn(text string) string {
	if m := statusPattern.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// replyCode returns the first negative reply code in a text, or 0.
func replyCode(text string) int {
	for _, m := range codePattern.FindAllStringSubmatch(text, 4) {
		if n, err := strconv.Atoi(m[1]); err == nil && n >= 400 {
			return n
		}
	}
	return 0
}

// returnedHeader returns the header of the mail that came back.
func returnedHeader(m *mail) (h header) {
	m.each(func(p *part) bool {
		if isReturned(p) {
			h, _ = readHeader(strings.TrimLeft(p.body, "\n"))
		}
		return !isReturned(p)
	})
	return h
}

// setReturned sets the fields of a message that come from the header of the mail that came
// back.
func (m *Message) setReturned(h header) {
	m.MessageID = strings.Trim(clean(h.get("message-id")), "<> ")
	m.ReturnPath = cleanAddress(h.get("return-path"))
}
