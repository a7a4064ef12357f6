package tasks

import (
	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker/protocol"
)

// Names of the mail tasks about bookings.
const (
	NameBookingConfirmation = "send_booking_confirmation"
	NameBookingCancellation = "send_booking_cancellation"
)

// BookingArgs are the arguments of send_booking_confirmation.
type BookingArgs struct {
	UserID  protocol.Raw `celery:"user_id"`
	Booking protocol.Raw `celery:"booking_data"`
}

// BookingConfirmation confirms tickets. A zero Date and a Quantity below one leave
// their lines out; so do dates, positions and minutes in all other mails.
type BookingConfirmation struct {
	EventName, BookingID string
	Quantity             int64
	Total                templates.Money
	Date                 templates.When // of the booking, not of the event
}

// Kind implements [templates.Mail].
func (BookingConfirmation) Kind() templates.Kind { return "booking_confirmation" }

// View implements [templates.Mail].
func (m BookingConfirmation) View(p templates.Page) (templates.View, error) {
	p.Tone = templates.Good
	return &eventView{p, p.EventName(m.EventName), templates.Facts(
		p.TextFact("Booking ID", templates.BookingID(m.BookingID)),
		p.TextFact("Quantity", p.Count(m.Quantity, "ticket")),
		p.TotalFact("Total", m.Total),
		p.DateFact("Booked on", m.Date),
	)}, nil
}

func bookingConfirmation() MailTask {
	return taskOf[BookingArgs](MailTask{
		Name:  NameBookingConfirmation,
		Title: "Booking confirmed",
		About: "Confirms a booking to a user of the database.",
		Fields: []Field{
			{Key: "event_name", Label: "Event", Sample: "Nordic Jazz Night", Wide: true},
			{Key: "booking_id", Label: "Booking", Sample: "BK-2026-004217"},
			{Key: "quantity", Label: "Tickets", Input: Number, Sample: "2"},
			{Key: "total_price", Label: "Total price", Input: Number, Sample: "59.9"},
			{Key: "currency", Label: "Currency", Sample: "EUR"},
			{Key: "booking_date", Label: "Booked on", Input: Date, Sample: "2026-11-23T20:15:04Z", Wide: true},
		},
		read: func(d *dictionary) delivery {
			return delivery{
				data: BookingConfirmation{
					EventName: d.name("event_name", "Event"),
					BookingID: d.name("booking_id", "N/A"),
					Quantity:  d.count("quantity", 1),
					Total:     d.money("total_price"),
					Date:      d.date("booking_date", d.today),
				},
				sent:      Result{BookingID: d.echo("booking_id", `"N/A"`)},
				reference: d.reference("booking_id"),
				aliases:   d.bookingAliases(),
			}
		},
	})
}

// bookingAliases returns the reference of the booking, which producers may send as its id: so does
// the task of an event. A reference that is a number is none, because it could be the id of
// another booking.
func (d *dictionary) bookingAliases() []string {
	reference := d.reference(BookingReference)
	if _, isID := decimal(templates.Plain(reference)); isID || reference == "" {
		return nil
	}
	return []string{reference}
}

// BookingReference is the key of the reference of a booking, beside its id. The mails do not
// show it.
const BookingReference = "booking_reference"

// CancellationArgs are the arguments of send_booking_cancellation.
type CancellationArgs struct {
	UserID       protocol.Raw `celery:"user_id"`
	Cancellation protocol.Raw `celery:"cancellation_data"`
}

// BookingCancellation tells that a booking ended and which amount is paid back.
type BookingCancellation struct {
	EventName, BookingID, Reason string
	Refund                       templates.Money
	Date                         templates.When
}

// Kind implements [templates.Mail].
func (BookingCancellation) Kind() templates.Kind { return "booking_cancellation" }

type cancellationView struct {
	eventView
	Refund   string
	Refunded bool // Refund is more than nothing, and can be paid
}

// View implements [templates.Mail].
func (m BookingCancellation) View(p templates.Page) (templates.View, error) {
	const maxReason = 400
	p.Tone = templates.Bad
	return &cancellationView{
		eventView: eventView{p, p.EventName(m.EventName), templates.Facts(
			p.TextFact("Booking ID", templates.BookingID(m.BookingID)),
			p.TextFact("Reason", p.Stock(templates.Clean(m.Reason, maxReason), "User request", "Not stated")),
			p.RefundFact("Refund", m.Refund),
			p.DateFact("Cancelled on", m.Date),
		)},
		Refund:   p.Money(m.Refund),
		Refunded: m.Refund.Payable() && !m.Refund.IsZero(),
	}, nil
}

func bookingCancellation() MailTask {
	return taskOf[CancellationArgs](MailTask{
		Name:  NameBookingCancellation,
		Title: "Booking cancelled",
		About: "Tells a user that a booking was cancelled and which amount is refunded.",
		Fields: []Field{
			{Key: "event_name", Label: "Event", Sample: "Nordic Jazz Night", Wide: true},
			{Key: "booking_id", Label: "Booking", Sample: "BK-2026-004217"},
			{Key: "reason", Label: "Reason", Sample: "Event was rescheduled"},
			{Key: "refund_amount", Label: "Refund", Input: Number, Sample: "59.9"},
			{Key: "currency", Label: "Currency", Sample: "EUR"},
			{Key: "cancellation_date", Label: "Cancelled on", Input: Date, Sample: "2026-11-23T20:15:04Z", Wide: true},
		},
		read: func(d *dictionary) delivery {
			return delivery{
				data: BookingCancellation{
					EventName: d.name("event_name", "Event"),
					BookingID: d.name("booking_id", "N/A"),
					Reason:    d.text("reason", "User request", "Not stated"),
					Refund:    d.money("refund_amount"),
					Date:      d.date("cancellation_date", ""),
				},
				sent:      Result{BookingID: d.echo("booking_id", `"N/A"`)},
				reference: d.reference("booking_id"),
				aliases:   d.bookingAliases(),
			}
		},
	})
}
