package overview

// classWords tells what the classes of failures mean, where the word alone does not say it. They
// are those of the mails that a relay did not take, of suppressions and of bounces.
var classWords = map[string]string{
	"account":     "the relay refuses us",
	"address":     "recipient refused",
	"auth":        "our mail is not authenticated",
	"bad_address": "no such mailbox",
	"bad_domain":  "the domain takes no mail",
	"complaint":   "reported as unwanted",
	"compose":     "the mail cannot be made",
	"connection":  "the relay is not reached",
	"content":     "the text is refused",
	"greylisted":  "first attempt put off",
	"operator":    "withheld by a person",
	"policy":      "a rule of the server",
	"quota":       "our quota is used up",
	"rate":        "the relay asks for time",
	"refused":     "refused for good",
	"reputation":  "we are not trusted",
	"sender":      "our address is refused",
	"temporary":   "put off, tried again",
	"transient":   "put off, tried again",
	"unclear":     "refused, it may pass later",
	"unknown":     "outcome or reason not known",
}
