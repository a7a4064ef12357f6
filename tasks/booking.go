package tasks

import (
	"context"

	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker/protocol"
)

// BookingArgs are the arguments of send_booking_confirmation.
type BookingArgs struct {
	UserID  protocol.Raw `celery:"user_id"`
	Booking protocol.Raw `celery:"booking_data"`
}

// SendBookingConfirmation mails the confirmation of one booking.
//
// An unknown or inactive user is an answer, not an error: producers expect
// {"success": false}. A database fault is retried; an address is never guessed.
func (s *Service) SendBookingConfirmation(ctx context.Context, in BookingArgs) (Result, error) {
	d, err := readDictionary("booking_data", in.Booking)
	if err != nil {
		return Result{}, err
	}
	m := templates.BookingConfirmation{
		EventName: d.name("event_name", "Event"),
		BookingID: d.name("booking_id", "N/A"),
		Quantity:  d.count("quantity", 1),
		Total:     d.money("total_price"),
		Date:      d.date("booking_date", s.today()),
	}
	return s.deliver(ctx, delivery{
		userID:  in.UserID,
		data:    m,
		invalid: d.err,
		leftOut: d.leftOut,
		sent:    Result{BookingID: d.echo("booking_id", `"N/A"`)},
	})
}

// CancellationArgs are the arguments of send_booking_cancellation.
type CancellationArgs struct {
	UserID       protocol.Raw `celery:"user_id"`
	Cancellation protocol.Raw `celery:"cancellation_data"`
}

// SendBookingCancellation mails that a booking ended and what is paid back.
// Its errors are those of [Service.SendBookingConfirmation].
func (s *Service) SendBookingCancellation(ctx context.Context, in CancellationArgs) (Result, error) {
	d, err := readDictionary("cancellation_data", in.Cancellation)
	if err != nil {
		return Result{}, err
	}
	m := templates.BookingCancellation{
		EventName: d.name("event_name", "Event"),
		BookingID: d.name("booking_id", "N/A"),
		Reason:    d.text("reason", "User request", "Not stated"),
		Refund:    d.money("refund_amount"),
		Date:      d.date("cancellation_date", ""),
	}
	return s.deliver(ctx, delivery{
		userID:  in.UserID,
		data:    m,
		invalid: d.err,
		leftOut: d.leftOut,
		sent:    Result{BookingID: d.echo("booking_id", `"N/A"`)},
	})
}
