package tasks

import (
	"context"
	"time"

	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker/protocol"
)

// WaitlistArgs are the arguments of the three waitlist mails.
type WaitlistArgs struct {
	UserID   protocol.Raw `celery:"user_id"`
	Waitlist protocol.Raw `celery:"waitlist_data"`
}

// offerMinutes is how long an offer stands when nobody says.
const offerMinutes = 30

// offerLifetime is how long a mail with an offer is of use. A number below one
// says nothing, and the mail does not repeat it.
func offerLifetime(minutes int64) time.Duration {
	const most = 366 * 24 * 60 // keeps the product from running over
	if minutes < 1 {
		minutes = offerMinutes
	}
	return time.Duration(min(minutes, most)) * time.Minute
}

// SendWaitlistNotification offers a spot for a short time. Its errors are those
// of [Service.SendBookingConfirmation].
func (s *Service) SendWaitlistNotification(ctx context.Context, in WaitlistArgs) (Result, error) {
	d, err := readDictionary("waitlist_data", in.Waitlist)
	if err != nil {
		return Result{}, err
	}
	m := templates.WaitlistNotification{
		EventName:     d.name("event_name", "Event"),
		Position:      d.count("position", 1),
		ExpiryMinutes: d.minutes("expiry_minutes", offerMinutes),
		BookingURL:    d.text("booking_url", "", ""),
	}
	return s.deliver(ctx, delivery{
		userID:  in.UserID,
		data:    m,
		invalid: d.err,
		leftOut: d.leftOut,
		sent:    Result{WaitlistPosition: d.echo("position", "1")},

		lifetime: offerLifetime(m.ExpiryMinutes),
	})
}

// SendWaitlistJoined confirms a place in line. Its errors are those of
// [Service.SendBookingConfirmation].
func (s *Service) SendWaitlistJoined(ctx context.Context, in WaitlistArgs) (Result, error) {
	d, err := readDictionary("waitlist_data", in.Waitlist)
	if err != nil {
		return Result{}, err
	}
	m := templates.WaitlistJoined{
		EventName: d.name("event_name", "Event"),
		Position:  d.count("position", 1),
		Date:      d.date("joined_date", s.today()),
	}
	return s.deliver(ctx, delivery{
		userID:  in.UserID,
		data:    m,
		invalid: d.err,
		leftOut: d.leftOut,
		sent:    Result{Position: d.echo("position", "1")},
	})
}

// SendWaitlistCancellation confirms that a user left the line. Its errors are
// those of [Service.SendBookingConfirmation].
func (s *Service) SendWaitlistCancellation(ctx context.Context, in WaitlistArgs) (Result, error) {
	d, err := readDictionary("waitlist_data", in.Waitlist)
	if err != nil {
		return Result{}, err
	}
	m := templates.WaitlistCancellation{
		EventName: d.name("event_name", "Event"),
		Date:      d.date("cancellation_date", s.today()),
	}
	return s.deliver(ctx, delivery{
		userID:  in.UserID,
		data:    m,
		invalid: d.err,
		leftOut: d.leftOut,
	})
}
