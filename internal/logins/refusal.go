package logins

import "strings"

// Without returns what a server has replied to a login, without the password of it. A server, or a
// proxy in front of it, may repeat what it refuses. It leaves passwords of less than four
// characters, which are parts of words.
func Without(password, reply string) string {
	if len(password) < 4 {
		return reply
	}
	return strings.ReplaceAll(reply, password, "***")
}

// WithoutArguments returns what a Redis has replied, without the arguments of a command that it
// does not know. They may be a password, or the beginning of a message.
func WithoutArguments(reply string) string {
	text, _, _ := strings.Cut(reply, ", with args beginning with")
	return text
}
