package bounce

import (
	"regexp"
	"slices"
	"strings"
)

// entry is a recipient that a notice names, with the words about it.
type entry struct {
	address  string
	original string // the address that was forwarded or expanded to it
	words    []string
}

func (e *entry) text() string { return strings.Join(e.words, " ") }

// subjectLine repeats the subject of the mail, which may hold what must not be stored.
var subjectLine = regexp.MustCompile(`(?i)^(?:the subject of the message is|subject|betreff|objet|asunto|oggetto|assunto|onderwerp|temat|тема|件名|主题)\s*[:：]`)

// maxLine bounds what is kept of a line, in octets.
const maxLine = 1000

const addressForm = `(?:"[^"\s]{1,64}"|[^\s<>()\[\]"',;:@=*/\\|]+)@[A-Za-z0-9\p{L}_-][A-Za-z0-9\p{L}_.-]*`

var (
	// An address at the beginning of a line, after a bullet or a bracket, with the rest.
	leading = regexp.MustCompile(`^[\s>*•·●○◦–"'“„«-]{0,40}(?:\d{1,2}[.)]\s+)?<?(?:mailto:|rfc822;\s*|smtp:)?["']?(` + addressForm + `)["'”»]?>?(.*)$`)
	// An address after a word that names it as the recipient of the mail.
	labelled = regexp.MustCompile(`(?i)(?:\b(?:recipients?(?: address)?(?:\(s\))?|rcpt to|address(?:es)?|mailbox|user|account|unknown user|unknown address|(?:deliver|delivered|delivering|delivery|sent|send|message|mail|e-mail|email)(?: (?:your|the|this|a|mail|message|e-mail|email|it|of|was|not|following|address|user|person|sent|recipient)){0,4} (?:to|for)|allowed size|failed|destinataire|empfänger|destinatario|destinatário|ontvanger|получател[а-я]*|odbiorc[a-zę]*|an|для|a|à)(?:\s*[:：=]\s*|\s+-?\s*|\s*[<"'(\[])|(?:宛先|宛て|送信先|收件人|收件者|받는 사람)\s*[:：=-]?\s*)(?:rfc822;\s*)?[<"'“„«\[(]{0,2}(?:mailto:)?(` + addressForm + `)`)
	anywhere = regexp.MustCompile(addressForm)
	madeFrom = regexp.MustCompile(`(?i)\((?:generated|expanded|forwarded|reached via|originally sent)\s*(?:from|to)?:?\s*<?(` + addressForm + `)>?\)`)
	smtpLine = regexp.MustCompile(`(?:^|[\s<>(\[:])[45]\d\d[ -]`)
	// Exchange dates an address; other rests are words about it.
	quoted = regexp.MustCompile(`^\s*(?:>|\|)(?:\s|>?\s*[^>\s<])`)
	tracer = regexp.MustCompile(`^\s*>>>`)
)

// readEntries returns the recipients that the lines of a notice name. The strongest form that
// occurs counts: an address at the beginning of a line, one after a label, one in a reply of
// a server. Without a subject of a bounce or the reply of a server only the first counts, because
// automatic answers name addresses, too.
func readEntries(n notice, own map[string]bool, failure bool) []entry {
	atStart, weak := leadingEntries(n.lines, own)
	if len(atStart) > 0 {
		return atStart
	}
	if !failure && !n.proves() {
		return nil
	}
	for _, find := range []func(string) []string{inTranscript, afterLabel, inReply} {
		if found := otherEntries(n.lines, own, find); len(found) > 0 {
			return found
		}
	}
	if len(weak) > 0 || !failure {
		return weak
	}
	return otherEntries(n.lines, own, inText)
}

var (
	fieldOfMail = regexp.MustCompile(`(?i)^\s*(?:to|cc|from|sender|subject|sent|date|reply-to|message-id|von|an|de|à|gesendet|betreff)\s*:`)
	afterFrom   = regexp.MustCompile(`(?i)\b(?:from|by|contact|sender)\s*:?\s*<?` + addressForm)
)

// inText returns the addresses of a line that neither quotes a field of the mail nor names its
// sender.
func inText(line string) []string {
	if fieldOfMail.MatchString(line) {
		return nil
	}
	return anywhere.FindAllString(afterFrom.ReplaceAllString(line, " "), 3)
}

// leadingEntries returns the recipients at the beginnings of lines. Those of the weak form are
// followed by words of a sentence.
func leadingEntries(lines []string, own map[string]bool) (strong, weak []entry) {
	var current *entry
	blank := 0
	for _, line := range lines {
		if isQuoted(line) {
			continue
		}
		if strings.TrimSpace(line) == "" {
			blank++
			continue
		}
		m := leading.FindStringSubmatch(line)
		address := ""
		if m != nil {
			address = trimAddress(m[1])
		}
		switch {
		case address != "" && (isAboutAddress(strings.TrimSpace(m[2])) || !own[strings.ToLower(address)] && !isService(address)):
			rest := strings.TrimSpace(m[2])
			list := &weak
			if isAboutAddress(rest) || blank > 0 && !beginsSentence(rest) {
				list = &strong
			}
			current = addEntry(list, address)
			if current != nil {
				current.note(rest)
			}
		case current != nil:
			current.note(line)
		}
		blank = 0
	}
	return strong, weak
}

