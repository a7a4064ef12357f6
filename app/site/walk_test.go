package site_test

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/browser"
)

// mostClicks is the number of clicks that each question of an operator may need. Typing
// does not count.
const mostClicks = 3

// TestWalks does in a browser what operators and support come for. Each walk begins on the
// overview.
func TestWalks(t *testing.T) {
	w := startWorld(t, map[string]string{"RETRY_DELAY": "900"})
	w.fill(t)
	w.settle(t)
	tab := browser.Open(t, 10*time.Minute)
	if err := chromedp.Do(tab, chromedp.EmulateViewport(1280, 900)); err != nil {
		t.Fatal(err)
	}
	// One world for all, and the walks are in an order: the later ones find what the earlier
	// ones did.
	for _, walk := range []struct {
		name string
		do   func(*walker)
	}{
		{"a user asks whether the mail was sent", func(w *walker) {
			w.ask("ada@mail.example")
			w.sees("Yes.", "accepted", "For support")
		}},
		{"support has the id of a booking, and wants to see the mail", func(w *walker) {
			w.ask("BK-17")
			w.sees("accepted", "The mail")
			w.click("Open the delivery")
			w.sees("Timeline", "Preview")
			w.click("Text")
			w.sees("Thank you for booking", "BK-17")
		}},
		{"a mail did not arrive, and support asks why", func(w *walker) {
			w.ask("refused@mail.example")
			w.sees("550 5.1.1")
			w.click("Open the delivery")
			w.sees("Timeline", "RCPT")
		}},
		{"a mail is late", func(w *walker) {
			w.ask("BK-18")
			w.sees("451 4.7.1")
			w.click("Open the task")
			w.sees("retry")
		}},
		{"dead letters grow, and the operator asks for the cause", func(w *walker) {
			w.menu("Dead letters", "/dead-letters")
			w.sees("By cause", "recipient address refused", "correct the address")
			w.click("recipient address refused: 550 5.1.1 at RCPT")
			w.sees("r***@mail.example")
			w.not("no_such_task")
		}},
		{"the address in a mail was mistyped", func(w *walker) {
			w.menu("Dead letters", "/dead-letters")
			w.clickIn("form[action='/dead-letters/bulk'] tbody", "welcome")
			w.click("Edit a copy…")
			w.fill("#i-email", "found@mail.example")
			w.press(kb.Enter)
			w.history("found@mail.example", "Yes. The mail server")
		}},
		{"the relay is mended, and its dead letters are tried again", func(w *walker) {
			w.world.relay.mended.Store(true)
			w.world.send(w.t, "again", "no_such_task", queued, 2)
			w.menu("Dead letters", "/dead-letters")
			w.click("Retry…")
			w.sees("Rate")
			w.clickIn(".confirm", "Retry")
			w.sees("100 %")
		}},
		{"a queue must rest while a provider is down", func(w *walker) {
			w.menu("Queues", "/queues")
			w.click("email_notifications")
			w.click("Pause")
			w.sees("Paused")
			w.world.send(w.t, "paused", "send_welcome_email", queued, map[string]any{"email": "rest@mail.example"})
		}},
		{"the queue may go on", func(w *walker) {
			w.menu("Queues", "/queues")
			w.click("email_notifications")
			w.click("Resume")
			w.not("Paused by")
			w.delivered("paused")
		}},
		{"a mail that waits for its time is needed now", func(w *walker) {
			w.menu("Scheduled", "/scheduled")
			w.clickIn("tr:has([href*='"+w.world.ids["scheduled"]+"'])", "Run now")
			w.delivered("scheduled")
		}},
		{"a worker is taken out for maintenance", func(w *walker) {
			w.menu("Workers", "/workers")
			w.click("email-worker@")
			w.click("Drain")
			w.sees("It consumed email_notifications")
		}},
		{"who did that?", func(w *walker) {
			w.menu("Audit", "/audit")
			w.sees("who did what")
			w.reloads("worker.drain", "schedule.run_now", "queue.pause", "dead-letters.edit")
		}},
		{"how does the mail of a booking look?", func(w *walker) {
			w.menu("Templates", "/templates")
			w.click("Booking confirmed")
			w.sees("Text part", "Checks")
		}},
		{"what should I look at?", func(w *walker) {
			w.sees("Dead letters grow")
			w.clickIn("li:has(a[href^='/dead-letters'] b)", "warning")
			w.sees("By cause")
		}},
		{"mails wait, and no worker takes them", func(w *walker) {
			w.world.send(w.t, "stuck", "send_welcome_email", queued, map[string]any{"email": "stuck@mail.example"})
			w.sees("No worker consumes the queue email_notifications")
			w.clickIn("li:has(a[href^='/queues/'] b)", "urgent")
			w.sees("Waiting", "Consumers")
		}},
		{"the worker may work again", func(w *walker) {
			w.menu("Workers", "/workers")
			w.click("email-worker@")
			w.click("Resume")
			w.delivered("stuck")
		}},
	} {
		t.Run(walk.name, func(t *testing.T) {
			w := &walker{t: t, tab: tab, world: w}
			w.open("/")
			walk.do(w)
			t.Logf("%d clicks", w.clicks)
			if w.clicks > mostClicks {
				t.Errorf("%d clicks, want at most %d", w.clicks, mostClicks)
			}
		})
	}
}

