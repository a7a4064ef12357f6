// Package events makes mails of the events that the platform publishes with PUBLISH. An event
// becomes a task of package tasks, with an id that follows from what it is about, so that retries,
// limits, dead letters and the history are those of all mails.
package events

import (
	"fmt"
	"slices"
	"strings"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
)

// prefix is the beginning of the names of all channels. Key prefixes are of no concern to them.
const prefix = "evently:"

// Channel is a channel of the platform whose events can become mails.
type Channel struct {
	Name string         // such as evently:bookings:confirmed
	Task string         // the task of the mail, without its module
	Kind templates.Kind // of the mail

	typ  string                    // of its events
	id   string                    // key of the id of the booking or waitlist entry
	data string                    // key of the object with the data
	mail func(d object) (m object) // makes the data of the task
}

// Channels returns the channels whose events can become mails. The others have no mail, or name no
// recipient.
func Channels() []Channel {
	booking := func(c Channel) Channel {
		c.id, c.data = "booking_id", "booking_data"
		return c
	}
	waitlist := func(c Channel) Channel {
		c.id, c.data = "waitlist_entry_id", "waitlist_data"
		return c
	}
	return []Channel{
		booking(Channel{Name: prefix + "bookings:confirmed", typ: "BookingConfirmed", Task: tasks.NameBookingConfirmation, Kind: tasks.BookingConfirmation{}.Kind(), mail: confirmation}),
		booking(Channel{Name: prefix + "bookings:cancelled", typ: "BookingCancelled", Task: tasks.NameBookingCancellation, Kind: tasks.BookingCancellation{}.Kind(), mail: cancellation}),
		waitlist(Channel{Name: prefix + "bookings:waitlist_joined", typ: "WaitlistJoined", Task: tasks.NameWaitlistJoined, Kind: tasks.WaitlistJoined{}.Kind(), mail: waitlistJoined}),
		waitlist(Channel{Name: prefix + "bookings:waitlist_cancelled", typ: "WaitlistCancelled", Task: tasks.NameWaitlistCancellation, Kind: tasks.WaitlistCancellation{}.Kind(), mail: waitlistCancelled}),
	}
}

// Channels of the names of events. They are heard if any other is.
const (
	eventCreated = prefix + "events:created"
	eventUpdated = prefix + "events:updated"
	eventDeleted = prefix + "events:deleted"
)

// nameTypes are the types of the events of these channels.
var nameTypes = map[string]string{eventCreated: "EventCreated", eventUpdated: "EventUpdated", eventDeleted: "EventDeleted"}

// withoutMail are the other channels of the platform, and why their events become no mails.
var withoutMail = map[string]string{
	prefix + "bookings:created":                       "there is no mail for it",
	prefix + "bookings:expired":                       "there is no mail for it",
	prefix + "bookings:payment_completed":             "there is no mail for it",
	prefix + "bookings:waitlist_notifications_sent":   "its events name no user, so the mail needs its task",
	prefix + "bookings:waitlist_availability_updated": "its events name no user, and there is no mail for it",
	eventCreated: "it is heard for the names of events as soon as another channel is named, and there is no mail for it",
	eventUpdated: "it is heard for the names of events as soon as another channel is named, and there is no mail for it",
	eventDeleted: "it is heard for the names of events as soon as another channel is named, and there is no mail for it",
}

// NameError says that a name is not that of a channel whose events can become mails.
type NameError struct{ Name, Reason string }

func (e *NameError) Error() string { return fmt.Sprintf("%q: %s", e.Name, e.Reason) }

// ParseChannels returns the channels of these names, which may leave out "evently:". Its errors
// are NameErrors.
func ParseChannels(names []string) (chosen []Channel, errs []*NameError) {
	all := Channels()
	for _, name := range names {
		full := name
		if !strings.HasPrefix(name, prefix) {
			full = prefix + name
		}
		i := slices.IndexFunc(all, func(c Channel) bool { return c.Name == full })
		reason, known := withoutMail[full]
		switch {
		case i < 0 && known:
			errs = append(errs, &NameError{name, reason})
		case i < 0 && strings.ContainsAny(name, "*?[]"):
			errs = append(errs, &NameError{name, "is a pattern, and only names are read"})
		case i < 0:
			errs = append(errs, &NameError{name, "is no channel of the platform"})
		case slices.ContainsFunc(chosen, func(c Channel) bool { return c.Name == full }):
			errs = append(errs, &NameError{name, "is there twice"})
		default:
			chosen = append(chosen, all[i])
		}
	}
	return chosen, errs
}

// Names returns the names of channels.
func Names(channels []Channel) (names []string) {
	for _, c := range channels {
		names = append(names, c.Name)
	}
	return names
}

// Kinds returns the kinds of the mails of channels.
func Kinds(channels []Channel) (kinds []templates.Kind) {
	for _, c := range channels {
		kinds = append(kinds, c.Kind)
	}
	return kinds
}
