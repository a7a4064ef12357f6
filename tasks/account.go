package tasks

import (
	"strings"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker/protocol"
)

// Names of the mail tasks of the auth service.
const (
	NameOTP     = "send_otp_verification_email"
	NameWelcome = "send_welcome_email"
)

// AccountArgs are the arguments of the mails of the auth service, which knows
// the address and sends it in the data.
type AccountArgs struct {
	TaskData protocol.Raw `celery:"task_data"`
}

// otpMinutes is how long a code is valid after it was made, in minutes.
const otpMinutes = 10

// OTP has the code that proves an address. Code is secret and appears in the bodies only,
// never in the subject. The mail shows it unchanged, because the reader must type it. See
// [templates.ValidCode].
type OTP struct{ Username, FullName, Code string }

// Kind implements [templates.Mail].
func (OTP) Kind() templates.Kind { return "otp" }

// Secrets returns what must not be in the subject.
func (m OTP) Secrets() []string { return []string{m.Code} }

type otpView struct {
	templates.Page
	Name, Code string
	Minutes    int
}

// View implements [templates.Mail].
func (m OTP) View(p templates.Page) (templates.View, error) {
	// A code that had to be changed would not work: better no mail.
	if !templates.ValidCode(m.Code) {
		return nil, &templates.InvalidError{Kind: m.Kind(), Field: "code", Reason: "is not " + validCode}
	}
	p.Tone = templates.Info
	return &otpView{p, p.GreetedName(m.FullName, m.Username), m.Code, otpMinutes}, nil
}

func otp() MailTask {
	return taskOf[AccountArgs](MailTask{
		Name:  NameOTP,
		Title: "Verification code",
		About: "Mails a one-time code to the address in the task.",
		Fields: []Field{
			{Key: "email", Label: "E-mail", Input: Email, Sample: "ann.keller@example.com", Required: true, Wide: true},
			{Key: "otp", Label: "Code", Input: Code, Sample: "048213", Required: true, Wide: true},
			{Key: "user_data.username", Label: "Username", Sample: "ann"},
			{Key: "user_data.full_name", Label: "Full name", Sample: "Ann Keller"},
			{Key: "timestamp", Input: Null, Unused: true},
		},
		// A code that a caller sends in a wrong form is secret as well.
		SecretArguments: true,
		read: func(d *dictionary) delivery {
			to, code := readAccount(d), d.code("otp")
			return delivery{
				address: to.email,
				data:    OTP{Username: to.username, FullName: to.fullName, Code: code},
				sent:    Result{OTPSent: true},
				secrets: []string{code},
				code:    code, writtenAddress: to.written,
				// Counted from when a worker first sees the message, which does not say when
				// the code was made.
				lifetime: otpMinutes * time.Minute,
			}
		},
	})
}

// Welcome greets a user whose address was verified.
type Welcome struct{ Username, FullName, Email string }

// Kind implements [templates.Mail].
func (Welcome) Kind() templates.Kind { return "welcome" }

type welcomeView struct {
	templates.Page
	Name  string
	Facts []templates.Fact
}

// View implements [templates.Mail].
func (m Welcome) View(p templates.Page) (templates.View, error) {
	const maxAddress = 254
	p.Tone = templates.Info
	return &welcomeView{p, p.GreetedName(m.FullName, m.Username), templates.Facts(
		p.TextFact("Username", p.Stock(templates.Clean(m.Username, templates.MaxName), "User")),
		p.TextFact("Email", templates.Clean(m.Email, maxAddress)),
	)}, nil
}

func welcome() MailTask {
	return taskOf[AccountArgs](MailTask{
		Name:     NameWelcome,
		Title:    "Welcome",
		About:    "Greets a new user at the address in the task.",
		Optional: true,
		Fields: []Field{
			{Key: "email", Label: "E-mail", Input: Email, Sample: "ann.keller@example.com", Required: true, Wide: true},
			{Key: "user_data.username", Label: "Username", Sample: "ann"},
			{Key: "user_data.full_name", Label: "Full name", Sample: "Ann Keller"},
			{Key: "timestamp", Input: Null, Unused: true},
		},
		read: func(d *dictionary) delivery {
			to := readAccount(d)
			return delivery{
				address: to.email,
				data:    Welcome{Username: to.username, FullName: to.fullName, Email: to.email},
				sent:    Result{WelcomeSent: true},
			}
		},
	})
}

// account is the data that both mails have.
type account struct {
	email              string // "" when there is none
	written            string // email as the producer wrote it
	username, fullName string
}

func readAccount(d *dictionary) account {
	a := account{email: d.address("email")}
	a.written, _ = scalar(d.values["email"])
	user := d.dictionary("user_data")
	a.username = user.text("username", "User", "User")
	a.fullName = user.text("full_name", a.username, a.username)
	d.leftOut = append(d.leftOut, user.leftOut...)
	return a
}

// address returns an address, tidied. A value that is not a text is a fault.
func (d *dictionary) address(key string) string {
	raw, ok := d.get(key)
	if !ok {
		return ""
	}
	text, ok := scalar(raw)
	if !ok || isNumber(raw) {
		d.fault(key, "an address")
	}
	return mail.TidyAddress(text)
}

const validCode = `1 to 32 printable characters without . : / \ @`

// code returns a code without spaces and invisible characters around it, which its reader
// would not type. A whole number loses its fraction; a text keeps its zeros. A code that a
// mail cannot show unchanged is a fault, because the reader would type another one.
func (d *dictionary) code(key string) string {
	raw, ok := d.get(key)
	if !ok {
		return ""
	}
	text, ok := textOf(raw)
	if isNumber(raw) && strings.HasPrefix(text, "-") {
		ok = false
	}
	text = templates.Bare(text)
	if !ok || !templates.ValidCode(text) {
		d.fault(key, "a code of "+validCode)
	}
	return text
}
