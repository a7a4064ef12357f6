package tasks

import (
	"time"

	"github.com/evently/workers/worker/protocol"
)

// Result is the dictionary that a producer's AsyncResult.get() returns. Keys that do not
// concern a task are left out. The fields have the order of the keys. Raw values are copies
// of the producer's values.
type Result struct {
	Success bool `json:"success"`
	// Error says in a few words why Success is false. It is for the producer, without
	// addresses, texts of a mail server, or secrets.
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

// timestamp writes t as Python's datetime.isoformat() does for a UTC time without zone,
// because datetime.fromisoformat before Python 3.11 refuses a "Z". It always writes six
// digits: Python drops them if they are all zero, but reads both forms.
func timestamp(t time.Time) string {
	return t.UTC().Format("2006-01-02T15:04:05.000000")
}
