package tasks

import (
	"strings"
	"sync"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/protocol"
)

// Summary is what may be shown of the arguments of a mail task. It suffices to recognise the
// recipient, and has no address, name, code or text of the mail.
type Summary struct {
	Kind    string `json:"kind,omitempty"`       // of the mail, such as otp
	To      string `json:"to,omitempty"`         // masked address; "" if the recipient is a user
	Domain  string `json:"domain,omitempty"`     // of the address, in lower case
	UserID  *int64 `json:"user_id,omitempty"`    // nil if the arguments have none
	Booking string `json:"booking_id,omitempty"` // id of the booking or the waitlist entry
	Urgent  bool   `json:"urgent,omitempty"`     // the mail is of use for a short time only

	// Fault tells why no mail can be made of the arguments, "" if one can. It names the
	// field and what is allowed, and never the value.
	Fault string `json:"fault,omitempty"`
}

// byName holds the mail tasks by their names without [Module].
var byName = sync.OnceValue(func() map[string]MailTask {
	table := map[string]MailTask{}
	for _, m := range Mails() {
		table[m.Name] = m
	}
	return table
})

// MailTaskOf returns the mail task with a name, which may begin with [Module].
func MailTaskOf(name string) (m MailTask, ok bool) {
	m, ok = byName()[strings.TrimPrefix(name, Module+".")]
	return m, ok
}

// Kind returns the kind of the mail.
func (m MailTask) Kind() string { return string(m.read(&dictionary{}).data.Kind()) }

// Summarize reads the arguments of a mail task by its schema. ok is false for other tasks.
func Summarize(name string, args, kwargs protocol.Raw) (sum Summary, ok bool) {
	m, ok := MailTaskOf(name)
	if !ok {
		return Summary{}, false
	}
	a := m.Arguments(args, kwargs)
	d := a.dictionary()
	read := m.read(d)
	sum = Summary{Kind: string(read.data.Kind()), Booking: read.reference, Urgent: read.urgent(), Fault: a.form}
	if read.address != "" {
		sum.To, sum.Domain = mail.MaskAddress(read.address), maskedDomain(read.address)
	}
	if m.ToUser() {
		if id, ok := integer(a.user); ok {
			sum.UserID = &id
		}
	}
	if faults := a.Faults(); sum.Fault == "" && len(faults) > 0 {
		sum.Fault = faults[0].Error()
	}
	return sum, true
}

// maskedDomain returns the domain of an address if its masked form shows it, "" otherwise.
func maskedDomain(address string) string {
	if d := domain(mail.MaskAddress(address)); d != "" && !strings.Contains(d, "*") {
		return d
	}
	return ""
}

// Arguments returns the arguments of a message of the task, for a person who corrects them.
// Arguments of another form count as empty.
func (m MailTask) Arguments(args, kwargs protocol.Raw) *Arguments {
	a := &Arguments{task: m, touched: map[string]bool{}}
	if len(args) == 0 {
		args = protocol.Raw("[]")
	}
	if len(kwargs) == 0 {
		kwargs = protocol.Raw("{}")
	}
	values, err := m.bind(&worker.Task{Name: m.Name, Message: &protocol.Message{Args: args, Kwargs: kwargs}})
	if err != nil {
		a.form = "the arguments are not " + m.form()
		return a
	}
	last := len(values) - 1
	if m.ToUser() {
		a.user = values[0]
	}
	if a.data, err = values[last].Fields(); err != nil {
		a.data, a.form = nil, m.Params[last]+" is not a dictionary"
	}
	return a
}

// form returns the form of the arguments for people.
func (m MailTask) form() string {
	last := m.Params[len(m.Params)-1]
	if m.ToUser() {
		return m.Params[0] + " and a dictionary " + last
	}
	return "a dictionary " + last
}

// Inputs returns the fields that a form for the arguments has: the id of the user, if the task
// has one, and the fields of the data.
func (m MailTask) Inputs() (all []Field) {
	if user, ok := m.field(m.userParam()); ok {
		user.Label = "User id"
		all = append(all, user)
	}
	return append(all, m.Fields...)
}

// Value returns the value of a field as a person would type it, and whether there is one.
func (a *Arguments) Value(key string) (typed string, there bool) {
	value := a.user
	if key != a.task.userParam() {
		value = valueAt(a.data, strings.Split(key, "."))
	}
	if len(value) == 0 || value.IsNull() {
		return "", false
	}
	if text, ok := scalar(value); ok {
		return text, true
	}
	return string(value), true
}
