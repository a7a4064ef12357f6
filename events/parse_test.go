package events_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/events"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/worker/protocol"
)

// Events as the platform publishes them.
const (
	confirmed = `{"type": "BookingConfirmed", "booking_id": 17, "event_id": 5, "user_id": 42, "booking_data": {"id": 17, "event_id": 5, "user_id": 42,
		"booking_reference": "BK-17", "quantity": 2, "total_amount": 59.9, "currency": "EUR", "status": "confirmed", "payment_status": "completed",
		"created_at": "2026-11-23T20:15:04", "expires_at": null, "confirmed_at": "2026-11-23T20:16:00"}}`
	cancelled = `{"type": "BookingCancelled", "booking_id": "17", "event_id": 5, "user_id": "42", "booking_data": {"id": 17, "event_id": 5, "user_id": 42,
		"booking_reference": "BK-17", "quantity": 2, "total_amount": "59.90", "currency": "EUR", "cancelled_at": "2026-11-24T08:00:00", "cancellation_reason": "Rain"}}`
	joined = `{"type": "WaitlistJoined", "waitlist_entry_id": 318, "event_id": 5, "user_id": 42, "waitlist_data": {"id": 318, "event_id": 5, "user_id": 42,
		"quantity": 1, "priority": 7, "status": "waiting", "joined_at": "2026-11-23T20:15:04", "created_at": "2026-11-23T20:15:04"}}`
	left = `{"type": "WaitlistCancelled", "waitlist_entry_id": 318, "event_id": 5, "user_id": 42, "waitlist_data": {"id": 318, "event_id": 5, "user_id": 42,
		"cancelled_at": null, "updated_at": "2026-11-25T00:00:00"}}`
)

var recorded = map[string]string{"bookings:confirmed": confirmed, "bookings:cancelled": cancelled, "bookings:waitlist_joined": joined, "bookings:waitlist_cancelled": left}

func channel(t testing.TB, name string) events.Channel {
	t.Helper()
	c, errs := events.ParseChannels([]string{name})
	if len(errs) > 0 {
		t.Fatal(errs[0])
	}
	return c[0]
}

// Each event becomes the data of its task. The mail leaves out the facts that an event lacks.
func TestParse(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"bookings:confirmed":          `{"booking_id":17,"booking_reference":"BK-17","booking_date":"2026-11-23T20:15:04","currency":"EUR","quantity":2,"total_price":59.9}`,
		"bookings:cancelled":          `{"booking_id":17,"booking_reference":"BK-17","cancellation_date":"2026-11-24T08:00:00","reason":"Rain","refund_amount":"unstated"}`,
		"bookings:waitlist_joined":    `{"waitlist_id":318,"joined_date":"2026-11-23T20:15:04","position":0}`,
		"bookings:waitlist_cancelled": `{"waitlist_id":318,"cancellation_date":"2026-11-25T00:00:00"}`,
	} {
		c := channel(t, name)
		m, err := c.Parse([]byte(recorded[name]))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got, wanted map[string]any
		if err := errors.Join(json.Unmarshal(must(json.Marshal(m.Data)), &got), json.Unmarshal([]byte(want), &wanted)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(wanted, got); diff != "" || string(m.UserID) != "42" || m.EventID != "5" || len(m.ID) != 36 {
			t.Errorf("%s: user %s, event %s, id %s (-want +got):\n%s", name, m.UserID, m.EventID, m.ID, diff)
		}
		again, err := c.Parse([]byte(strings.ReplaceAll(strings.ReplaceAll(recorded[name], `: 17`, `: "17"`), `: 318`, `: " 318"`)))
		if err != nil || again.ID != m.ID {
			t.Errorf("%s: the id is %s, %v, with a text; want %s", name, again.ID, err, m.ID)
		}
	}
	least := channel(t, "bookings:confirmed")
	m, err := least.Parse([]byte(`{"type": "BookingConfirmed", "booking_data": {"id": "a", "user_id": 1, "quantity": [], "total_amount": {}}}`))
	if err != nil || string(m.Data["quantity"]) != "0" || string(m.Data["total_price"]) != `"`+tasks.Unstated+`"` || string(m.Data["booking_id"]) != `"a"` || m.EventID != "" {
		t.Errorf("least: %s, %v", m.Data, err)
	}
}

