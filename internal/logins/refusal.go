package logins

import "strings"

// WithoutArguments returns what a Redis has replied, without the arguments of a command that it
// does not know. They may be a password, or the beginning of a message.
func WithoutArguments(reply string) string {
	text, _, _ := strings.Cut(reply, ", with args beginning with")
	return text
}
