package e2e_test

import (
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
)

// TestIDUsedTwice has a producer that names its tasks by the booking: the confirmation
// and the cancellation have one id. Both are mailed, as two mails, also when the worker
// died over the second. A confirmation that is delivered again is not.
func TestIDUsedTwice(t *testing.T) {
	t.Parallel()
	p := startPlatform(t)
	p.addUser(t, 1, "ann@mail.example", true)
	service := p.startService(t)
	push := func(id, task, args string, redelivered bool) {
		body := base64.StdEncoding.EncodeToString([]byte(`[` + args + `, {}, {}]`))
		p.redis.do("LPUSH", queue, fmt.Sprintf(`{"body": %q, "content-encoding": "utf-8", "content-type": "application/json", "headers": {"lang": "py", "task": %q, `+
			`"id": %q, "redelivered": %[4]v}, "properties": {"correlation_id": %[3]q, "delivery_info": {"exchange": "", "routing_key": %[5]q, "redelivered": %[4]v}, `+
			`"body_encoding": "base64", "delivery_tag": %[6]q}}`, body, prefix+task, id, redelivered, queue, uuid.NewString()))
	}
	mails := func(n int) {
		t.Helper()
		eventually(t, time.Minute, fmt.Sprintf("%d mails", n), func() bool { return len(p.sink.all("")) >= n })
		p.redis.settled(queue)
		if got := len(p.sink.all("")); got != n {
			t.Fatalf("%d mails, want %d", got, n)
		}
	}
	const booking, cancellation = `[1, {"event_name": "Jazz", "booking_id": 7}]`, `[1, {"event_name": "Jazz", "booking_id": 7, "reason": "Rain"}]`
	push("booking-7", "send_booking_confirmation", booking, false)
	mails(1)
	push("booking-7", "send_booking_cancellation", cancellation, true)
	mails(2)
	push("booking-7", "send_booking_confirmation", booking, true)
	push("booking-7", "send_booking_confirmation", `[ 1,{"booking_id":7,"event_name":"Jazz"} ]`, true)
	// Codes: the same id and address, another code.
	const otp = `[{"email": "ann@mail.example", "otp": "%s", "timestamp": null, "user_data": {}}]`
	push("otp:ann", "send_otp_verification_email", fmt.Sprintf(otp, "915273"), false)
	mails(3)
	push("otp:ann", "send_otp_verification_email", fmt.Sprintf(otp, "604418"), true)
	mails(4)
	// Ids that Python takes.
	long := strings.Repeat("x", 5000)
	push(long, "send_booking_confirmation", booking, false)
	mails(5)
	if got := p.redis.results([]string{long})[long]; got.Status != "SUCCESS" {
		t.Errorf("the result of a long id is %s", got.Status)
	}
	ids := map[string]bool{}
	for _, l := range p.sink.all("") {
		ids[l.read(t).messageID] = true
	}
	if len(ids) != 5 {
		t.Errorf("%d Message-IDs of 5 mails: %v", len(ids), ids)
	}
	checkSecrets(t, p, service, []string{"915273", "604418"})
}
