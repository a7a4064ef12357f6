package letters_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/browser"
	"github.com/evently/workers/internal/testkit/pages"
	"github.com/evently/workers/monitor/pages/audit"
	"github.com/evently/workers/monitor/pages/gallery"
	"github.com/evently/workers/monitor/pages/letters"
	"github.com/evently/workers/monitor/pages/suppressions"
	"github.com/evently/workers/store/ledger"
	auditing "github.com/evently/workers/store/ledger/audit"
	store "github.com/evently/workers/store/ledger/suppressions"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/templates/folder"
)

// click clicks on a link or a button by its words.
const click = `(() => {
	const all = [...document.querySelectorAll('main a, main button')].filter(e => e.checkVisibility());
	const found = all.find(e => e.innerText.trim().startsWith(%q));
	if (!found) throw new Error('nothing says ' + %q);
	found.click();
})()`

// TestDeskInChromium looks at the pages of the desk, and of what stands beside it, in both colour
// schemes and widths, and does each action with scripts. The other tests do them without.
func TestDeskInChromium(t *testing.T) {
	db, sealer := pages.Ledger(t)
	tr, err := auditing.New(auditing.TrailConfig{Store: ledger.NewAudit(db, 30*time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	suppressed := store.New(store.Config{DB: db, Sealer: sealer})
	added, _, err := suppressed.Add(t.Context(), store.Addition{Address: "adalovelace@example.com", Note: "asked by phone " + pages.Hostile, By: "bob"})
	if err != nil {
		t.Fatal(err)
	}
	entry := auditing.Entry{ID: auditing.NewID(), Actor: "ada@host", Via: "command", From: pages.Hostile, Action: "dead-letters.retry", IDs: []string{"letter"}, Details: `{"note": "x"}`, Outcome: auditing.Started}
	if err := tr.Append(t.Context(), entry, entry.Ended(auditing.Done, "")); err != nil {
		t.Fatal(err)
	}
	set, err := tasks.NewTemplates(templates.Options{SiteURL: "https://evently.com", SupportAddress: "help@evently.com"})
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, func(c *letters.Config) { c.MayReveal = true })
	s := pages.Open(t, r.group, suppressions.New(suppressions.Config{Store: suppressed}), gallery.New(folder.Fixed(set)), audit.New(audit.Config{Trail: tr, Jobs: r.runner}))
	all := r.fill(t)
	tab := browser.Open(t, 4*time.Minute)

	do := func(words string) {
		t.Helper()
		browser.Step(t, tab, "click on "+words, chromedp.Evaluate[any](fmt.Sprintf(click+"; undefined", words, words)))
	}
	sees := func(words string) {
		t.Helper()
		browser.Until(t, tab, "see "+words, fmt.Sprintf(`document.querySelector('main')?.innerText.includes(%q)`, words))
	}
	set1 := func(selector, value string) {
		t.Helper()
		browser.Step(t, tab, "fill "+selector, chromedp.Evaluate[any](fmt.Sprintf(`document.querySelector(%q).value = %q; undefined`, selector, value)))
	}
	open := func(path string) {
		t.Helper()
		browser.Step(t, tab, "open "+path, chromedp.Navigate(s.URL+path))
	}

	// A letter that comes is on the open page, and a choice stays.
	open("/dead-letters")
	sees("550 5.1.1")
	browser.Step(t, tab, "choose", chromedp.Evaluate[any](`document.querySelectorAll('input[name=id]')[1].click(); undefined`))
	r.put(t, 20, "shop.later", `[]`, "unknown task later", 0)
	sees("shop.later")
	if n := browser.Step(t, tab, "count the chosen", chromedp.Evaluate[int64](`document.querySelectorAll('input[name=id]:checked').length`)); n != 1 {
		t.Errorf("%d letters are chosen", n)
	}
	do("Mark as dealt with…")
	sees("Mark as dealt with: 1 dead letter")
	set1("input[name=note]", "called "+pages.Hostile)
	do("Mark 1 letter")
	sees("1 of 1 done")
	sees("done")

	// One letter: an edited copy, with a fault beside its field first.
	open("/dead-letters/" + all[2])
	do("Edit a copy…")
	sees("user_id")
	set1(`input[name="f.user_id"]`, "x")
	do("Send the copy")
	sees("Must be a number such as 12")
	set1(`input[name="f.user_id"]`, "13")
	do("Send the copy")
	sees("The copy is in its queue")

	// The values, a retry, and the end of another letter.
	open("/dead-letters/" + all[0])
	do("Show the values")
	sees(canary)
	do("Retry")
	sees("It is back in its queue.")
	open("/dead-letters/" + all[4])
	do("Delete…")
	sees("cannot be had back")
	do("Delete")
	sees("It is deleted.")

	// A job goes on without its page, and is stopped.
	for i := range 120 {
		r.put(t, 300+i, tasks.Module+".send_booking_confirmation", fmt.Sprintf(`[%d, {"booking_id": "BK-%d"}]`, i+1, i), "mail refused: 554 5.7.1 at DATA", time.Hour)
	}
	testkit.Eventually(t, 30*time.Second, "the letters are counted", func() bool {
		return strings.Contains(r.Get(t, "/dead-letters/bulk?verb=retry&q=554"), "Retry: 120 dead letters")
	})
	open("/dead-letters/bulk?verb=retry&q=554")
	sees("Retry: 120 dead letters")
	set1("input[name=rate]", "1/s") // it must not end before it is stopped
	do("Retry 120 letters")
	sees("of 120 done")
	job := strings.TrimPrefix(browser.Step(t, tab, "where are we", chromedp.Location()), s.URL)
	open("/suppressions")
	sees("a***@example.com")
	open(job)
	browser.Until(t, tab, "progress without a reload", `document.querySelector('progress').value > 5`)
	do("Stop")
	sees("It was stopped")

	// Beside the desk.
	open("/suppressions/" + added.ID)
	set1("input[name=reason]", "new mailbox")
	do("Release")
	sees("Released. Mails to the address are sent again.")
	open("/templates/otp")
	browser.Until(t, tab, "the previews are there", `[...document.querySelectorAll('iframe')].length === 3`)
	if seen := browser.Step(t, tab, "look into a preview", chromedp.Evaluate[bool](`[...document.querySelectorAll('iframe')].some(f => f.contentDocument !== null)`)); seen {
		t.Error("the page can look into a mail, so the mail may look into the page")
	}
	open("/audit")
	do("Verify the whole trail")
	sees("The trail is whole.")

	// The site's own test looks at the pages that links lead to. These have states of their own.
	in := browser.Inspection{
		Base: s.URL, Widths: []int64{390},
		Paths: []string{"/dead-letters?state=all", "/dead-letters/" + all[3], "/dead-letters/bulk?verb=delete&q=554", job, "/templates/otp", "/audit/1"},
	}
	if in.Shots = os.Getenv("DESK_SCREENSHOTS"); in.Shots != "" {
		in.Widths = nil
		in.Paths = append(in.Paths, "/dead-letters", "/dead-letters/"+all[1], "/dead-letters/"+all[1]+"/edit", "/jobs", "/suppressions?state=all", "/suppressions/"+added.ID,
			"/suppressions/add", "/suppressions/import", "/templates", "/templates/booking_confirmation", "/audit")
	}
	browser.Inspect(t, tab, in)
}
