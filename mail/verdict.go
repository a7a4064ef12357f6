package mail

import (
	"slices"
	"strconv"
	"strings"
)

// verdict says what a refusal is about. It decides what becomes of the mail.
type verdict int

const (
	unjudged  verdict = iota
	ofAccount         // us: login, sender, host, relaying, reputation. A person must act
	ofQuota           // all that the account may send for now is sent
	ofRate            // us, for a while: too fast, too many connections, server busy
	ofAddress         // the address of the recipient
	ofMail            // this mail, or a rule of this recipient
	ofUnknown         // refused for good, but the words do not say why
)

// A rule is one line of the table. It holds when each of its conditions that is
// not empty holds.
type rule struct {
	verdict verdict
	codes   string   // basic codes, parted by spaces
	status  string   // enhanced codes; x is any class, 20-30 a range, * any number
	words   []string // any of them is in the text; see wordsOf
}

// rules judge a refusal of RCPT, DATA, the body and the end of data; the first
// one that holds decides. Servers delay their verdict about host, sender and
// login until RCPT (Postfix, Exim) or the end of data (Exchange, SES, SendGrid),
// so the stage alone says nothing.
//
// The order is the point. Codes that mean one thing only come before words.
// Words about us come before words about the recipient, since "sender verify
// failed: no such user" is about the sender. What a rule of one recipient
// refuses comes before both.
var rules = []rule{
	{verdict: ofAccount, codes: "523 524 525 530 534 535 538"},                              // RFC 4954 section 6, RFC 5248
	{verdict: ofUnknown, words: []string{"greylist", "grey list", "graylist", "gray list"}}, // with 5yz as well: it wants us to come again

	// The sender, in words that no other subject has.
	{verdict: ofAccount, words: []string{
		"sender address", "sender verif", "sender domain", "domain of sender", "sender rejected", "sender denied",
		"invalid sender", "from address", "not owned by", "return path",
	}},

	// The address, by its code.
	{verdict: ofAddress, status: "5.1.1 5.1.2 5.1.3 5.1.6 5.1.10 5.2.1"},

	// Rules of one recipient, and of Exchange's groups.
	{verdict: ofMail, status: "x.7.2 x.7.12 x.7.17 x.7.18 x.7.124 x.7.129 x.7.133-136 x.7.703"},
	{verdict: ofMail, words: []string{
		"resolver rst", "by the recipient", "by recipient", "by this recipient", "by the user", "recipients policy",
		"recipient policy", "recipient has", "recipients mailbox", "recipients organization", "target address",
		"to this group", "only accepts m", "receiving mail too", "receiving mail at", "restricted recipient",
		"send to this", "sending to this", "deliver to this", "allowed to send to", "authorized to send to", "authorised to send to",
		"permitted to send to", "permission to send to",
		"recipient blocked", "recipient is blocked", "mailbox blocked", "mailbox is blocked", "user is blocked",
	}},

	// Size, form and way of this mail.
	{verdict: ofMail, status: "x.2.3 x.3.4 x.4.4 x.4.310 x.4.312 x.6.*"},
	{verdict: ofMail, words: []string{
		"message size", "message too", "size limit", "exceeds size", "exceeds the size", "maximum size", "too large", "too big",
		"line too long", "too many hops", "hop count", "mail loop", "routing loop", "loop detected", "received header",
	}},

	// The mailbox is full, and not our quota.
	{verdict: ofQuota, words: []string{"submissionquota", "submission quota"}},
	{verdict: ofMail, status: "x.2.2"},
	{verdict: ofMail, codes: "552", words: []string{"quota"}},
	{verdict: ofMail, words: []string{
		"mailbox full", "mailbox quota", "mailbox exceed", "exceeds quota", "mailbox size", "is full", "inbox full",
		"over quota", "overquota", "user quota", "disk quota", "storage", "exceeded its quota", "user has exceeded",
	}},

	// What the account may send, and how fast.
	{verdict: ofQuota, status: "5.4.5 5.1.90"},
	{verdict: ofQuota, words: []string{
		"daily", "per day", "hourly", "per hour", "24 hour", "24hour", "sending limit", "sending quota", "send limit", "send quota",
		"message quota", "messages quota", "email quota", "mail quota", "quota exceeded", "quota fulfilled", "quota reached", "exceeded your",
		"exceeded the max", "exceeds the max", "exceeded max", "messaging limit", "message limit", "email limit", "relay limit", "plan limit",
		"account limit", "monthly", "per month", "credits", "not enough credit", "limit reached", "limit exceeded", "limits exceeded",
		"recipient limit", "recipients limit", "outbound limit", "submission limit", "max emails", "max defers",
	}},
	{verdict: ofRate, status: "x.5.3 x.7.28 4.7.500-799"},
	{verdict: ofRate, words: []string{
		"rate limit", "ratelimit", "sending rate", "rate exceeded", "unusual rate", "message rate", "connection rate", "receiving rate",
		"too many", "too much mail", "too much traffic", "too fast", "too frequent", "slow down", "throttl", "frequency", "concurrent",
		"connection limit", "thread limit", "unusual sending", "unusual activity", "unusual traffic", "suspicious activity",
		"unexpected volume", "high volume", "mail volume", "user complaints", "resources temporarily",
	}},

	// Us, by code.
	{verdict: ofAccount, status: "x.1.7 x.1.8 x.2.252 x.7.3 x.7.8-11 x.7.13-14 x.7.20-30 x.7.57 x.7.60 x.7.64 5.7.500-799"},

	// The address, in words that are about nothing else. Exchange and others give
	// them 5.7.1; Postfix has "user unknown in relay recipient table".
	{verdict: ofAddress, words: []string{
		"user unknown", "unknown user", "no such user", "no such recipient", "no such mailbox", "no such address", "recipient unknown",
		"unknown recipient", "invalid recipient", "recipient not found", "user not found", "mailbox not found", "recipnotfound",
		"recipientnotfound", "no valid recipients", "unrouteable address", "unroutable address", "no mailbox here", "unknown local part",
		"illegal alias", "inactive recipient", "marked as inactive", "unknown mailbox", "no mailbox by", "no account by",
	}},

	{verdict: ofUnknown, words: []string{"delivery not authorized", "delivery not authorised"}}, // the name of x.7.1 in RFC 3463

	// Us, in words that outweigh those about a mail.
	{verdict: ofAccount, words: []string{
		"authenticat", "unauthenticated", "auth ", "login", "log in", "logged in", "starttls", "encryption required",
		"tls ", "secure connection", "relay", "rcpthosts", "retransmission denied",
		"helo", "ehlo", "fully qualified", "client host", "hostname", "host name", "reverse dns", "rdns", "ptr", "reverse lookup",
		"your ip", "your host", "sending ip", "this ip", "ip address", "client ip", "unauthorized ip", "dynamic ip",
		"blacklist", "black list", "blocklist", "block list", "blocked using", "denylist", "dnsbl", "rbl", "rhsbl", "spamhaus", "spamcop",
		"sorbs", "barracuda", "uceprotect", "reputation", "spf", "dkim",
		"your account", "your access", "sending account", "this account is not",
		"sending suspended", "sending paused", "sending is", "sending has", "sending disabled",
		"outgoing", "outbound", "compromised", "sandbox subdomain", "sandbox domain", "account is under review", "account under review",
		"not verified", "unverified domain", "identities failed", "sender signature", "sender identity", "verify your",
		"allowed to send", "authorized to send", "authorised to send", "permitted to send", "send as", "sendasdenied", "on behalf of",
		"not authorized", "not authorised", "no permission", "mail from", "header from", "header address", "envelope from",
		"from header", "from domain", "the from ", "this from ", "sending address",
		"pending approval", "not activated", "not yet activated", "account activation", "activate your",
	}},

	// This mail, by its content.
	{verdict: ofMail, words: []string{
		"spam", "virus", "malware", "infected", "phish", "attachment", "content", "unsolicited", "likely suspicious", "scam", "bulk",
		"message looks like", "security issue", "forbidden word", "prohibited word", "bad word", "header missing", "missing header",
	}},
	{verdict: ofQuota, status: "x.7.*", words: []string{"quota"}},
	{verdict: ofAccount, status: "x.7.*", words: []string{"suspend", "account is locked", "account locked", "account is blocked", "account blocked"}},
	{verdict: ofUnknown, words: []string{"dmarc", "policy", "suspend", "account is locked", "account locked", "administrative"}},

	// Us, in words that may be in other texts as well.
	{verdict: ofAccount, words: []string{
		"sender", "blocked", "banned", "listed", "complaint", "your server", "your network", "your domain", "your mail server", "your isp",
		"messages from", "connections from", "connection refused", "not accepted from", "sending domain", "unauthori", "permission",
	}},

	{verdict: ofUnknown, words: []string{"denied", "not allowed", "not permitted", "prohibit", "forbidden", "disallow"}},

	// The address, in words that may be in other texts as well.
	{verdict: ofAddress, words: []string{
		"does not exist", "doesnt exist", "doesnt have a", "not exist", "unknown address", "address unknown", "address not found", "mailbox unavailable",
		"mailbox disabled", "mailbox is disabled", "mailbox inactive", "mailbox is inactive", "user disabled", "user is disabled",
		"account disabled", "account is disabled", "account has been disabled", "account that you tried", "account closed", "account expired",
		"invalid address", "invalid mailbox", "invalid user", "not a valid", "no longer", "not our customer", "user doesnt", "recipient rejected",
		"bad destination", "undeliverable address",
	}},
	{verdict: ofUnknown, words: []string{
		"not accepted", "refused by", "quota", "limit", "service", "server", "system",
		"try again", "later", "configuration", "internal", "error", "failed", "failure", "problem",
	}},
}

