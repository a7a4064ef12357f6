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
	class   Class    // of a bounce with these words; "": they do not say
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
var rules = slices.Concat(clearRules, codeRules, ambiguousRules)

// clearRules holds words with one meaning beside any code.
var clearRules = []rule{
	{verdict: Mail, class: TooBig, codes: "534", words: []string{"message too big", "size"}},
	{verdict: Address, class: BadAddress, status: "x.7.13", words: []string{"disabled recipient", "recipient address"}},
	{verdict: Account, class: Auth, codes: "523 524 525 530 534 535 538"},                                   // RFC 4954 section 6, RFC 5248
	{verdict: Unclear, class: Transient, words: []string{"greylist", "grey list", "graylist", "gray list"}}, // even with 5yz, the server expects another try

	{verdict: Account, class: Auth, status: "x.7.20-24 x.7.26 x.7.29-30 5.7.509 5.7.512-515"},

	{verdict: Address, class: BadAddress, words: []string{"recipient address rejected undeliverable", "could not deliver mail to"}},
	{verdict: Address, class: BadDomain, words: []string{"recipient address rejected need fully"}},
	{verdict: Account, class: Policy, words: []string{"relaying", "relay not permitted", "relay access denied", "relay denied"}},
	{verdict: Rate, class: Transient, words: []string{"proxy session", "primary target ip"}}, // Exchange, about its own machines
	// The sender, in words that no other subject has.
	{verdict: Account, class: Auth, words: []string{"sender policy", "spf perm"}},
	{verdict: Account, class: Reputation, words: []string{"permanently deferred"}},
	{verdict: Account, class: Sender, words: []string{
		"sender address", "sender verif", "sender domain", "domain of sender", "sender rejected", "sender denied",
		"invalid sender", "from address", "not owned by", "return path",
	}},
}

