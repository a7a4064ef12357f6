package app

import (
	"fmt"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/worker"
)

// Words of the configuration become values of the parts here. Package config accepts only
// known words, so an error means that the two disagree.

func controlMode(word string) (worker.ControlMode, error) {
	switch word {
	case "full":
		return worker.ControlFull, nil
	case "harmless":
		return worker.ControlHarmless, nil
	case "off":
		return worker.ControlOff, nil
	}
	return worker.ControlOff, unknownWord("REMOTE_CONTROL", word)
}

func unknownTasks(word string) (worker.UnknownTaskPolicy, error) {
	switch word {
	case "dead-letter":
		return worker.DeadLetterUnknown, nil
	case "requeue":
		return worker.RequeueUnknown, nil
	case "reject":
		return worker.RejectUnknown, nil
	}
	return worker.DeadLetterUnknown, unknownWord("UNKNOWN_TASKS", word)
}

func smtpSecurity(word string) (mail.Security, error) {
	switch word {
	case "starttls":
		return mail.StartTLS, nil
	case "implicit":
		return mail.ImplicitTLS, nil
	case "none":
		return mail.Plain, nil
	}
	return mail.StartTLS, unknownWord("SMTP_TLS_MODE", word)
}

func unknownWord(variable, word string) error {
	return fmt.Errorf("%s: unknown word %q", variable, word)
}
