package verdict_test

import (
	"testing"
	"time"

	"github.com/evently/workers/mail/internal/verdict"
)

func TestDelay(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct {
		after      time.Duration
		greylisted bool
	}{
		"4.7.0 Try again in 10 minutes":                           {10 * time.Minute, false},
		"too many connections, wait 300 seconds":                  {300 * time.Second, false},
		"Please retry after at least 90 secs.":                    {90 * time.Second, false},
		"Service closing, back in about 2 hours":                  {time.Hour, false}, // no longer than that
		"limit of 100 mails per 60 minutes; retry in 5 min":       {5 * time.Minute, false},
		"4.7.1 Greylisted, see http://postgrey.example/help":      {0, true},
		"4.7.1 <a@b.example>: Recipient address: Graylisted":      {0, true},
		"4.7.1 Grey-listing in action":                            {0, true},
		"Greylisting in action, please come back in 00:04:59":     {4*time.Minute + 59*time.Second, true},
		"4.7.1 Greylisted for 5 minutes":                          {5 * time.Minute, true},
		"4.2.1 mailbox busy":                                      {0, false},
		"4.3.0 queue file write error at 12:30:45, id 300 second": {0, false},
		"4.7.0 25 messages in 1 session":                          {0, false},
		"":                                                        {0, false},
	} {
		if after, greylisted := verdict.Delay(text); after != want.after || greylisted != want.greylisted {
			t.Errorf("%q: %v, greylisted %v; want %v, %v", text, after, greylisted, want.after, want.greylisted)
		}
	}
}
