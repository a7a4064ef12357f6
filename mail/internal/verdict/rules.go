package verdict

import (
	"slices"
	"strconv"
	"strings"
)

// rule is one line of a table. It holds when all of its conditions hold. An empty condition
// always holds.
type rule struct {
	verdict Verdict
	codes   string   // basic codes, separated by spaces
	status  string   // enhanced codes; x is any class, 20-30 a range, * any number
	words   []string // beginnings of words, one of which is in the text; see normalize
}

// rules holds the rules for refusals of RCPT, DATA, the body and the end of data. The first
// rule that holds decides. The command alone proves nothing, because servers delay their
// refusals of host, sender and login until RCPT (Postfix, Exim) or the end of data
// (Exchange, SES, SendGrid).
//
// The order matters. Codes with one meaning come before words. Words about the sender come
// before words about the recipient, because "sender verify failed: no such user" is about
// the sender. Rules of one recipient come before both.
var rules = []rule{
	{verdict: Account, codes: "523 524 525 530 534 535 538"},                              // RFC 4954 section 6, RFC 5248
	{verdict: Unclear, words: []string{"greylist", "grey list", "graylist", "gray list"}}, // even with 5yz, the server expects another try

	{verdict: Address, words: []string{"recipient address rejected need fully", "recipient address rejected undeliverable", "could not deliver mail to"}},
	{verdict: Account, words: []string{"relaying", "relay not permitted", "relay access denied", "relay denied"}},
	{verdict: Rate, words: []string{"proxy session", "primary target ip"}}, // Exchange, about its own machines
	// The sender, in words that no other subject has.
	{verdict: Account, words: []string{
		"sender address", "sender verif", "sender domain", "domain of sender", "sender rejected", "sender denied",
		"invalid sender", "from address", "not owned by", "return path", "sender policy", "spf perm", "permanently deferred",
	}},

	// The address, by its code.
	{verdict: Address, status: "5.1.1 5.1.2 5.1.3 5.1.6 5.1.10 5.2.1"},

	// Rules of one recipient, and of groups in Exchange.
	{verdict: Mail, status: "x.7.2 x.7.12 x.7.17 x.7.18 x.7.124 x.7.129 x.7.133-136 x.7.703"},
	{verdict: Mail, words: []string{
		"resolver rst", "by the recipient", "by recipient", "by this recipient", "by the user", "recipients policy",
		"recipient policy", "recipient has", "recipients mailbox", "recipients organization", "target address",
		"to this group", "only accepts m", "receiving mail too", "receiving mail at", "restricted recipient",
		"send to this", "sending to this", "deliver to this", "allowed to send to", "authorized to send to", "authorised to send to",
		"permitted to send to", "permission to send to",
		"recipient blocked", "recipient is blocked", "mailbox blocked", "mailbox is blocked", "user is blocked",
		"suppression list", "suppressed", "recipient thread limit",
	}},
	{verdict: Mail, status: "x.2.1", words: []string{"this mailbox", "this recipient", "recipient rate"}},

	// Size, format and route of this mail.
	{verdict: Mail, status: "x.2.3 x.3.4 x.4.4 x.4.310 x.4.312 x.6.*"},
	{verdict: Mail, words: []string{
		"message size", "message too", "size limit", "exceeds size", "exceeds the size", "maximum size", "too large", "too big",
		"line too long", "too many hops", "hop count", "mail loop", "routing loop", "loop detected", "received header",
	}},

	// The mailbox is full, as opposed to the quota of the account.
	{verdict: Quota, words: []string{"submissionquota", "submission quota"}},
	{verdict: Mail, status: "x.2.2"},
	{verdict: Mail, codes: "552", words: []string{"quota"}},
	{verdict: Mail, words: []string{
		"mailbox full", "mailbox quota", "mailbox exceed", "exceeds quota", "mailbox size", "is full", "inbox full",
		"over quota", "overquota", "over its quota", "over their quota", "user quota", "disk quota", "storage", "exceeded its quota", "user has exceeded",
	}},

	// Quota and rate of the account.
	{verdict: Quota, status: "5.4.5 5.1.90"},
	{verdict: Quota, words: []string{
		"daily", "per day", "hourly", "per hour", "24 hour", "24hour", "sending limit", "sending quota", "send limit", "send quota",
		"message quota", "messages quota", "email quota", "mail quota", "quota exceeded", "quota fulfilled", "quota reached", "exceeded your",
		"exceeded the max", "exceeds the max", "exceeded max", "you have exceeded", "youve exceeded", "you have reached", "youve reached",
		"messages allowed", "messaging limit", "message limit", "email limit", "relay limit", "plan limit",
		"account limit", "monthly", "per month", "credits", "not enough credit", "limit reached", "limit exceeded", "limits exceeded",
		"recipient limit", "recipients limit", "outbound limit", "submission limit", "max emails", "max defers",
	}},
	{verdict: Rate, status: "x.5.3 x.7.28 4.7.500-799"},
	{verdict: Rate, words: []string{
		"rate limit", "ratelimit", "sending rate", "rate exceeded", "unusual rate", "message rate", "connection rate", "receiving rate",
		"too many", "overlimit", "over limit", "too much mail", "too much traffic", "too fast", "too frequent", "slow down", "throttl", "frequency", "concurrent",
		"connection limit", "thread limit", "unusual sending", "unusual activity", "unusual traffic", "suspicious activity",
		"unexpected volume", "high volume", "mail volume", "user complaints", "resources temporarily",
	}},

	// The account, by code.
	{verdict: Account, status: "x.1.7 x.1.8 x.2.252 x.7.3 x.7.8-11 x.7.13-14 x.7.20-30 x.7.57 x.7.60 x.7.64 5.7.500-799"},

	// The address, in unambiguous words. Exchange and others send them with 5.7.1, and
	// Postfix writes "user unknown in relay recipient table".
	{verdict: Address, words: []string{
		"user unknown", "unknown user", "no such user", "no such recipient", "no such mailbox", "no such address", "recipient unknown",
		"unknown recipient", "invalid recipient", "recipient not found", "user not found", "mailbox not found", "recipnotfound",
		"recipientnotfound", "no valid recipients", "unrouteable address", "unroutable address", "no mailbox here", "unknown local part",
		"no such account", "no such person", "nonexist", "non exist",
		"illegal alias", "inactive recipient", "marked as inactive", "unknown mailbox", "no mailbox by", "no account by",
	}},
	{verdict: Mail, words: []string{"permanent failure for one or more recipients"}}, // Barracuda, for content too

	{verdict: Unclear, words: []string{"delivery not authorized", "delivery not authorised"}}, // the name of x.7.1 in RFC 3463

	// The account, in words that outweigh words about a mail.
	{verdict: Account, words: []string{
		"authenticat", "unauthenticated", "auth ", "login", "log in", "logged in", "starttls", "encryption required", "encryption is required", "encryption needed",
		"tls ", "secure connection", "relay", "rcpthosts", "retransmission denied",
		"helo", "ehlo", "fully qualified", "client host", "hostname", "host name", "reverse dns", "rdns", "ptr", "reverse lookup",
		"your ip", "your host", "sending ip", "this ip", "ip address", "client ip", "unauthorized ip", "dynamic ip",
		"blacklist", "black list", "blocklist", "block list", "blocked using", "denylist", "dnsbl", "rbl", "rhsbl", "spamhaus", "spamcop",
		"sorbs", "barracuda", "uceprotect", "reputation", "spf", "dkim",
		"your account", "your access", "sending account", "this account is not",
		"sending suspended", "sending paused", "sending is", "sending has", "sending disabled", "sending blocked", "blocked from sending",
		"outgoing", "outbound", "compromised", "sandbox subdomain", "sandbox domain", "account is under review", "account under review",
		"not verified", "unverified domain", "identities failed", "sender signature", "sender identity", "verify your",
		"allowed to send", "authorized to send", "authorised to send", "permitted to send", "send as", "sendasdenied", "on behalf of",
		"not authorized", "not authorised", "no permission", "mail from", "header from", "header address", "envelope from",
		"from header", "from domain", "the from ", "this from ", "sending address",
		"pending approval", "not activated", "not yet activated", "account activation", "activate your",
		"your credentials", "invalid credentials", "credentials invalid", "authorization failed", "authorisation failed",
		"configuration set", "identity is", "domain is disabled", "testing emails", "test emails", "verify a domain",
		"subscription has", "subscription is", "your subscription", "payment required", "payment method", "past due", "billing",
		"insufficient funds", "free account", "free plan", "free trial", "trial account",
		"account blocked", "account suspended", "account has been blocked", "account has been suspended",
	}},

	// This mail, by its content.
	{verdict: Mail, words: []string{
		"spam", "virus", "malware", "infected", "phish", "attachment", "content", "unsolicited", "likely suspicious", "scam", "bulk",
		"message looks like", "security issue", "forbidden word", "prohibited word", "bad word", "header missing", "missing header",
		"5322 compliant", "2822 compliant", "missing a valid", "header are not accepted",
	}},
	{verdict: Quota, status: "x.7.*", words: []string{"quota"}},
	{verdict: Account, status: "x.7.*", words: []string{"suspend", "account is locked", "account locked", "account is blocked", "account blocked"}},
	{verdict: Unclear, words: []string{"dmarc", "policy", "suspend", "account is locked", "account locked", "administrative"}},

	// The account, in ambiguous words.
	{verdict: Account, words: []string{
		"sender", "blocked", "banned", "high risk", "listed", "complaint", "your server", "your network", "your domain", "your mail server", "your isp",
		"messages from", "connections from", "connection refused", "not accepted from", "sending domain", "unauthori", "permission",
	}},

	{verdict: Unclear, words: []string{"denied", "not allowed", "not permitted", "prohibit", "forbidden", "disallow"}},

	// The address, in ambiguous words.
	{verdict: Address, words: []string{
		"does not exist", "doesnt exist", "doesnt have a", "not exist", "unknown address", "address unknown", "address not found", "mailbox unavailable",
		"mailbox disabled", "mailbox is disabled", "mailbox inactive", "mailbox is inactive", "user disabled", "user is disabled",
		"account disabled", "account is disabled", "account has been disabled", "account that you tried", "account closed", "account expired",
		"invalid address", "invalid mailbox", "invalid user", "not a valid", "no longer", "not our customer", "user doesnt", "recipient rejected",
		"bad destination", "undeliverable address",
	}},
	{verdict: Unclear, words: []string{
		"not accepted", "refused by", "quota", "limit", "service", "server", "system",
		"try again", "later", "configuration", "internal", "error", "failed", "failure", "problem",
	}},
}

// beforeRules holds the rules for refusals of MAIL. MAIL does not name the recipient, so a
// permanent refusal is about the account. The exceptions are the size of the message (RFC
// 1870) and its need of SMTPUTF8 (RFC 6531), which MAIL announces.
var beforeRules = []rule{
	{verdict: Unclear, words: []string{"greylist", "grey list", "graylist", "gray list"}}, // even with 5yz, the server expects another try
	{verdict: Mail, status: "5.2.3 5.3.4 5.6.7"},
}

// holds reports whether all conditions of the rule hold for r.
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
