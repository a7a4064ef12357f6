package logins

import "strings"

// Without returns the reply of a server to a login, without the password of that login. A server,
// or a proxy in front of it, may repeat a password that it refuses. Without leaves passwords of
// less than four characters, which are parts of words.
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
