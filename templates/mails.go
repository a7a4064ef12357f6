package templates

import (
	"fmt"
	"strings"
	"unicode"
)

// Kind names one of the seven mails; it is also the name of its folder.
type Kind string

// The kinds of mail.
const (
	KindOTP                  Kind = "otp"
	KindWelcome              Kind = "welcome"
	KindBookingConfirmation  Kind = "booking_confirmation"
	KindBookingCancellation  Kind = "booking_cancellation"
	KindWaitlistNotification Kind = "waitlist_notification"
	KindWaitlistJoined       Kind = "waitlist_joined"
	KindWaitlistCancellation Kind = "waitlist_cancellation"
)

// Kinds returns every kind, in the order in which a user meets them.
func Kinds() []Kind {
	return []Kind{
		KindOTP, KindWelcome, KindBookingConfirmation, KindBookingCancellation,
		KindWaitlistJoined, KindWaitlistNotification, KindWaitlistCancellation,
	}
}

// Mail is the data of one mail. Its text comes from users and is made harmless
// on its way into the templates; empty text gets the producers' defaults. The
// seven types of this package are all there is.
type Mail interface {
	Kind() Kind
	view(p page) (view, error)
}

// InvalidError is data from which no mail can be made. It never holds the
// value.
type InvalidError struct {
	Kind   Kind
	Field  string
	Reason string
}

func (e *InvalidError) Error() string {
	return fmt.Sprintf("%s: %s %s", e.Kind, e.Field, e.Reason)
}

// OTPMinutes is how long a code is valid after it was made, in minutes.
const OTPMinutes = 10

// OTP carries the code that proves an address. Code is secret and appears in the
// bodies only, never in the subject. It is shown to the letter, as the reader has
// to type it. See [ValidCode].
type OTP struct{ Username, FullName, Code string }

// ValidCode reports whether a code can be shown as it is: 1 to 32 characters that
// can be seen, which are printable ASCII and the letters and digits of other
// scripts. The first and the last are no spaces, and none is of ". : / \ @", which
// links and addresses need: mail programs must not make one of the code.
func ValidCode(code string) bool {
	if n := runes(code); n == 0 || n > maxCode || strings.TrimSpace(code) != code || strings.ContainsAny(code, `.:/\@`) {
		return false
	}
	for _, r := range code {
		seen := r >= ' ' && r <= '~' || r > unicode.MaxASCII && unicode.In(r, unicode.L, unicode.N) && !invisible(r)
		if !seen {
			return false
		}
	}
	return true
}

// Welcome greets a user whose address was verified.
type Welcome struct{ Username, FullName, Email string }

// BookingConfirmation confirms tickets. A zero Date and a Quantity below one leave
// their lines out; so do dates, positions and minutes in all other mails.
type BookingConfirmation struct {
	EventName, BookingID string
	Quantity             int64
	Total                Money
	Date                 When // of the booking, not of the event
}

// BookingCancellation tells that a booking ended and what is paid back.
type BookingCancellation struct {
	EventName, BookingID, Reason string
	Refund                       Money
	Date                         When
}

// WaitlistNotification offers a spot for a short time. BookingURL is shown only
// when it is https and its host is allowed by Options.
type WaitlistNotification struct {
	EventName               string
	Position, ExpiryMinutes int64
	BookingURL              string
}

// WaitlistJoined confirms a place in line.
type WaitlistJoined struct {
	EventName string
	Position  int64
	Date      When
}

// WaitlistCancellation confirms that the user left the line.
type WaitlistCancellation struct {
	EventName string
	Date      When
}

// Kind returns KindOTP.
func (OTP) Kind() Kind { return KindOTP }

// Kind returns KindWelcome.
func (Welcome) Kind() Kind { return KindWelcome }

// Kind returns KindBookingConfirmation.
func (BookingConfirmation) Kind() Kind { return KindBookingConfirmation }

// Kind returns KindBookingCancellation.
func (BookingCancellation) Kind() Kind { return KindBookingCancellation }