// Python writes NaN and Infinity, which JSON lacks. They count as missing, and texts stay.
func TestParseNaN(t *testing.T) {
	t.Parallel()
	c := channel(t, "bookings:confirmed")
	for _, word := range []string{"NaN", "Infinity", "-Infinity"} {
		m, err := c.Parse([]byte(strings.NewReplacer("59.9", word, "BK-17", `BK \"`+word).Replace(confirmed)))
		if err != nil || string(m.Data["total_price"]) != `"`+tasks.Unstated+`"` || string(m.Data["booking_reference"]) != `"BK \"`+word+`"` {
			t.Errorf("%s: %s, %v", word, m.Data, err)
		}
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// hostile are events that are refused.
var hostile = map[string]struct {
	raw    string
	reason events.Reason
	field  string
}{
	"empty":             {"", events.NotJSON, ""},
	"text":              {"hello", events.NotJSON, ""},
	"null":              {"null", events.NotJSON, ""},
	"list":              {"[]", events.NotJSON, ""},
	"number":            {"17", events.NotJSON, ""},
	"half":              {confirmed[:100], events.NotJSON, ""},
	"two":               {confirmed + confirmed, events.NotJSON, ""},
	"NUL":               {"\x00", events.NotJSON, ""},
	"not UTF-8":         {"{\"type\": \"\xff\"}", events.NotJSON, ""},
	"NaN inside":        {strings.Replace(confirmed, "59.9", "1NaN", 1), events.NotJSON, ""},
	"id NaN":            {strings.NewReplacer(`"booking_id": 17`, `"booking_id": NaN`, `"id": 17`, `"id": -Infinity`).Replace(confirmed), events.MissingField, "booking_id"},
	"id a surrogate":    {`{"type": "BookingConfirmed", "booking_id": "\ud800", "user_id": 1, "booking_data": {}}`, events.BadField, "booking_id"},
	"id with CRLF":      {`{"type": "BookingConfirmed", "booking_id": "a\r\nb", "user_id": 1, "booking_data": {}}`, events.BadField, "booking_id"},
	"user an address":   {`{"type": "BookingConfirmed", "booking_id": 1, "user_id": "a@example.com\r\nBcc: b@example.com", "booking_data": {}}`, events.BadField, "user_id"},
	"two users by case": {`{"type": "BookingConfirmed", "booking_id": 1, "user_id": 1, "user_id": 2, "booking_data": {"user_id": 1}}`, events.Contradicts, "user_id"},
	"large":             {strings.Replace(confirmed, "BK-17", strings.Repeat("x", events.MaxSize), 1), events.TooLarge, ""},
	"deep":              {strings.Repeat("[", 5000) + strings.Repeat("]", 5000), events.TooDeep, ""},
	"deep inside":       {strings.Replace(confirmed, "59.9", strings.Repeat(`{"a":`, 30)+"1"+strings.Repeat("}", 30), 1), events.TooDeep, ""},
	"no type":           {`{"booking_id": 1}`, events.MissingField, "type"},
	"other type":        {strings.Replace(confirmed, "BookingConfirmed", "BookingCreated", 1), events.WrongType, ""},
	"type a list":       {strings.Replace(confirmed, `"BookingConfirmed"`, `["BookingConfirmed"]`, 1), events.WrongType, ""},
	"no data":           {`{"type": "BookingConfirmed", "booking_id": 1, "user_id": 1}`, events.MissingField, "booking_data"},
	"data null":         {`{"type": "BookingConfirmed", "booking_id": 1, "user_id": 1, "booking_data": null}`, events.MissingField, "booking_data"},
	"data a text":       {`{"type": "BookingConfirmed", "booking_id": 1, "user_id": 1, "booking_data": "x"}`, events.BadField, "booking_data"},
	"no id":             {`{"type": "BookingConfirmed", "user_id": 1, "booking_data": {}}`, events.MissingField, "booking_id"},
	"no user":           {`{"type": "BookingConfirmed", "booking_id": 1, "booking_data": {}}`, events.MissingField, "user_id"},
	"id a list":         {`{"type": "BookingConfirmed", "booking_id": [1], "user_id": 1, "booking_data": {}}`, events.BadField, "booking_id"},
	"id empty":          {`{"type": "BookingConfirmed", "booking_id": " ", "user_id": 1, "booking_data": {}}`, events.BadField, "booking_id"},
	"id with NUL":       {`{"type": "BookingConfirmed", "booking_id": "a\u0000b", "user_id": 1, "booking_data": {}}`, events.BadField, "booking_id"},
	"id a half":         {`{"type": "BookingConfirmed", "booking_id": 1.5, "user_id": 1, "booking_data": {}}`, events.BadField, "booking_id"},
	"id long":           {`{"type": "BookingConfirmed", "booking_id": "` + strings.Repeat("9", 300) + `", "user_id": 1, "booking_data": {}}`, events.BadField, "booking_id"},
	"id true":           {`{"type": "BookingConfirmed", "booking_id": true, "user_id": 1, "booking_data": {}}`, events.BadField, "booking_id"},
	"user a text":       {`{"type": "BookingConfirmed", "booking_id": 1, "user_id": "ann", "booking_data": {}}`, events.BadField, "user_id"},
	"user negative":     {`{"type": "BookingConfirmed", "booking_id": 1, "user_id": -1, "booking_data": {}}`, events.BadField, "user_id"},
	"user an object":    {`{"type": "BookingConfirmed", "booking_id": 1, "user_id": {"id": 1}, "booking_data": {}}`, events.BadField, "user_id"},
	"two ids":           {strings.Replace(confirmed, `"id": 17`, `"id": 18`, 1), events.Contradicts, "booking_id"},
	"two users":         {strings.Replace(confirmed, `"user_id": 42, "booking_data"`, `"user_id": 43, "booking_data"`, 1), events.Contradicts, "user_id"},
	"two events":        {strings.Replace(confirmed, `"booking_id": 17, "event_id": 5`, `"booking_id": 17, "event_id": 6`, 1), events.Contradicts, "event_id"},
	"name of other key": {strings.Replace(confirmed, `"type"`, `"TYPE"`, 1), events.MissingField, "type"},
}

func TestParseHostile(t *testing.T) {
	t.Parallel()
	c := channel(t, "bookings:confirmed")
	for name, test := range hostile {
		m, err := c.Parse([]byte(test.raw))
		e, ok := errors.AsType[*events.ParseError](err)
		if !ok || e.Reason != test.reason || e.Field != test.field {
			t.Errorf("%s: %v, %v; want %s %s", name, m, err, test.reason, test.field)
		}
	}
}

// Any event is refused, or becomes data that its task can read.
func FuzzParse(f *testing.F) {
	all := events.Channels()
	for i, c := range all {
		f.Add(i, []byte(recorded[strings.TrimPrefix(c.Name, "evently:")]))
	}
	for _, test := range hostile {
		f.Add(0, []byte(test.raw))
	}
	f.Fuzz(func(t *testing.T, n int, raw []byte) {
		c := all[(n%len(all)+len(all))%len(all)]
		m, err := c.Parse(raw)
		if e, ok := errors.AsType[*events.ParseError](err); ok {
			for _, secret := range []string{string(raw)} {
				if len(secret) > 40 && strings.Contains(e.Error(), secret) {
					t.Errorf("the error has the event in it: %v", e)
				}
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		if again, err := c.Parse(raw); err != nil || again.ID != m.ID {
			t.Errorf("again: %v, %v", again, err)
		}
		var user int64
		if err := json.Unmarshal(m.UserID, &user); err != nil || user <= 0 {
			t.Errorf("user %s, %v", m.UserID, err)
		}
		for key, value := range m.Data {
			if fmt.Sprint(value) == "[]" || !json.Valid(value) || value[0] == '{' || value[0] == '[' {
				t.Errorf("%s is %s", key, value)
			}
			if _, err := protocol.Marshal(protocol.Raw(value)); err != nil {
				t.Errorf("%s: %v", key, err)
			}
		}
	})
}

// Names of channels may be short. Others are refused, with the reason.
func TestParseChannels(t *testing.T) {
	t.Parallel()
	got, errs := events.ParseChannels([]string{"bookings:cancelled", "evently:bookings:waitlist_joined"})
	if diff := cmp.Diff([]string{"evently:bookings:cancelled", "evently:bookings:waitlist_joined"}, events.Names(got)); diff != "" || len(errs) > 0 {
		t.Errorf("%v (-want +got):\n%s", errs, diff)
	}
	for name, reason := range map[string]string{"evently:bookings:created": "there is no mail", "bookings:waitlist_notifications_sent": "no user",
		"evently:events:created": "names of events", "payments": "no channel", "Bookings:Confirmed": "no channel", "*": "a pattern", "bookings:*": "a pattern", "": "no channel"} {
		if got, errs := events.ParseChannels([]string{name}); len(got) > 0 || len(errs) != 1 || !strings.Contains(errs[0].Error(), reason) {
			t.Errorf("%s: %v, %v", name, got, errs)
		}
	}
	if got, errs := events.ParseChannels([]string{"bookings:cancelled", "evently:bookings:cancelled"}); len(got) != 1 || len(errs) != 1 {
		t.Errorf("twice: %v, %v", got, errs)
	}
}
