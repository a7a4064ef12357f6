package bounce

import "github.com/evently/workers/mail/internal/verdict"

// Classify returns the class of a failure that a service reports in other forms than a mail:
// with a reply code (0: none), an enhanced code ("": none) and the words of the server.
func Classify(code int, status, text string) Class { return verdict.Classify(code, status, text) }

// Clean returns the words of a server as [Recipient.Diagnostic] has them.
func Clean(text string) string { return verdict.Clean(text, maxDiagnostic) }
