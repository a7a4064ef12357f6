package tasks

import (
	"context"
	"strings"
	"time"

	"github.com/evently/workers/mail"
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
	a := account{email: d.address("email")}
	user := d.dictionary("user_data")
	a.username = user.text("username", "User", "User")
	a.fullName = user.text("full_name", a.username, a.username)
	d.leftOut = append(d.leftOut, user.leftOut...)
	return a
}

// address returns an address, tidied. A value that is no text is a fault.
func (d *dictionary) address(key string) string {
	raw, ok := d.values[key]
	if !ok {
		return ""
	}
	text, ok := scalar(raw)
	if !ok || isNumber(raw) {
		d.fault(key, "an address")
	}
	return mail.TidyAddress(text)
}

// SendOTP mails the code that proves an address.
//
// A missing address or code is an answer, not an error: producers expect
// {"success": false}. One that cannot be understood is a dead letter. The code appears in the mail and nowhere else.
func (s *Service) SendOTP(ctx context.Context, in AccountArgs) (Result, error) {
	d, err := readDictionary("task_data", in.TaskData)
	if err != nil {
		return Result{}, err
	}
	to, code := readAccount(d), d.code("otp")
	if !d.has("email") || !d.has("otp") {
		return s.result(Result{Error: errMissingData}), nil
	}
	return s.deliver(ctx, delivery{
		address: to.email,
		data:    templates.OTP{Username: to.username, FullName: to.fullName, Code: code},
		invalid: d.err,
		leftOut: d.leftOut,
		sent:    Result{OTPSent: true},
		secrets: []string{code},
		// From when we first see it: the message does not say when the code was made.
		lifetime: templates.OTPMinutes * time.Minute,
	})
}

// code returns a code without spaces and unseen characters around it, which its reader
// would not type. A whole number loses its fraction; a text keeps its zeros. A code that a
// mail cannot show as it is, is a fault: the reader would type another one.
func (d *dictionary) code(key string) string {
	raw, ok := d.values[key]
	if !ok {
		return ""
	}
	text, ok := textOf(raw)
	if isNumber(raw) && strings.HasPrefix(text, "-") {
		ok = false
	}
	text = templates.Bare(text)
	if !ok || !templates.ValidCode(text) {
		d.fault(key, `a code of 1 to 32 printable characters without . : / \ @`)
	}
	return text
}

// SendWelcome greets a user whose address was verified. A missing address is
// an answer, as with [Service.SendOTP].
func (s *Service) SendWelcome(ctx context.Context, in AccountArgs) (Result, error) {
	d, err := readDictionary("task_data", in.TaskData)
	if err != nil {
		return Result{}, err
	}
	to := readAccount(d)
	if !d.has("email") {
		return s.result(Result{Error: errMissingData}), nil
	}
	return s.deliver(ctx, delivery{
		address: to.email,
		data:    templates.Welcome{Username: to.username, FullName: to.fullName, Email: to.email},
		invalid: d.err,
		leftOut: d.leftOut,
		sent:    Result{WelcomeSent: true},
	})
}