// beforeRules judge MAIL. It does not name the recipient, so a refusal for good
// is about us, but for what it announces of the message: its size (RFC 1870) and
// its need of SMTPUTF8 (RFC 6531).
var beforeRules = []rule{
	{verdict: ofUnknown, words: []string{"greylist", "grey list", "graylist", "gray list"}}, // with 5yz as well: it wants us to come again
	{verdict: ofMail, status: "5.2.3 5.3.4 5.6.7"},
}

// judge returns what a refusal is about. The tests have a table of what it makes of
// real replies.
func judge(command string, code int, status [3]int, text string) verdict {
	if code < 400 || code > 599 {
		return unjudged
	}
	switch command {
	case "GREETING", "EHLO", "STARTTLS", "AUTH": // nothing was said of a mail
		if code < 500 {
			return ofRate
		}
		if code == 550 && status == [3]int{5, 4, 5} {
			return ofQuota
		}
		return ofAccount
	case "MAIL", "RCPT", "DATA", "BODY", ".":
	default:
		return unjudged
	}
	r := refusal{command: command, code: code, status: status, words: wordsOf(text)}
	if status == [3]int{} {
		r.status = statusIn(code, text)
	}
	if command == "MAIL" {
		return r.verdictOfMAIL()
	}
	v := r.first(rules)
	if v == unjudged {
		v = r.byCodes()
	}
	return r.ofClass(v)
}

