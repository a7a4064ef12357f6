package tasks_test

import (
	"flag"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"github.com/evently/workers/internal/testkit/browser"
	"github.com/evently/workers/monitor/pages/internal/pagestest"
)

var shots = flag.String("shots", os.Getenv("MONITOR_SHOTS"), "folder for a PNG of each page (default $MONITOR_SHOTS)")

// The pages of tasks and of mails are looked at, and an operator does each action: with
// JavaScript, and without.
func TestPagesInChromium(t *testing.T) {
	t.Parallel()
	f := newSite(t, nil)
	tab := browser.Open(t, 5*time.Minute)
	hostile := url.PathEscape("task-" + pagestest.Hostile)
	browser.Inspect(t, tab, browser.Inspection{Base: f.URL, Shots: *shots, Paths: []string{
		"/tasks", "/tasks/task-deferred", "/tasks/task-dead", "/tasks/waiting-1/revoke", "/tasks/" + hostile,
		"/was-it-sent?q=ada%40example.com", "/was-it-sent?q=2", "/deliveries", "/deliveries/task-deferred?look=dark", "/deliveries/task-deferred?tab=headers", "/deliveries/" + hostile + "?tab=parts",
	}})
	open := func(path string) {
		browser.Step(t, tab, "open "+path, chromedp.Navigate(f.URL+path))
	}
	browser.Resize(t, tab, 1280, "light")
	click := func(selector, then string) {
		t.Helper()
		browser.Click(t, tab, selector)
		browser.Until(t, tab, "after "+selector, then)
	}
	const notice = `document.querySelector('.notice')?.textContent.includes('%s')`
	says := func(text string) string { return strings.Replace(notice, "%s", text, 1) }

	open("/deliveries/task-deferred")
	click(`form[action$="/unmask"] button`, says("ada@example.com"))
	open("/tasks/task-dead")
	click(`form[action$="/retry"] button`, says("in its queue again"))
	open("/tasks/waiting-1")
	click(`a[href$="/revoke"]`, `document.querySelector('form.confirm')`)
	click(`form.confirm button`, says("told not to run"))
	open("/deliveries")
	click(`.facets a[href*="state=dead"]`, `location.search === '?state=dead' && document.querySelectorAll('tbody tr').length === 1`)
	// The search box is completed word by word, names first.
	for text, want := range map[string]string{"": "user:", "user:2 st": "user:2 state:", "user:2 state:de": "user:2 state:dead", "kind:OT": "kind:otp"} {
		browser.Step(t, tab, "type", chromedp.Evaluate[any](`(() => { const box = document.querySelector('[data-search]');
			box.value = '`+text+`'; box.dispatchEvent(new Event('input', {bubbles: true})); })()`))
		browser.Until(t, tab, "completions of "+text, `[...document.querySelector('[data-search]').list.options].some((o) => o.value === '`+want+`')`)
	}
	// The frame runs no script, and the page cannot look into it.
	open("/deliveries/task-deferred")
	browser.Until(t, tab, "the frame", `document.querySelector('iframe').contentDocument === null`)

	if _, err := chromedp.Call(tab, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		t.Fatal(err)
	}
	open("/tasks/waiting-1/revoke")
	browser.Click(t, tab, `input[name=terminate]`)
	browser.Click(t, tab, `form.confirm button`)
	browser.Step(t, tab, "without a script", chromedp.WaitVisible(chromedp.CSS(`.notice`)))
	for _, done := range []string{"audit deliveries.unmask", "audit dead-letters.retry", "retry 0123456789abcdef by local", "audit tasks.revoke", "revoke waiting-1", "terminate waiting-1"} {
		if all := f.desk.all(); !strings.Contains(all, done) {
			t.Errorf("no %q in %s", done, all)
		}
	}
}
