package tasks

import (
	"time"

	"github.com/evently/workers/worker/protocol"
)

// Result is the dictionary that a producer's AsyncResult.get() returns. What a
// task does not speak of is left out; the order of the fields is that of the
// keys. Raw values are the producer's own, in the form that they came with.
type Result struct {
	Success bool `json:"success"`
	// Error says in a few words why Success is false. It is made for the
	// producer: no address, no text of a mail server, no secret.
	Error            string       `json:"error,omitempty"`
	UserID           protocol.Raw `json:"user_id,omitempty"`
	Email            string       `json:"email,omitempty"`
	OTPSent          bool         `json:"otp_sent,omitempty"`
	WelcomeSent      bool         `json:"welcome_sent,omitempty"`
	BookingID        protocol.Raw `json:"booking_id,omitempty"`
	WaitlistPosition protocol.Raw `json:"waitlist_position,omitempty"`
	Position         protocol.Raw `json:"position,omitempty"`
	Timestamp        string       `json:"timestamp"`
}

// Health is the result of health_check.
type Health struct {
	Status       string `json:"status"` // "healthy" or "unhealthy"
	Service      string `json:"service"`
	ConfigLoaded bool   `json:"config_loaded"`
	Timestamp    string `json:"timestamp"`
	Error        string `json:"error,omitempty"` // why unhealthy
}

// timestamp writes t as Python's datetime.isoformat() does for a UTC time
// without zone; datetime.fromisoformat before Python 3.11 refuses a "Z". Six
// digits always: Python drops them when they are all zero, but reads both.
func timestamp(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05.000000")
}