// refusal is a reply in the form that rules look at.
type refusal struct {
	command string
	code    int
	status  [3]int
	words   string
}

func (r *refusal) verdictOfMAIL() verdict {
	if v := r.first(beforeRules); v != unjudged {
		return v
	}
	switch v := r.ofClass(r.first(rules)); {
	case v == ofQuota || v == ofRate:
		return v
	case r.code == 552:
		return ofMail
	case r.code >= 500, v == ofAccount:
		return ofAccount
	case r.code == 421, r.code == 454:
		return ofRate
	}
	return ofMail
}

// ofClass fits a verdict to the class of the code. What is refused for now only
// says nothing for good about an address, and a quota is over by itself.
func (r *refusal) ofClass(v verdict) verdict {
	switch {
	case r.code >= 500:
		return v
	case v == ofQuota:
		return ofRate
	case v == ofAddress, v == ofUnknown:
		return ofMail
	}
	return v
}

// byCodes judges a reply whose words say nothing.
func (r *refusal) byCodes() verdict {
	neutral := r.status[1] == 0 || r.status[1] == 1 && r.status[2] == 0 // of no subject, or of "other address status"
	switch {
	case r.code == 454: // RFC 3207, RFC 4954; Amazon SES also at the end of data
		return ofRate
	case r.code == 421 && r.command != "." && r.command != "BODY":
		return ofRate // the server closes; after the body the mail may be the reason
	case r.code < 500, r.code == 552, strings.TrimSpace(r.words) == "" && !neutral:
		return ofMail
	case r.command == "RCPT" && neutral && (r.code == 550 || r.code == 551 || r.code == 553):
		return ofAddress
	case strings.TrimSpace(r.words) == "", r.status[1] == 1, r.status[1] == 2, r.status[1] == 4:
		return ofMail
	}
	return ofUnknown
}

// first returns the verdict of the first rule that holds, or unjudged.
func (r *refusal) first(table []rule) verdict {
	for i := range table {
		if table[i].holds(r) {
			return table[i].verdict
		}
	}
	return unjudged
}

func (l *rule) holds(r *refusal) bool {
	switch {
	case l.codes != "" && !slices.Contains(strings.Fields(l.codes), strconv.Itoa(r.code)):
		return false
	case l.status != "" && !slices.ContainsFunc(strings.Fields(l.status), func(p string) bool { return matchStatus(p, r.status) }):
		return false
	}
	return len(l.words) == 0 || slices.ContainsFunc(l.words, func(w string) bool { return strings.Contains(r.words, " "+w) })
}

// matchStatus reports whether status fits a pattern such as x.7.20-30.
func matchStatus(pattern string, status [3]int) bool {
	parts := strings.Split(pattern, ".")
	if status == [3]int{} || len(parts) != len(status) {
		return false
	}
	for i, part := range parts {
		if part == "*" || part == "x" {
			continue
		}
		low, high, ranged := strings.Cut(part, "-")
		if !ranged {
			high = low
		}
		from, _ := strconv.Atoi(low)
		to, _ := strconv.Atoi(high)
		if status[i] < from || status[i] > to {
			return false
		}
	}
	return true
}
