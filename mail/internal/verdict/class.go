package verdict

import (
	_ "embed"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// Class is the cause of a failed delivery. It is finer than a [Verdict], because it decides
// whether an address may be suppressed.
type Class string

// The classes of failures.
const (
	BadAddress  Class = "bad_address"
	BadDomain   Class = "bad_domain"
	MailboxFull Class = "mailbox_full"
	TooBig      Class = "too_big"
	Content     Class = "content"
	Policy      Class = "policy"
	Reputation  Class = "reputation"
	Auth        Class = "auth"
	Sender      Class = "sender"
	Protocol    Class = "protocol"
	Transient   Class = "transient"
	Complaint   Class = "complaint" // of a report; no words of a server lead to it
	Unknown     Class = "unknown"
)

// Classify returns the class of a failure with a reply code (0: none), an enhanced code ("":
// none) and the words of the server. The enhanced code comes first, except for codes that
// servers are known to use for something else: then their words decide.
//
// A server that has asked another one about the address quotes its reply. Then that one counts,
// because it may have refused the question and not the address.
func Classify(code int, status, text string) Class {
	if m := quotedReply.FindStringSubmatch(text); m != nil {
		quoted, _ := strconv.Atoi(m[1])
		if class := Classify(quoted, m[2], m[3]); class != Unknown {
			return class
		}
	}
	r := &refusal{command: "RCPT", code: code, status: parseStatus(status), words: normalize(text)}
	if hasBlockList(text) {
		return Reputation
	}
	class := r.class()
	if r.status == [3]int{4, 0, 0} && r.code >= 500 { // Postfix, about a greeting
		if class == Unknown {
			return Transient
		}
		return class
	}
	if r.isTemporary() && class != MailboxFull && !strings.Contains(r.words, " null mx") {
		return Transient
	}
	return class
}

// quotedReply finds the reply of another server in the form of Postfix.
var quotedReply = regexp.MustCompile(`(?is)\bsaid:\s+([45]\d\d)(?:[ -]+([245]\.\d{1,3}\.\d{1,3}))?\b(.*)`)

// blockLists are in the addresses of pages about blocked hosts. Some servers say nothing else.
var blockLists = []string{"spamhaus", "spamcop", "barracudacentral", "sorbs", "uceprotect", "dnsbl", "senderbase", "senderscore", "ipcheck", "/rbl"}

// hasBlockList reports whether a text has the address of such a page, and nothing about the
// recipient.
func hasBlockList(text string) bool {
	for _, page := range webAddress.FindAllString(strings.ToLower(text), 4) {
		for _, name := range blockLists {
			if strings.Contains(page, name) {
				return true
			}
		}
	}
	return false
}

// ClassifyText returns the class of words that are no reply of a server, such as the sentences
// of a notice.
func ClassifyText(text string) Class {
	r := &refusal{words: normalize(text)}
	if class := r.classOfTexts(); class != "" {
		return class
	}
	return Unknown
}

// isTemporary reports whether a server may accept the mail later. The enhanced code outweighs
// the reply code.
func (r *refusal) isTemporary() bool {
	return r.status[0] == 4 || r.code/100 == 4 && (r.status[0] == 0 || r.status[1] == 0)
}

// class returns the class of a refusal as if it were permanent.
func (r *refusal) class() Class {
	if class := r.firstClass(clearRules); class != "" {
		return class
	}
	text := r.classOfTexts()
	if class := r.classOfSize(text); class != "" {
		return class
	}
	if own := r.classOfAddress(); own != "" {
		return r.check(own, text)
	}
	switch class := r.firstClass(codeRules); {
	case text == "":
		if class != "" {
			return class
		}
	case (text == BadDomain || text == BadAddress) && (class == Sender || class == Auth || class == Reputation):
		return class // "client host rejected: host not found" is about us
	default:
		return text
	}
	if class := r.classOfNetwork(); class != "" {
		return class
	}
	if class := r.firstClass(ambiguousRules); class != "" {
		return class
	}
	return r.classOfCodes()
}

// classOfSize returns the class of a mail that is too big or of a mailbox that is full,
// with any words about its attempts.
func (r *refusal) classOfSize(text Class) Class {
	switch {
	case r.status[1] == 2 && r.status[2] == 3, r.status[1] == 3 && r.status[2] == 4:
		return TooBig
	case r.status[1] == 2 && r.status[2] == 2:
		return MailboxFull
	case text == Transient && r.firstClass(codeRules) == MailboxFull && !strings.Contains(r.words, " insufficient "):
		return MailboxFull
	}
	return ""
}

// classOfAddress returns the class of a code that is about the address, or "".
func (r *refusal) classOfAddress() Class {
	switch r.status {
	case [3]int{5, 1, 10}:
		if r.code == 556 { // a null MX, RFC 7505; Exchange has the code for unknown recipients
			return BadDomain
		}
		return BadAddress
	case [3]int{5, 1, 1}, [3]int{5, 1, 3}, [3]int{5, 1, 6}, [3]int{5, 2, 1}:
		return BadAddress
	case [3]int{5, 1, 2}, [3]int{5, 4, 4}:
		return BadDomain
	}
	return ""
}

// check compares the class of a code for addresses with the words, which may contradict it.
func (r *refusal) check(own, text Class) Class {
	if text != "" {
		return text
	}
	words := refusal{command: r.command, words: r.words}
	switch class := words.firstClass(codeRules); class {
	case Auth, Sender:
		return class
	case Reputation, TooBig, MailboxFull, Transient:
		if own == BadAddress {
			return class
		}
	case Policy:
		if strings.Contains(r.words, " spam") || strings.Contains(r.words, " policy") {
			return class
		}
	}
	return own
}

// classOfCodes returns the class of the codes alone.
func (r *refusal) classOfCodes() Class {
	switch {
	case r.code == 556, r.code == 521: // RFC 7504: the host takes no mail
		return BadDomain
	case r.status[1] == 7:
		return Policy
	case r.status[1] == 6:
		return Content
	case r.status[1] == 5 && (r.status[2] != 0 || r.code != 550): // 5.5.0 may be made of a bare 550
		return Protocol
	case r.status[1] == 3, r.status[1] == 4: // the system, the network
		return Transient
	case r.status[1] == 2 && r.status[2] == 4:
		return Policy // an expansion of a list
	case r.status[1] == 1 && (r.status[2] == 4 || r.status[2] == 5):
		return BadAddress
	}
	switch {
	case r.code >= 500 && r.code <= 504:
		return Protocol
	case r.code == 551:
		return BadAddress
	case r.code == 552:
		return MailboxFull
	}
	return Unknown
}

// firstClass returns the class of the first rule that holds, or "".
func (r *refusal) firstClass(table []rule) Class {
	for i := range table {
		if table[i].class != "" && table[i].holds(r) {
			return table[i].class
		}
	}
	return ""
}

// networkFaults are words about hosts that could not be reached.
var networkFaults = []string{
	" timed out", " timeout", " time out", " unreachable", " no route to host", " connection refused", " connection reset", " connection dropped", " expired", " in the queue", " network error", " temporar", " try again", " host down",
	" not responding", " could not be reached", " deferred", " retry", " unable to connect", " failed to connect", " could not connect", " connect to", " loop",
}

// classOfNetwork returns Transient if the words say that a host could not be reached.
func (r *refusal) classOfNetwork() Class {
	for _, words := range networkFaults {
		if strings.Contains(r.words, words) {
			return Transient
		}
	}
	return ""
}

// text is one line of texts.txt.
type text struct {
	class Class
	codes string
	words string
}

//go:embed texts.txt
var textsFile string

// texts returns the lines of texts.txt.
var texts = sync.OnceValue(func() (list []text) {
	for line := range strings.SplitSeq(textsFile, "\n") {
		fields := strings.Split(line, "\t")
		if strings.HasPrefix(line, "#") || len(fields) != 3 {
			continue
		}
		words := fields[2]
		if first := []rune(words)[0]; !unicode.In(first, unicode.Han, unicode.Hiragana, unicode.Katakana, unicode.Hangul) {
			words = " " + words // these scripts have no spaces between words
		}
		list = append(list, text{Class(fields[0]), fields[1], words})
	}
	return list
})

// classOfTexts returns the class of the first text that occurs, or "". A text about the attempts
// of the reporting server yields to one about the refusal.
func (r *refusal) classOfTexts() (class Class) {
	all := texts()
	for i := range all {
		if !strings.Contains(r.words, all[i].words) || all[i].codes != "-" && !r.hasCode(all[i].codes) {
			continue
		}
		if all[i].class != Transient {
			return all[i].class
		}
		class = Transient
	}
	return class
}

// hasCode reports whether the refusal has one of the codes, separated by spaces.
func (r *refusal) hasCode(codes string) bool {
	for code := range strings.FieldsSeq(codes) {
		if code == strconv.Itoa(r.code) || parseStatus(code) == r.status && r.status != [3]int{} {
			return true
		}
	}
	return false
}

// parseStatus returns the numbers of an enhanced code, zero if it is none.
func parseStatus(status string) (numbers [3]int) {
	parts := strings.SplitN(status, ".", 4)
	if len(parts) != 3 {
		return numbers
	}
	for i, part := range parts {
		n, err := strconv.Atoi(part)
		if err != nil || n < 0 || n > 999 {
			return [3]int{}
		}
		numbers[i] = n
	}
	return numbers
}

// Clean returns words of a server in one line of at most most characters, without control
// characters and with masked addresses.
func Clean(text string, most int) string {
	text = mailAddress.ReplaceAllStringFunc(text, func(address string) string {
		return "***" + address[strings.LastIndexByte(address, '@'):]
	})
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return unicode.IsSpace(r) || unicode.IsControl(r) || unicode.Is(unicode.Cf, r)
	}), " ")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
