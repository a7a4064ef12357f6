package tasks

import (
	"context"
	"strings"
	"time"

	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker/protocol"
)

// AccountArgs are the arguments of the mails of the auth service, which knows
// the address and sends it along.
type AccountArgs struct {
	TaskData protocol.Raw `celery:"task_data"`
}

// account is the task_data of both mails.
type account struct {
	email              string // "" when there is none
	username, fullName string
}

func readAccount(d *dictionary) account {
	a := account{}
	// Not text(): an address that is a number is no address, and a missing one
	// is an answer of its own.
	if raw := d.values["email"]; shape(raw) == '"' {
		a.email, _ = scalar(raw)
	}
	// Forms and spreadsheets leave spaces around addresses; none begins with one.
	a.email = strings.TrimSpace(a.email)
	user := d.dictionary("user_data")
	a.username = user.text("username", "User")
	a.fullName = user.text("full_name", a.username)
	return a
}

// SendOTP mails the code that proves an address.
//
// A missing address or code is an answer, not an error: producers expect
// {"success": false}. The code appears in the mail and nowhere else.
func (s *Service) SendOTP(ctx context.Context, in AccountArgs) (Result, error) {
	d, err := readDictionary("task_data", in.TaskData)
	if err != nil {
		return Result{}, err
	}
	to, code := readAccount(d), readCode(d)
	if to.email == "" || code == "" {
		return s.result(Result{Error: errMissingData}), nil
	}
	return s.deliver(ctx, delivery{
		address: to.email,
		data:    templates.OTP{Username: to.username, FullName: to.fullName, Code: code},
		invalid: checkCode(code),
		sent:    Result{OTPSent: true},
		secrets: []string{code},
		// From when we first see it: the message does not say when the code was made.
		lifetime: templates.OTPMinutes * time.Minute,
	})
}

// readCode returns the code as it came, a number as it is written. What is
// neither a text nor a number counts as missing, and so does a blank.
func readCode(d *dictionary) string {
	switch raw := d.values["otp"]; shape(raw) {
	case 0, '{':
		return ""
	default:
		code, _ := scalar(raw)
		if strings.TrimSpace(code) == "" {
			return ""
		}
		return code
	}
}

// checkCode refuses a code that a mail could not show as it is: the reader would
// type another one.
func checkCode(code string) error {
	if templates.ValidCode(code) {
		return nil
	}
	return &dataError{key: "otp", want: "a code of 1 to 32 printable characters"}
}

// SendWelcome greets a user whose address was verified. A missing address is
// an answer, as with [Service.SendOTP].
func (s *Service) SendWelcome(ctx context.Context, in AccountArgs) (Result, error) {
	d, err := readDictionary("task_data", in.TaskData)
	if err != nil {
		return Result{}, err
	}
	to := readAccount(d)
	if to.email == "" {
		return s.result(Result{Error: errMissingData}), nil
	}
	return s.deliver(ctx, delivery{
		address: to.email,
		data:    templates.Welcome{Username: to.username, FullName: to.fullName, Email: to.email},
		sent:    Result{WelcomeSent: true},
	})
}
