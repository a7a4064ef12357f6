// Package verdict decides from a reply of a mail server why it refused a mail. It knows
// the codes of RFC 5321 and RFC 3463 and the words of many servers.
package verdict

import "strings"

// Verdict is the subject of a refusal. It decides what happens to the mail.
type Verdict int

// The subjects of refusals.
const (
	None    Verdict = iota // no refusal
	Account                // this sender: login, address, host, relaying, reputation; a person must act
	Quota                  // the account has used up what it may send for now
	Rate                   // this sender, for a while: too fast, too many connections, server busy
	Address                // the address of the recipient
	Mail                   // this mail, or a rule of this recipient
	Unclear                // refused permanently, but the words do not say why
)

// Judge returns the subject of the reply code to a command, such as "RCPT". "GREETING" and
// "BODY" stand for the steps without a command. The tests of package mail hold a table of
// real replies with their verdicts.
func Judge(command string, code int, status [3]int, text string) Verdict {
	if code < 400 || code > 599 {
		return None
	}
	switch command {
	case "GREETING", "EHLO", "STARTTLS", "AUTH": // before any mail
		if code < 500 {
			return Rate
		}
		if code == 550 && status == [3]int{5, 4, 5} {
			return Quota
		}
		return Account
	case "MAIL", "RCPT", "DATA", "BODY", ".":
	default:
		return None
	}
	r := refusal{command: command, code: code, status: status, words: normalize(text)}
	if status == [3]int{} {
		r.status = statusIn(code, text)
	}
	if command == "MAIL" {
		return r.verdictOfMAIL()
	}
	v := r.first(rules)
	if v == None || v == Unclear && r.code < 500 {
		v = r.byCodes()
	}
	return r.ofClass(v)
}

// refusal is a negative reply, prepared for the rules.
type refusal struct {
	command string
	code    int
	status  [3]int
	words   string // see normalize
}

// verdictOfMAIL returns the verdict of a refusal of MAIL, which does not name the recipient.
func (r *refusal) verdictOfMAIL() Verdict {
	if v := r.first(beforeRules); v != None {
		return v
	}
	switch v := r.ofClass(r.first(rules)); {
	case v == Quota || v == Rate:
		return v
	case r.code == 552:
		return Mail
	case r.code >= 500, v == Account:
		return Account
	case r.code == 421, r.code == 454:
		return Rate
	}
	return Mail
}

// ofClass fits a verdict to the class of the code. A temporary refusal proves nothing about
// an address, and a quota that is refused temporarily is a limit of the rate.
func (r *refusal) ofClass(v Verdict) Verdict {
	switch {
	case r.code >= 500:
		return v
	case v == Quota:
		return Rate
	case v == Address, v == Unclear:
		return Mail
	}
	return v
}

// byCodes returns the verdict of the codes alone, for a reply whose words match no rule.
func (r *refusal) byCodes() Verdict {
	neutral := r.status[1] == 0 || r.status[1] == 1 && r.status[2] == 0 // of no subject, or of "other address status"
	switch {
	case r.code == 454: // RFC 3207, RFC 4954; Amazon SES also at the end of data
		return Rate
	case r.code == 421 && r.command != "." && r.command != "BODY":
		return Rate // the server closes; after the body the mail may be the reason
	case r.code < 500, r.code == 552, strings.TrimSpace(r.words) == "" && !neutral:
		return Mail
	case r.command == "RCPT" && neutral && (r.code == 550 || r.code == 551 || r.code == 553):
		return Address
	case strings.TrimSpace(r.words) == "", r.status[1] == 1, r.status[1] == 2, r.status[1] == 4:
		return Mail
	}
	return Unclear
}

// first returns the verdict of the first rule that holds, or None.
func (r *refusal) first(table []rule) Verdict {
	for i := range table {
		if table[i].holds(r) {
			return table[i].verdict
		}
	}
	return None
}
