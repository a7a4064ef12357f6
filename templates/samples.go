package templates

import (
	"strings"
	"time"
)

// Samples returns mails of one kind for previews and checks: the first is an
// ordinary one, the second has nothing that may be missing, the third is long,
// and the others are hostile.
func Samples(k Kind) []Mail {
	hostile := []string{
		`<script>alert(1)</script><img src=x onerror=alert(1)>`,
		`"><a href="https://evil.example/">{{.Code}} %s %n` + "\r\nBcc: a@evil.example\r\n\r\n",
		"\u202eevil\u2066\u200b see https://evil.example/x or www.evil.example",
		strings.Repeat("M\u0308\U0001f469\u200d\U0001f469\u200d\U0001f467 ", 1500),
		"javascript:alert(1)",
	}
	long := "The Fourteenth International Symposium on Distributed Systems, Donaudampfschifffahrtselektrizitätenhauptbetriebswerk"
	price, _ := ParseMoney("59.90", "EUR")
	dear, _ := ParseMoney("123456789.95", "USD")
	at := WhenAt(time.Date(2026, 11, 23, 20, 15, 4, 0, time.UTC))
	on := WhenOn(at.t)

	var out []Mail
	switch k {
	case KindOTP:
		out = []Mail{
			OTP{"ann", "Ann Keller", "048213"},
			OTP{Code: "0"},
			OTP{"ann", "Wolfeschlegelsteinhausenbergerdorff-Featherstonehaugh Montgomery", "7KQ2-M9XD-44TL"},
		}
		for _, s := range hostile {
			out = append(out, OTP{s, s, "048213"})
		}
	case KindWelcome:
		out = []Mail{
			Welcome{"ann", "Ann Keller", "ann.keller@example.com"},
			Welcome{},
			Welcome{"wolfeschlegelsteinhausenbergerdorff", "Wolfeschlegelsteinhausenbergerdorff-Featherstonehaugh", "wolfeschlegelsteinhausenbergerdorff.featherstonehaugh@mail.department.example.com"},
		}
		for _, s := range hostile {
			out = append(out, Welcome{s, s, s})
		}
	case KindBookingConfirmation:
		out = []Mail{
			BookingConfirmation{"Nordic Jazz Night", "BK-2026-004217", 2, price, at},
			BookingConfirmation{},
			BookingConfirmation{long, "7f3c9b52-58c7-4e0e-9d6f-2a1b77c0e9d4", 1250, dear, on},
		}
		for _, s := range hostile {
			out = append(out, BookingConfirmation{s, s, -1, price, on})
		}
	case KindBookingCancellation:
		out = []Mail{
			BookingCancellation{"Nordic Jazz Night", "BK-2026-004217", "Event was rescheduled", price, at},
			BookingCancellation{},
			BookingCancellation{long, "7f3c9b52-58c7-4e0e-9d6f-2a1b77c0e9d4", "The venue had to be closed after the storm of last week, and no other hall of that size could be found in time.", dear, on},
		}
		for _, s := range hostile {
			out = append(out, BookingCancellation{s, s, s, price, on})
		}
	case KindWaitlistNotification:
		out = []Mail{
			WaitlistNotification{"Nordic Jazz Night", 1, 30, "https://evently.com/book/4217?spot=c1f0"},
			WaitlistNotification{},
			WaitlistNotification{long, 12345, 1440, "https://evently.com/events/the-fourteenth-international-symposium/book?utm_source=mail&spot=7f3c9b52-58c7-4e0e-9d6f-2a1b77c0e9d4"},
		}
		for _, s := range hostile {
			out = append(out, WaitlistNotification{s, -1, 0, s})
		}
	case KindWaitlistJoined:
		out = []Mail{
			WaitlistJoined{"Nordic Jazz Night", 3, on},
			WaitlistJoined{},
			WaitlistJoined{long, 12345, at},
		}
		for _, s := range hostile {
			out = append(out, WaitlistJoined{s, -1, on})
		}
	case KindWaitlistCancellation:
		out = []Mail{
			WaitlistCancellation{"Nordic Jazz Night", on},
			WaitlistCancellation{},
			WaitlistCancellation{long, at},
		}
		for _, s := range hostile {
			out = append(out, WaitlistCancellation{s, on})
		}
	}
	return out
}
