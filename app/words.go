package app

import (
	"cmp"
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

// workerWords returns one line about the worker, for supervisors.
func workerWords(s worker.Status) string {
	if !s.Consuming {
		return fmt.Sprintf("%s, not consuming: %s", s.State, cmp.Or(s.Fault, "no look into the queues yet"))
	}
	return fmt.Sprintf("%s: %d of %d slots taken, %d succeeded, %d failed, %d dead letters",
		s.State, s.Running, s.Concurrency, s.Succeeded, s.Failed, s.DeadLettered)
}
