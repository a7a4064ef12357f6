package deadletters

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor/desk"
	"github.com/evently/workers/worker/broker"
)

// hostileLetters have texts that their senders chose.
func hostileLetters() []desk.Item {
	letter := func(id, queue, task, reason string) desk.Item {
		return desk.New(broker.DeadLetter{ID: id, Queue: queue, TaskName: task, Reason: reason, At: time.Now().Add(-3 * time.Hour)})
	}
	items := []desk.Item{
		letter("6f2b9a511d9c4a8ca0c33c3e5d0f1a11", "email_notifications", "email_workers.tasks.send_booking_confirmation", "recipient address refused: 550 5.1.1 at RCPT"),
		letter("6f2b9a512d9c4a8ca0c33c3e5d0f1a12", "email_notifications", strings.Repeat("x", 300), "unknown task"),
		letter("7f2b9a511d9c4a8ca0c33c3e5d0f1a13", "email_notifications", strings.Repeat("漢字", 150), strings.Repeat("理由", 150)),
		letter("8f2b9a511d9c4a8ca0c33c3e5d0f1a14", "email_notifications", "a\x1b[31m\u202eb\nc\t"+strings.Repeat("e\u0301", 90), "unknown task"),
		letter("9f2b9a511d9c4a8ca0c33c3e5d0f1a15", "email_notifications", "", "not-json"),
	}
	items[1].To, items[1].Booking = "a***@"+strings.Repeat("long.", 12)+"example", "B\x1b[2J"+strings.Repeat("7", 90)
	return items
}

// checkTable holds lines to the width of the terminal, and to printable characters.
func checkTable(t *testing.T, out string, most int) {
	t.Helper()
	if testing.Verbose() {
		t.Logf("%d columns:\n%s", most, out)
	}
	for row := range strings.SplitSeq(strings.TrimSuffix(out, "\n"), "\n") {
		if n := term.Cells(row); most > 0 && n > most {
			t.Errorf("a row has %d columns of %d: %s", n, most, row)
		}
		if strings.ContainsAny(row, "\x1b\t\u202e") {
			t.Errorf("a control character is in %q", row)
		}
	}
}

// A long name of one sender leaves the reasons of all readable, and no row is wider than
// the terminal.
func TestTableOfHostileLetters(t *testing.T) {
	for _, several := range []bool{false, true} {
		letters := hostileLetters()
		if several {
			letters[2].Queue = strings.Repeat("q", 300)
			letters[3].State = broker.LetterDealtWith
		}
		for _, most := range []int{0, 40, 60, 80, 100, 120, 150, 200} {
			out := table(letters, most)
			checkTable(t, out, most)
			rows, perLetter := strings.Split(strings.TrimSuffix(out, "\n"), "\n"), 1
			if most > 0 && most < oneLine {
				perLetter = 2
			}
			if len(rows) != len(letters)*perLetter+1 {
				t.Fatalf("%d columns: %d rows for %d letters:\n%s", most, len(rows), len(letters), out)
			}
			if strings.Count(out, "unknown task") != 2 {
				t.Errorf("%d columns: want both reasons:\n%s", most, out)
			}
			if (most == 0 || most >= wholeIDs) && !strings.Contains(out, letters[0].ID) {
				t.Errorf("%d columns: ids are cut:\n%s", most, out)
			}
			// A prefix has to tell the two ids apart that begin alike.
			if first, second := strings.Fields(rows[1])[0], strings.Fields(rows[1+perLetter])[0]; first == second {
				t.Errorf("%d columns: two letters have the id %s", most, first)
			}
		}
	}
}

// The causes of many letters are few rows, and fit any terminal.
func TestTableOfCauses(t *testing.T) {
	items := hostileLetters()
	for i := range 10_000 {
		it := desk.New(broker.DeadLetter{
			ID: fmt.Sprintf("%032x", i), TaskName: "send_booking_confirmation", At: time.Now().Add(-time.Duration(i) * time.Minute),
			Reason: fmt.Sprintf("mail refused: %d 5.7.1 at RCPT, queue id %032x, user%d@example.com", 550+i%3, i*7919, i),
		})
		it.Domain = fmt.Sprintf("d%d.example", i%40)
		items = append(items, it)
	}
	causes := group(items, false)
	if len(causes) != 8 || causes[0].Count < 3333 || causes[0].Advice == "" {
		t.Errorf("%d causes: %+v", len(causes), causes[0])
	}
	if n := len(group(items, true)); n != 5+3*40 {
		t.Errorf("%d causes by domain", n)
	}
	for _, most := range []int{0, 40, 80, 120} {
		out := causeTable(causes, most)
		checkTable(t, out, most)
		if !strings.Contains(out, "  → ") || !strings.Contains(out, "3334") {
			t.Errorf("%d columns:\n%s", most, out)
		}
	}
}
