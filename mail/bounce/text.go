package bounce

import (
	"html"
	"regexp"
	"strings"

	"github.com/evently/workers/mail/internal/verdict"
)

// notice is the human-readable part of a bounce.
type notice struct {
	lines    []string
	cut      bool   // a mail that came back follows the lines
	returned header // of the mail that came back, as far as the message has it

	words string // of all lines that quote nothing
	class Class  // of the words, if they are no reply of a server
}

// maxNotice bounds the text that is searched for recipients. A notice comes before the mail
// that it returns.
const maxNotice = 64 << 10

// readNotice returns the texts of a mail up to the mail that it returns.
func readNotice(m *mail) notice {
	var b strings.Builder
	var n notice
	plain := false
	m.each(func(p *part) bool {
		switch {
		case len(p.children) > 0:
		case isReturned(p):
			n.returned, _ = readHeader(strings.TrimLeft(p.body, "\n"))
			n.cut = true
			return false
		case p.mediaType == "text/html":
			if !plain {
				b.WriteString(fromHTML(clip(p.body, maxNotice)) + "\n\n")
			}
		case strings.HasPrefix(p.mediaType, "text/") || !strings.Contains(p.mediaType, "/") || p == &m.part:
			if strings.TrimSpace(p.body) != "" {
				plain = true
				b.WriteString(clip(p.body, maxNotice) + "\n\n")
			}
		}
		return b.Len() < maxNotice
	})
	text := b.String()
	for text != "" {
		line, rest := cutLine(text)
		if beginsReturned(line) {
			n.cut = true
			if !fieldStart.MatchString(line) {
				text = strings.TrimLeft(rest, "\n \t-=")
			}
			if len(n.returned) == 0 {
				n.returned, _ = readHeader(dedent(text))
			}
			break
		}
		n.lines = append(n.lines, line)
		text = rest
	}
	n.words = clip(strings.Join(unquoted(n.lines), " "), 16*maxLine)
	n.class = verdict.ClassifyText(n.words)
	return n
}

// clip returns the beginning of a text, of at most some octets.
func clip(text string, most int) string {
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "")
	}
	return text
}

// isReturned reports whether a part is the mail that came back, or its header.
func isReturned(p *part) bool {
	switch p.mediaType {
	case "message/rfc822", "text/rfc822-headers", "text/rfc822-header", "message/rfc822-headers", "text/rfc822", "message/global", "message/global-headers", "message/partial":
		return true
	}
	return false
}

var (
	// The line before the mail that came back.
	returnedLine = regexp.MustCompile(`(?i)^[-=*_#\s]*(?:(?:here|below|following|included|enclosed|attached|this)\b.{0,30}\bcopy of (?:the|your)\b|(?:the )?(?:header|text)s? of the original\b|(?:the )?original message(?: (?:header|text)s?)?(?: follows?| attached)?[-=*:.\s]*$|(?:your )?(?:returned|unsent|undelivered|rejected|bounced|failed) (?:message|mail)(?: follows?)?[-=*:.\s]*$|message headers? follows?|(?:original )?message headers?:?[-=*:.\s]*$|original headers?\b|message text follows|returned message header|-+ ?(?:forwarded|original) message|ursprüngliche nachricht|kopfzeilen der (?:ursprünglichen|original)|en-têtes (?:de message d'origine|du message)|message d'origine|encabezados (?:originales )?del? mensaje|intestazioni (?:originali )?del messaggio|元のメッセージ|original-?nachricht|encabezados de los mensajes|заголовки исходного|mensaje original|messaggio originale|mensagem original)`)
	fieldStart   = regexp.MustCompile(`(?i)^(?:received|return-path|dkim-signature|x-received|delivered-to|arc-seal|mime-version|domainkey-signature|x-originating-ip|x-google-smtp-source|x-google-dkim-signature): ?\S`)
)

// beginsReturned reports whether the mail that came back begins at a line or after it.
func beginsReturned(line string) bool {
	return len(line) < 200 && returnedLine.MatchString(line) || fieldStart.MatchString(line)
}

// dedent removes the spaces before the lines of a text, if its first line has some.
func dedent(text string) string {
	indent := len(text) - len(strings.TrimLeft(text, " "))
	if indent == 0 {
		return text
	}
	return strings.ReplaceAll(text[indent:], "\n"+strings.Repeat(" ", indent), "\n")
}

var (
	htmlHidden = regexp.MustCompile(`(?is)<(?:style|script|head|title)\b.*?</(?:style|script|head|title)\s*>|<!--.*?-->`)
	htmlBreak  = regexp.MustCompile(`(?i)<(?:br|/?p|/?div|/?tr|/?li|/?h\d|/?table|/?pre|/?ul|/?blockquote)\b[^<>]*>`)
	htmlTag    = regexp.MustCompile(`<[/a-zA-Z!][^<>@]*>|<a\b[^<>]*>`)
	blankLines = regexp.MustCompile(`\n[ \t\n]*\n`)
)

// fromHTML returns the text of a page.
func fromHTML(page string) string {
	page = htmlHidden.ReplaceAllString(page, " ")
	page = strings.ReplaceAll(page, "\n", " ")
	page = htmlBreak.ReplaceAllString(page, "\n")
	page = htmlTag.ReplaceAllString(page, "")
	page = strings.ReplaceAll(html.UnescapeString(page), "\u00a0", " ")
	return blankLines.ReplaceAllString(page, "\n\n")
}
