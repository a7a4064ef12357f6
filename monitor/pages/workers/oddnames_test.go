package workers_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/evently/workers/internal/testkit/browser"
)

// Links lead to the page of each queue, also of one whose name means something in a path.
func TestPagesOfOddNames(t *testing.T) {
	s := newStage(t)
	names := []string{"..", ".", "/", "a/b", "a?b=c", "a#b", "50%", "~x", "%2e%2e"}
	s.work("one@h", names...)
	s.until("all queues are seen", "/queues", ">..<", ">.<", ">/<", ">a/b<", ">a?b=c<", ">a#b<", ">50%<", ">~x<", ">%2e%2e<")
	tab := browser.Open(t, 3*time.Minute)
	browser.Resize(t, tab, 1280, "light")
	for _, name := range names {
		browser.Step(t, tab, "open /queues", chromedp.Navigate(s.base+"/queues"))
		browser.ClickOn(t, tab, "the link to "+name, fmt.Sprintf(`[...document.querySelectorAll('a.row')].find(a => a.textContent === %q)`, name))
		heading := fmt.Sprintf(`document.querySelector('h1') !== null && document.querySelector('h1').textContent.includes(%q)`, name)
		browser.Until(t, tab, "the page of "+name, heading+` && location.pathname !== '/queues'`)
		browser.Click(t, tab, `form[action$="/pause"] button`)
		browser.Until(t, tab, name+" is paused", heading+" && document.body.innerText.includes('The queue is paused.')")
		browser.Until(t, tab, "the page follows by itself", `[...document.querySelectorAll('.chip')].some(c => c.textContent === 'paused')`)
	}
	if len(s.audit.entries) != len(names) {
		t.Fatalf("%d entries of the audit trail", len(s.audit.entries))
	}
	for i, e := range s.audit.entries {
		if e.Action != "queue.pause" || len(e.Subjects) != 1 || e.Subjects[0] != names[i] {
			t.Errorf("audited %+v, want the pause of %s", e, names[i])
		}
	}
}
