package tasks

import (
	"time"

	"github.com/evently/workers/templates"
	"github.com/evently/workers/worker/protocol"
)

// Names of the mail tasks about waitlists.
const (
	NameWaitlistJoined       = "send_waitlist_joined"
	NameWaitlistNotification = "send_waitlist_notification"
	NameWaitlistCancellation = "send_waitlist_cancellation"
)

// WaitlistArgs are the arguments of the three waitlist mails.
type WaitlistArgs struct {
	UserID   protocol.Raw `celery:"user_id"`
	Waitlist protocol.Raw `celery:"waitlist_data"`
}

// WaitlistJoined confirms a place in line.
type WaitlistJoined struct {
	EventName string
	Position  int64
	Date      templates.When
}

// Kind implements [templates.Mail].
func (WaitlistJoined) Kind() templates.Kind { return "waitlist_joined" }

type placeView struct {
	templates.Page
	Event, Position, Date string
}

// View implements [templates.Mail].
func (m WaitlistJoined) View(p templates.Page) (templates.View, error) {
	p.Tone = templates.Info
	return &placeView{p, p.EventName(m.EventName), templates.Position(m.Position), p.Date(m.Date)}, nil
}

func waitlistJoined() MailTask {
	return taskOf[WaitlistArgs](MailTask{
		Name:     NameWaitlistJoined,
		Title:    "Waitlist: joined",
		About:    "Confirms a place on a waitlist.",
		Optional: true,
		Fields: []Field{
			{Key: "event_name", Label: "Event", Sample: "Nordic Jazz Night", Wide: true},
			{Key: "position", Label: "Position", Input: Number, Sample: "3"},
			{Key: "joined_date", Label: "Joined on", Input: Date, Sample: "2026-11-23"},
			{Key: "waitlist_id", Label: "Waitlist entry", Sample: "WL-318", Unused: true, Wide: true},
		},
		read: func(d *dictionary) delivery {
			return delivery{
				data: WaitlistJoined{
					EventName: d.name("event_name", "Event"),
					Position:  d.count("position", 1),
					Date:      d.date("joined_date", d.today),
				},
				sent:      Result{Position: d.echo("position", "1")},
				reference: d.reference("waitlist_id"),
			}
		},
	})
}

// WaitlistNotification offers a spot for a short time. BookingURL is shown only
// if it is https and its host is allowed by [templates.Options].
type WaitlistNotification struct {
	EventName               string
	Position, ExpiryMinutes int64
	BookingURL              string
}

// Kind implements [templates.Mail].
func (WaitlistNotification) Kind() templates.Kind { return "waitlist_notification" }

type offerView struct {
	templates.Page
	Event, Position, Minutes string
	Link                     string // "" without one, or if its host is not allowed
}

// View implements [templates.Mail].
func (m WaitlistNotification) View(p templates.Page) (templates.View, error) {
	p.Tone = templates.Wait
	link := p.Link(m.BookingURL)
	return &offerView{p, p.EventName(m.EventName),
		templates.Position(m.Position), p.Count(m.ExpiryMinutes, "minute"), link}, nil
}

// offerMinutes is how long an offer stands if the producer does not say.
const offerMinutes = 30

func waitlistNotification() MailTask {
	return taskOf[WaitlistArgs](MailTask{
		Name:  NameWaitlistNotification,
		Title: "Waitlist: a spot is free",
		About: "Offers a spot to the next user of a waitlist.",
		Fields: []Field{
			{Key: "event_name", Label: "Event", Sample: "Nordic Jazz Night", Wide: true},
			{Key: "position", Label: "Position", Input: Number, Sample: "1"},
			{Key: "expiry_minutes", Label: "Minutes left", Input: Number, Sample: "30"},
			{Key: "waitlist_id", Label: "Waitlist entry", Sample: "WL-318", Unused: true, Wide: true},
			{Key: "booking_url", Label: "Booking link", Hint: "optional", Input: URL, Sample: "https://evently.com/book/4217?spot=c1f0", Wide: true},
		},
		read: func(d *dictionary) delivery {
			m := WaitlistNotification{
				EventName:     d.name("event_name", "Event"),
				Position:      d.count("position", 1),
				ExpiryMinutes: d.minutes("expiry_minutes", offerMinutes),
				BookingURL:    d.text("booking_url", "", ""),
			}
			return delivery{
				data:      m,
				sent:      Result{WaitlistPosition: d.echo("position", "1")},
				reference: d.reference("waitlist_id"),
				lifetime:  offerLifetime(m.ExpiryMinutes),
			}
		},
	})
}

// offerLifetime returns how long a mail with an offer is of use. A number below one is
// taken for no number, and the mail does not show it.
func offerLifetime(minutes int64) time.Duration {
	const most = 366 * 24 * 60 // the product does not overflow
	if minutes < 1 {
		minutes = offerMinutes
	}
	return time.Duration(min(minutes, most)) * time.Minute
}

// WaitlistCancellation confirms that the user left the line.
type WaitlistCancellation struct {
	EventName string
	Date      templates.When
}

// Kind implements [templates.Mail].
func (WaitlistCancellation) Kind() templates.Kind { return "waitlist_cancellation" }

// View implements [templates.Mail].
func (m WaitlistCancellation) View(p templates.Page) (templates.View, error) {
	p.Tone = templates.Calm
	return &eventView{p, p.EventName(m.EventName), templates.Facts(p.DateFact("Left on", m.Date))}, nil
}

func waitlistCancellation() MailTask {
	return taskOf[WaitlistArgs](MailTask{
		Name:     NameWaitlistCancellation,
		Title:    "Waitlist: left",
		About:    "Confirms that a user is off a waitlist.",
		Optional: true,
		Fields: []Field{
			{Key: "event_name", Label: "Event", Sample: "Nordic Jazz Night", Wide: true},
			{Key: "cancellation_date", Label: "Left on", Input: Date, Sample: "2026-11-23"},
			{Key: "waitlist_id", Label: "Waitlist entry", Sample: "WL-318", Unused: true},
		},
		read: func(d *dictionary) delivery {
			return delivery{
				data: WaitlistCancellation{
					EventName: d.name("event_name", "Event"),
					Date:      d.date("cancellation_date", d.today),
				},
				reference: d.reference("waitlist_id"),
			}
		},
	})
}