// Kind returns KindWaitlistNotification.
func (WaitlistNotification) Kind() Kind { return KindWaitlistNotification }

// Kind returns KindWaitlistJoined.
func (WaitlistJoined) Kind() Kind { return KindWaitlistJoined }

// Kind returns KindWaitlistCancellation.
func (WaitlistCancellation) Kind() Kind { return KindWaitlistCancellation }

// page is what every template sees. Each kind adds its own fields, so that a
// wrong field name in a template fails when New executes it.
type page struct {
	Brand   string
	Initial string
	SiteURL string
	Support string
	Tone    tone
	Subject string // for the title; set once the subject is rendered
	Preview string // the preheader

	links       linkPolicy
	linkLeftOut bool
}

// view is the data of one kind as its templates see it.
type view interface{ head() *page }

func (p *page) head() *page { return p }

type otpView struct {
	page
	Name, Code string
	Minutes    int
}

func (m OTP) view(p page) (view, error) {
	// A code that had to be changed would not work: better no mail.
	if !ValidCode(m.Code) {
		return nil, &InvalidError{m.Kind(), "code", fmt.Sprintf(`is not 1 to %d printable characters without . : / \ @`, maxCode)}
	}
	p.Tone = info
	return &otpView{p, greetedName(m.FullName, m.Username), m.Code, OTPMinutes}, nil
}

type welcomeView struct {
	page
	Name  string
	Facts []fact
}

func (m Welcome) view(p page) (view, error) {
	p.Tone = info
	return &welcomeView{p, greetedName(m.FullName, m.Username), facts(
		textFact("Username", cleanOr(m.Username, maxName, "User")),
		textFact("Email", clean(m.Email, maxAddress)),
	)}, nil
}

type bookingView struct {
	page
	Event string // name of the event
	Facts []fact

	Refund   string // cancellation only
	Refunded bool   // Refund is more than nothing, and can be paid
}

func (m BookingConfirmation) view(p page) (view, error) {
	p.Tone = good
	return &bookingView{page: p, Event: eventName(m.EventName), Facts: facts(
		textFact("Booking ID", bookingID(m.BookingID)),
		textFact("Quantity", count(m.Quantity, "ticket")),
		totalFact("Total", m.Total),
		dateFact("Booked on", m.Date),
	)}, nil
}

func (m BookingCancellation) view(p page) (view, error) {
	p.Tone = bad
	v := &bookingView{page: p, Event: eventName(m.EventName)}
	v.Refund, v.Refunded = m.Refund.String(), m.Refund.payable() && !m.Refund.IsZero()
	v.Facts = facts(
		textFact("Booking ID", bookingID(m.BookingID)),
		textFact("Reason", cleanOr(m.Reason, maxReason, "User request")),
		refundFact("Refund", m.Refund),
		dateFact("Cancelled on", m.Date),
	)
	return v, nil
}

type waitlistView struct {
	page
	Event    string
	Position string
	Minutes  string
	Link     string // "" when there is none, or none that is allowed
	Date     string
	Facts    []fact
}

func (m WaitlistNotification) view(p page) (view, error) {
	p.Tone = wait
	link := p.links.allowed(m.BookingURL)
	p.linkLeftOut = link == "" && strings.TrimSpace(m.BookingURL) != ""
	return &waitlistView{page: p, Event: eventName(m.EventName),
		Position: position(m.Position), Minutes: count(m.ExpiryMinutes, "minute"), Link: link}, nil
}

func (m WaitlistJoined) view(p page) (view, error) {
	p.Tone = info
	return &waitlistView{page: p, Event: eventName(m.EventName),
		Position: position(m.Position), Date: m.Date.String()}, nil
}

func (m WaitlistCancellation) view(p page) (view, error) {
	p.Tone = calm
	return &waitlistView{page: p, Event: eventName(m.EventName),
		Facts: facts(dateFact("Left on", m.Date))}, nil
}