// walker is an operator in a browser.
type walker struct {
	t      *testing.T
	tab    context.Context
	world  *world
	clicks int
}

// patience is how long a walker waits for what must appear.
const patience = time.Minute

func (w *walker) open(path string) {
	w.t.Helper()
	// A page that still loads aborts this.
	if !testkit.Poll(patience, func() bool {
		ctx, cancel := context.WithTimeout(w.tab, patience)
		defer cancel()
		return chromedp.Do(ctx, chromedp.Navigate(w.world.base+path)) == nil
	}) {
		w.t.Fatalf("%s cannot be opened", path)
	}
}

// text returns the text of the page.
func (w *walker) text() string { return browser.Text(w.tab) }

// sees waits until the page has all the words.
func (w *walker) sees(words ...string) {
	w.t.Helper()
	for _, word := range words {
		if !testkit.Poll(patience, func() bool { return strings.Contains(strings.ToLower(w.text()), strings.ToLower(word)) }) {
			w.t.Fatalf("the page has no %q:\n%s", word, w.text())
		}
	}
}

// reloads opens the same page again until it has all the words.
func (w *walker) reloads(words ...string) {
	w.t.Helper()
	if !testkit.Poll(patience, func() bool {
		ctx, cancel := context.WithTimeout(w.tab, patience)
		defer cancel()
		_ = chromedp.Do(ctx, chromedp.Reload())
		text := w.text()
		return !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(text, word) })
	}) {
		w.t.Fatalf("the page does not have all of %q:\n%s", words, w.text())
	}
}

// not waits until the page has no such word.
func (w *walker) not(word string) {
	w.t.Helper()
	if !testkit.Poll(patience, func() bool { return !strings.Contains(w.text(), word) }) {
		w.t.Fatalf("the page has %q:\n%s", word, w.text())
	}
}

// click clicks on the first visible link or button whose text begins with words.
func (w *walker) click(words string) { w.t.Helper(); w.clickIn("body", words) }

// menu clicks on a link of the menu, and waits for its page: the one before may have the next thing
// to click on, too.
func (w *walker) menu(words, path string) {
	w.t.Helper()
	w.click(words)
	var at string
	if !testkit.Poll(patience, func() bool {
		ctx, cancel := context.WithTimeout(w.tab, patience)
		defer cancel()
		at, _ = chromedp.Run(ctx, chromedp.Evaluate[string](`document.readyState === 'complete' ? location.pathname + location.search : ''`))
		return at == path
	}) {
		w.t.Fatalf("%s leads to %q, want %s", words, at, path)
	}
}

// clickIn does so within the first element of a selector.
func (w *walker) clickIn(selector, words string) {
	w.t.Helper()
	w.clicks++
	browser.ClickOn(w.t, w.tab, words, fmt.Sprintf(`[...(document.querySelector(%q)?.querySelectorAll('a, button') ?? [])]
		.find(e => e.checkVisibility() && e.innerText.trim().startsWith(%q))`, selector, words))
}

// ask types into the box that each page has.
func (w *walker) ask(question string) {
	w.t.Helper()
	w.fill("#ask", question)
	w.press(kb.Enter)
	w.sees("Was it sent?")
}

// fill replaces the value of a field, which then has the focus.
func (w *walker) fill(selector, value string) {
	w.t.Helper()
	browser.Fill(w.t, w.tab, selector, value)
}

// press presses a key.
func (w *walker) press(key string) {
	w.t.Helper()
	browser.Step(w.t, w.tab, "press a key", chromedp.KeyEvent(key))
}

// delivered waits until the mail of a task of the world was accepted.
func (w *walker) delivered(name string) {
	w.t.Helper()
	w.history(w.world.ids[name], "Yes. The mail server")
}

// history waits until the answer to a question has a word. It looks beside the browser.
func (w *walker) history(question, word string) {
	w.t.Helper()
	var body string
	if !testkit.Poll(patience, func() bool {
		_, body = get(w.t, w.world.base+"/was-it-sent?q="+url.QueryEscape(question))
		return strings.Contains(body, word)
	}) {
		w.t.Fatalf("the answer about %s has no %q:\n%s", question, word, body)
	}
}
