// Package queueid finds the id of a mail in the final reply of a server. No standard says where
// it is, so each server has its own form.
package queueid

import (
	"regexp"
	"strings"
)

// maxLength is above the longest known ids, those of Microsoft 365 and of NetEase.
const maxLength = 100

// forms are tried in this order. The first group is the id. The specific forms come first, because
// a server may repeat the reply of the next one.
var forms = []*regexp.Regexp{
	regexp.MustCompile(`\[InternalId=(\d+)`),                                                // Exchange, Microsoft 365
	regexp.MustCompile(`(?i)\bqueued (?:mail )?(?:as|with id):? <?([^\s<>]+)`),              // Postfix, SendGrid, Brevo, NetEase, Stalwart
	regexp.MustCompile(`(?i)\bqueued on \S+ (?:as )?([^\s<>]+)`),                            // Yandex
	regexp.MustCompile(`(?i)\b(?:message )?queued \(([^\s()]+)\)`),                          // Haraka, Halon
	regexp.MustCompile(`(?i)\benvelope id <?([^\s<>]+)`),                                    // iCloud
	regexp.MustCompile(`(?i)\bids?=<?([^\s<>,;]+)`),                                         // Exim, GMX, KumoMTA
	regexp.MustCompile(`(?i)\bmessage id <?([^\s<>]+)>? accepted for delivery`),             // IceWarp
	regexp.MustCompile(`(?i)^<?([^\s<>]+)>? message accepted for delivery`),                 // Sendmail, OpenSMTPD, Proofpoint, Kerio
	regexp.MustCompile(`(?i)\bmessage (\d+) accepted`),                                      // Cisco
	regexp.MustCompile(`(?i)^SmtpThread-\S+ received ok \[([^\s\[\]]+)\]`),                  // Mimecast
	regexp.MustCompile(`(?i)^ok\b.* (\S+) - gsmtp$`),                                        // Gmail
	regexp.MustCompile(`(?i)^ok (\d+ qp \d+)$`),                                             // qmail
	regexp.MustCompile(`(?i)^ok:?\.? ([0-9a-f]{10,}[-.0-9a-f]*)$`),                          // SES, Courier
	regexp.MustCompile(`(?i)^ok ([0-9a-f]{2}/[0-9a-z]{1,3}-[0-9]{3,}-[0-9a-f]{6,})(?: |$)`), // SparkPost, Momentum
}

var (
	enhanced = regexp.MustCompile(`^[245]\.\d{1,3}\.\d{1,3}\s+`)
	clean    = regexp.MustCompile(`^[0-9A-Za-z][-0-9A-Za-z._+=/:,$!@ ]*$`)
)

// Parse returns the id in the text of a positive reply to the end of data, or "". An id consists
// of ASCII letters, digits and a few signs, and it has a digit. It may be any text that the
// server chose, so the caller must remove what must not be shown.
func Parse(reply string) string {
	text := strings.Join(strings.Fields(reply), " ")
	text = strings.TrimSpace(enhanced.ReplaceAllString(text, ""))
	for _, form := range forms {
		found := form.FindAllStringSubmatch(text, -1)
		if len(found) == 0 {
			continue
		}
		// A proxy repeats the reply of the server behind it, which has the mail: the
		// last one counts.
		id := strings.TrimRight(found[len(found)-1][1], ".,;:!)]>")
		if len(id) <= maxLength && clean.MatchString(id) && strings.ContainsAny(id, "0123456789") {
			return id
		}
	}
	return ""
}