// note adds words about a recipient.
func (e *entry) note(line string) {
	line = strings.TrimSpace(line)
	if m := madeFrom.FindStringSubmatch(line); m != nil && e.original == "" {
		e.original = trimAddress(m[1])
	}
	line = clip(strings.TrimLeft(line, ":> "), maxLine)
	if line != "" && len(e.words) < 40 && !subjectLine.MatchString(line) {
		e.words = append(e.words, line)
	}
}

// addEntry returns the entry for an address in a list, which it adds if it is new. It returns
// nil if the list is full.
func addEntry(list *[]entry, address string) *entry {
	i := slices.IndexFunc(*list, func(e entry) bool { return strings.EqualFold(e.address, address) })
	if i < 0 {
		if len(*list) >= MaxRecipients {
			return nil
		}
		*list = append(*list, entry{address: address})
		i = len(*list) - 1
	}
	return &(*list)[i]
}

// isAboutAddress reports whether the rest of a line after an address has the form of a list of
// failed recipients.
func isAboutAddress(rest string) bool {
	if rest == "" {
		return true
	}
	for _, prefix := range []string{":", "<mailto:", "<", "[", "(", "...", "…", "on ", "- ", "– ", "; ", ", ", "=>", "->", "Invalid Address", "am ", "le ", "|", "..", "unknown", "was not", "at "} {
		if strings.HasPrefix(rest, prefix) {
			return true
		}
	}
	return smtpLine.MatchString(" " + rest)
}

// beginsSentence reports whether the rest of a line goes on with a sentence.
func beginsSentence(rest string) bool { return len(rest) > 60 }

// otherEntries returns the recipients that find finds in lines. Each has the whole notice as
// its words.
func otherEntries(lines []string, own map[string]bool, find func(string) []string) (list []entry) {
	for _, line := range lines {
		if isQuoted(line) {
			continue
		}
		for _, address := range find(line) {
			if address = trimAddress(address); address != "" && !own[strings.ToLower(address)] && !isService(address) {
				addEntry(&list, address)
			}
		}
	}
	if len(list) == 1 {
		list[0].words = unquoted(lines)
		return list
	}
	for i := range list {
		for _, line := range lines {
			if !isQuoted(line) && strings.Contains(strings.ToLower(line), strings.ToLower(list[i].address)) {
				list[i].note(line)
			}
		}
	}
	return list
}

// transcript is a line of Sendmail such as "550 5.1.1 <ada@example.com>... User unknown".
var transcript = regexp.MustCompile(`^\s*[45]\d\d[ -](?:\d\.\d{1,3}\.\d{1,3} )?<?(` + addressForm + `)>?\.\.\.`)

func inTranscript(line string) []string {
	if m := transcript.FindStringSubmatch(line); m != nil {
		return m[1:]
	}
	return nil
}

func afterLabel(line string) (found []string) {
	for _, m := range labelled.FindAllStringSubmatch(line, 3) {
		found = append(found, m[1])
	}
	return found
}

func inReply(line string) []string {
	if !smtpLine.MatchString(line) {
		return nil
	}
	return anywhere.FindAllString(line, 1)
}

// isQuoted reports whether a line quotes another mail. The transcript of Sendmail has lines
// with three brackets.
func isQuoted(line string) bool { return quoted.MatchString(line) && !tracer.MatchString(line) }

func unquoted(lines []string) (kept []string) {
	for _, line := range lines {
		if line = strings.TrimSpace(line); line != "" && !isQuoted(line) && len(kept) < 60 && !subjectLine.MatchString(line) {
			kept = append(kept, clip(line, maxLine))
		}
	}
	return kept
}

// trimAddress returns an address without the punctuation of a sentence, or "".
func trimAddress(address string) string {
	address = strings.Trim(address, ".-_")
	local, domain, _ := strings.Cut(address, "@")
	if len(address) > 320 || local == "" || domain == "" || strings.ContainsFunc(address, isHidden) {
		return ""
	}
	return address
}

// isService reports whether an address is one that notices name for help.
func isService(address string) bool {
	local, _, _ := strings.Cut(strings.ToLower(address), "@")
	switch local {
	case "postmaster", "mailer-daemon", "abuse", "support", "helpdesk", "help", "hostmaster", "noc", "admin", "administrator", "root", "info-bounce":
		return true
	}
	return false
}
