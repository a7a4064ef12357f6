package deadletters

import (
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/worker/broker"
)

// hostileLetters have texts that their senders chose.
func hostileLetters() []broker.DeadLetter {
	letter := func(id, queue, task, reason string) broker.DeadLetter {
		return broker.DeadLetter{ID: id, Queue: queue, TaskName: task, Reason: reason, At: time.Now().Add(-3 * time.Hour)}
	}
	return []broker.DeadLetter{
		letter("6f2b9a511d9c4a8ca0c33c3e5d0f1a11", "email_notifications", "email_workers.tasks.send_booking_confirmation", "recipient address refused: 550 5.1.1 at RCPT"),
		letter("6f2b9a512d9c4a8ca0c33c3e5d0f1a12", "email_notifications", strings.Repeat("x", 300), "unknown task"),
		letter("7f2b9a511d9c4a8ca0c33c3e5d0f1a13", "email_notifications", strings.Repeat("漢字", 150), strings.Repeat("理由", 150)),
		letter("8f2b9a511d9c4a8ca0c33c3e5d0f1a14", "email_notifications", "a\x1b[31m\u202eb\nc\t"+strings.Repeat("e\u0301", 90), "unknown task"),
		letter("9f2b9a511d9c4a8ca0c33c3e5d0f1a15", "email_notifications", "", "not-json"),
	}
}

// A long name of one sender leaves the reasons of all readable, and no row is wider than
// the terminal.
func TestTableOfHostileLetters(t *testing.T) {
	for _, several := range []bool{false, true} {
		letters := hostileLetters()
		if several {
			letters[2].Queue = strings.Repeat("q", 300)
		}
		for _, most := range []int{0, 40, 60, 80, 100, 120, 200} {
			out := table(letters, most)
			if testing.Verbose() {
				t.Logf("%d columns:\n%s", most, out)
			}
			rows := strings.Split(strings.TrimSuffix(out, "\n"), "\n")
			if len(rows) != len(letters)+1 {
				t.Fatalf("%d columns: %d rows for %d letters:\n%s", most, len(rows), len(letters), out)
			}
			for _, row := range rows {
				if n := term.Cells(row); most > 0 && n > most {
					t.Errorf("a row has %d columns of %d: %s", n, most, row)
				}
				if strings.ContainsAny(row, "\x1b\t\u202e") {
					t.Errorf("a control character is in %q", row)
				}
			}
			want := "unknown task"
			if most == 40 {
				want = "unk"
			}
			if strings.Count(out, want) != 2 {
				t.Errorf("%d columns: want %q twice:\n%s", most, want, out)
			}
			if (most == 0 || most >= 120) && !strings.Contains(out, letters[0].ID) {
				t.Errorf("%d columns: ids are cut:\n%s", most, out)
			}
			// A prefix has to tell the two ids apart that begin alike.
			if first, second := strings.Fields(rows[1])[0], strings.Fields(rows[2])[0]; first == second {
				t.Errorf("%d columns: two letters have the id %s", most, first)
			}
		}
	}
}