// codeRules holds codes, and words that are not ambiguous.
var codeRules = []rule{
	// The address, by its code.
	{verdict: Address, class: BadDomain, status: "5.1.2"},
	{verdict: Address, class: BadAddress, status: "5.1.1 5.1.3 5.1.6 5.1.10 5.2.1"},

	// Rules of one recipient, and of groups in Exchange.
	{verdict: Mail, class: Policy, status: "x.7.2 x.7.12 x.7.17 x.7.18 x.7.124 x.7.129 x.7.133-136 x.7.703"},
	{verdict: Mail, class: Transient, words: []string{"receiving mail too", "receiving mail at", "recipient thread limit"}},
	{verdict: Mail, class: Policy, words: []string{
		"resolver rst", "by the recipient", "by recipient", "by this recipient", "by the user", "recipients policy",
		"recipient policy", "recipient has", "recipients mailbox", "recipients organization", "target address",
		"to this group", "only accepts m", "restricted recipient",
		"send to this", "sending to this", "deliver to this", "allowed to send to", "authorized to send to", "authorised to send to",
		"permitted to send to", "permission to send to",
		"recipient blocked", "recipient is blocked", "mailbox blocked", "mailbox is blocked", "user is blocked",
		"suppression list", "suppressed",
	}},
	{verdict: Mail, class: Transient, status: "x.2.1", words: []string{"this mailbox", "this recipient", "recipient rate"}},

	// Size, format and route of this mail.
	{verdict: Mail, class: TooBig, status: "x.2.3 x.3.4"},
	{verdict: Mail, class: BadDomain, status: "x.4.4 x.4.310"},
	{verdict: Mail, class: Transient, status: "x.4.312"},
	{verdict: Mail, class: Content, status: "x.6.*"},
	{verdict: Mail, class: TooBig, words: []string{
		"message size", "message too", "size limit", "exceeds size", "exceeds the size", "maximum size", "too large", "too big",
	}},
	{verdict: Mail, class: Content, words: []string{"line too long"}},
	{verdict: Mail, class: Transient, words: []string{"too many hops", "hop count", "mail loop", "routing loop", "loop detected", "received header"}},

	// The mailbox is full, as opposed to the quota of the account.
	{verdict: Quota, class: Policy, words: []string{"submissionquota", "submission quota"}},
	{verdict: Mail, class: MailboxFull, status: "x.2.2"},
	{verdict: Mail, class: MailboxFull, codes: "552", words: []string{"quota"}},
	{verdict: Mail, class: MailboxFull, words: []string{
		"mailbox full", "mailbox quota", "mailbox exceed", "exceeds quota", "mailbox size", "is full", "inbox full",
		"over quota", "overquota", "over its quota", "over their quota", "user quota", "disk quota", "storage", "exceeded its quota", "user has exceeded",
	}},

	// Quota and rate of the account.
	{verdict: Quota, class: Policy, status: "5.4.5 5.1.90"},
	{verdict: Quota, class: Policy, words: []string{
		"daily", "per day", "hourly", "per hour", "24 hour", "24hour", "sending limit", "sending quota", "send limit", "send quota",
		"message quota", "messages quota", "email quota", "mail quota", "quota exceeded", "quota fulfilled", "quota reached", "exceeded your",
		"exceeded the max", "exceeds the max", "exceeded max", "you have exceeded", "youve exceeded", "you have reached", "youve reached",
		"messages allowed", "messaging limit", "message limit", "email limit", "relay limit", "plan limit",
		"account limit", "monthly", "per month", "credits", "not enough credit", "limit reached", "limit exceeded", "limits exceeded",
		"recipient limit", "recipients limit", "outbound limit", "submission limit", "max emails", "max defers",
	}},
	{verdict: Rate, class: Transient, status: "x.5.3 x.7.28 4.7.500-799"},
	{verdict: Rate, class: Reputation, words: []string{"user complaints", "unusual sending", "unusual activity", "unusual traffic", "suspicious activity"}},
	{verdict: Rate, class: Transient, words: []string{
		"rate limit", "ratelimit", "sending rate", "rate exceeded", "unusual rate", "message rate", "connection rate", "receiving rate",
		"too many", "overlimit", "over limit", "too much mail", "too much traffic", "too fast", "too frequent", "slow down", "throttl", "frequency", "concurrent",
		"connection limit", "thread limit",
		"unexpected volume", "high volume", "mail volume", "resources temporarily",
	}},

	// The account, by code.
	{verdict: Account, class: Sender, status: "x.1.7 x.1.8 x.2.252 x.7.27 x.7.60"},
	{verdict: Account, class: Reputation, status: "x.7.25 x.7.64"},
	{verdict: Account, class: Auth, status: "x.7.8-11 x.7.13-14 x.7.57"},
	{verdict: Account, class: Reputation, status: "5.7.511 5.7.606-649 5.7.708"},
	{verdict: Account, class: Policy, status: "x.7.3 x.7.28 5.7.500-799"},

	// The address, in unambiguous words. Exchange and others send them with 5.7.1, and
	// Postfix writes "user unknown in relay recipient table".
	{verdict: Address, class: BadAddress, words: []string{
		"user unknown", "unknown user", "no such user", "no such recipient", "no such mailbox", "no such address", "recipient unknown",
		"unknown recipient", "invalid recipient", "recipient not found", "user not found", "mailbox not found", "recipnotfound",
		"recipientnotfound", "no valid recipients", "no mailbox here", "unknown local part",
		"no such account", "no such person", "nonexist", "non exist",
		"illegal alias", "inactive recipient", "marked as inactive", "unknown mailbox", "no mailbox by", "no account by",
	}},
	{verdict: Address, class: BadDomain, words: []string{"unrouteable address", "unroutable address"}}, // Exim, without a route to the domain
	{verdict: Mail, class: Policy, words: []string{"permanent failure for one or more recipients"}},    // Barracuda, for content too

	{verdict: Unclear, class: Policy, words: []string{"delivery not authorized", "delivery not authorised"}}, // the name of x.7.1 in RFC 3463

	// The account, in words that outweigh words about a mail.
	{verdict: Account, class: Auth, words: []string{
		"authenticat", "unauthenticated", "auth ", "login", "log in", "logged in", "starttls", "encryption required", "encryption is required", "encryption needed",
		"tls ", "secure connection", "spf", "dkim",
	}},
	{verdict: Account, class: Policy, words: []string{"relay", "rcpthosts", "retransmission denied"}},
	{verdict: Account, class: Reputation, words: []string{
		"helo", "ehlo", "fully qualified", "client host", "hostname", "host name", "reverse dns", "rdns", "ptr", "reverse lookup",
		"your ip", "your host", "sending ip", "this ip", "ip address", "client ip", "unauthorized ip", "dynamic ip",
		"blacklist", "black list", "blocklist", "block list", "blocked using", "denylist", "dnsbl", "rbl", "rhsbl", "spamhaus", "spamcop",
		"sorbs", "barracuda", "uceprotect", "reputation",
	}},
	{verdict: Account, class: Policy, words: []string{
		"your account", "your access", "sending account", "this account is not",
		"sending suspended", "sending paused", "sending is", "sending has", "sending disabled", "sending blocked", "blocked from sending",
		"outgoing", "outbound", "compromised", "sandbox subdomain", "sandbox domain", "account is under review", "account under review",
	}},
	{verdict: Account, class: Sender, words: []string{
		"not verified", "unverified domain", "identities failed", "sender signature", "sender identity", "verify your",
		"send as", "sendasdenied", "on behalf of", "mail from", "header from", "header address", "envelope from",
		"from header", "from domain", "the from ", "this from ", "sending address",
	}},
	{verdict: Account, class: Policy, words: []string{
		"allowed to send", "authorized to send", "authorised to send", "permitted to send",
		"not authorized", "not authorised", "no permission",
		"pending approval", "not activated", "not yet activated", "account activation", "activate your",
		"your credentials", "invalid credentials", "credentials invalid", "authorization failed", "authorisation failed",
		"configuration set", "identity is", "domain is disabled", "testing emails", "test emails", "verify a domain",
		"subscription has", "subscription is", "your subscription", "payment required", "payment method", "past due", "billing",
		"insufficient funds", "free account", "free plan", "free trial", "trial account",
		"account blocked", "account suspended", "account has been blocked", "account has been suspended",
	}},

	// This mail, by its content.
	{verdict: Mail, class: Content, words: []string{
		"virus", "malware", "infected", "phish", "attachment", "message content", "content", "header missing", "missing header",
		"5322 compliant", "2822 compliant", "missing a valid", "header are not accepted", "forbidden word", "prohibited word", "bad word",
	}},
	{verdict: Mail, class: Policy, words: []string{
		"spam", "unsolicited", "likely suspicious", "scam", "bulk", "message looks like", "security issue",
	}},
	{verdict: Quota, class: Policy, status: "x.7.*", words: []string{"quota"}},
	{verdict: Account, class: Policy, status: "x.7.*", words: []string{"suspend", "account is locked", "account locked", "account is blocked", "account blocked"}},
	{verdict: Unclear, class: Auth, words: []string{"dmarc"}},
	{verdict: Unclear, class: Policy, words: []string{"policy", "suspend", "account is locked", "account locked", "administrative"}},
}

// ambiguousRules holds words that may mean several things.
var ambiguousRules = []rule{
	// The account.
	{verdict: Account, class: Reputation, words: []string{"high risk", "listed", "complaint", "your server", "your network", "your mail server", "your isp", "connections from", "connection refused"}},
	{verdict: Account, class: Sender, words: []string{"sender"}},
	{verdict: Account, class: Policy, words: []string{
		"blocked", "banned", "your domain", "messages from", "not accepted from", "sending domain", "unauthori", "permission",
	}},

	{verdict: Unclear, class: Policy, words: []string{"denied", "not allowed", "not permitted", "prohibit", "forbidden", "disallow"}},

	// The address.
	{verdict: Address, class: BadAddress, words: []string{
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
