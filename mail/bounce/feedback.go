package bounce

import (
	"slices"
	"strings"
)

// complaints are the types of abuse reports that are complaints of a recipient (RFC 5965
// section 7.3 and the registry of IANA). Others, such as "not-spam" and the DMARC reports of
// "auth-failure", are about something else.
var complaints = map[string]bool{"abuse": true, "fraud": true, "other": true, "opt-out": true, "opt-out-list": true, "miscategorized": true, "spam": true, "unsolicited": true}

// readFeedback reads an abuse report (RFC 5965).
func readFeedback(m *mail) (Message, bool) {
	p := m.find("message/feedback-report")
	if p == nil {
		return readJunkReport(m)
	}
	fields, _ := statusBlock(strings.TrimLeft(p.body, "\n"))
	msg := Message{
		Kind:         Unrelated,
		Form:         "arf",
		FeedbackType: strings.ToLower(clean(fields.get("feedback-type"))),
		EnvelopeID:   clean(decodeXtext(fields.get("original-envelope-id"))),
		ReportingMTA: clean(typedValue(fields.get("reporting-mta"))),
	}
	returned := returnedHeader(m)
	msg.setReturned(returned)
	if !complaints[msg.FeedbackType] {
		return msg, true
	}
	msg.Kind = Complaint
	for _, f := range fields {
		if f.name == "original-rcpt-to" || f.name == "removal-recipient" || f.name == "x-original-rcpt-to" {
			msg.complain(typedAddress(f.value))
		}
	}
	msg.complainOf(returned)
	return msg, true
}

// readJunkReport reads a report of the Junk Mail Reporting Program of Outlook.com, which is older
// than RFC 5965.
func readJunkReport(m *mail) (Message, bool) {
	subject := fold(m.header.text("subject"))
	returned := returnedHeader(m)
	if !strings.HasPrefix(subject, "complaint about message from") || !strings.HasPrefix(strings.ToLower(cleanAddress(m.header.get("from"))), "staff@") || len(returned) == 0 {
		return Message{}, false
	}
	msg := Message{Kind: Complaint, Form: "jmrp", FeedbackType: "abuse"}
	msg.setReturned(returned)
	msg.complainOf(returned)
	return msg, true
}

// complainOf adds the recipient of the mail that came back, if no other is known.
func (m *Message) complainOf(returned header) {
	if len(m.Recipients) == 0 {
		m.complain(cleanAddress(returned.get("x-hmxmroriginalrecipient")))
	}
	if to := anywhere.FindAllString(returned.text("to"), 3); len(m.Recipients) == 0 && len(to) == 1 {
		m.complain(cleanAddress(to[0]))
	}
}

// complain adds the recipient of a complaint.
func (m *Message) complain(address string) {
	known := slices.ContainsFunc(m.Recipients, func(r Recipient) bool { return strings.EqualFold(r.Address, address) })
	if address != "" && !known && len(m.Recipients) < MaxRecipients {
		m.Recipients = append(m.Recipients, Recipient{Address: address, Class: ComplaintClass})
	}
}
