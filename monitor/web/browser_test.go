package web

import (
	"os"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/evently/workers/internal/testkit/browser"
)

// Every part in Chromium: at both widths, in both schemes.
func TestPartsInChromium(t *testing.T) {
	site, base := serve(t, Config{Groups: []Group{new(samples)}, Label: "dev", Version: "1.2.3"})
	defer site.EndStreams()
	tab := browser.Open(t, 4*time.Minute)
	browser.Inspect(t, tab, browser.Inspection{
		Base: base, Paths: []string{"/", "/tasks?q=hello"}, Shots: os.Getenv("MONITOR_SCREENSHOTS"),
		Ready: `document.documentElement.hasAttribute('data-js') && (!document.querySelector('figure[data-chart]') || document.querySelector('.plot canvas') !== null)`,
	})
}

// A page changes while it is open. Parts that the reader has opened stay open.
func TestLiveInChromium(t *testing.T) {
	g := new(samples)
	site, base := serve(t, Config{Groups: []Group{g}})
	defer site.EndStreams()
	tab := browser.Open(t, 4*time.Minute)
	browser.Resize(t, tab, 1280, "light")
	step := func(name, expression string) {
		t.Helper()
		browser.Until(t, tab, name, expression)
	}
	say := func(text string) { g.text.Store(&text) }
	say("first")
	browser.Step(t, tab, "open", chromedp.Navigate(base+"/tasks/7?q=x"))
	step("live", `document.querySelector('#live-state').dataset.localState === 'on'`)
	browser.Step(t, tab, "open the details", chromedp.Evaluate[any](`document.querySelector('#more').open = true`))
	say("second")
	step("changed", `document.querySelector('#text').textContent === 'second'`)
	step("chart drawn", `document.querySelector('#chart .plot canvas') && document.querySelector('#chart .key b').textContent === '6'`)
	step("still open", `document.querySelector('#more').open`)

	// Paused, it stands still; later it goes on.
	browser.Step(t, tab, "pause", chromedp.KeyEvent("p"))
	step("paused", `document.querySelector('#live-state').dataset.localState === 'paused'`)
	say("third")
	time.Sleep(2500 * time.Millisecond) // nothing must happen
	step("unchanged", `document.querySelector('#text').textContent === 'second'`)
	browser.Click(t, tab, "#live-state")
	step("changed again", `document.querySelector('#text').textContent === 'third'`)

	// A part that is unavailable shows in the page, and so does its return.
	err := Missing("PostgreSQL does not answer", "It is tried again.")
	g.err.Store(&err)
	step("missing", `document.querySelector('#live').textContent.includes('PostgreSQL does not answer')`)
	g.err.Store(nil)
	step("back", `document.querySelector('#text')?.textContent === 'third'`)
}

// The keyboard is enough.
func TestKeyboardInChromium(t *testing.T) {
	site, base := serve(t, Config{Groups: []Group{new(samples)}})
	defer site.EndStreams()
	tab := browser.Open(t, 4*time.Minute)
	browser.Resize(t, tab, 1280, "light")
	press := func(keys string) { t.Helper(); browser.Step(t, tab, "press "+keys, chromedp.KeyEvent(keys)) }
	step := func(name, expression string) {
		t.Helper()
		browser.Until(t, tab, name, expression)
	}
	browser.Step(t, tab, "open", chromedp.Navigate(base+"/"))
	press("?")
	step("list of shortcuts", `document.querySelector('#keys').open`)
	press("\x1b")
	step("closed", `!document.querySelector('#keys').open`)
	press("/")
	step("search", `document.activeElement.hasAttribute('data-search')`)
	press("\x1b")
	step("left", `document.activeElement === document.body`)
	press("j")
	press("j")
	step("second row", `document.activeElement === document.querySelectorAll('[data-rows] a.row')[1]`)
	press("k")
	step("first row", `document.activeElement === document.querySelectorAll('[data-rows] a.row')[0]`)
	press("\r")
	step("its page", `location.pathname === '/row' && document.readyState === 'complete'`)
	press("g")
	press("t")
	step("tasks", `location.pathname === '/tasks' && document.readyState === 'complete'`)
	browser.Step(t, tab, "palette", chromedp.Evaluate[any](`document.dispatchEvent(new KeyboardEvent('keydown', {key: 'k', ctrlKey: true, bubbles: true}))`))
	step("open palette", `document.querySelector('#palette').open && document.activeElement.matches('#palette input')`)
	press("over")
	step("found", `document.querySelector('#palette-list li').textContent.startsWith('Overview')`)
	press("\r")
	step("overview", `location.pathname === '/' && document.readyState === 'complete'`)

	// A word that must be typed.
	browser.Fill(t, tab, "[data-confirm]", "email_notification")
	step("not yet", `!document.querySelector('.confirm').checkValidity()`)
	press("s")
	step("right", `document.querySelector('.confirm').checkValidity()`)
}

// Copying works without the clipboard of secure pages.
func TestCopyInChromium(t *testing.T) {
	site, base := serve(t, Config{Groups: []Group{new(samples)}})
	defer site.EndStreams()
	tab := browser.Open(t, 2*time.Minute)
	browser.Resize(t, tab, 1280, "light")
	browser.Step(t, tab, "open", chromedp.Navigate(base+"/"))
	browser.Step(t, tab, "no clipboard", chromedp.Evaluate[any](`Object.defineProperty(window, 'isSecureContext', {value: false}); document.addEventListener('copy', () => { window.copied = String(getSelection()) || document.activeElement.value; })`))
	browser.Click(t, tab, ".facts .copy")
	browser.Until(t, tab, "copied", `window.copied?.includes('alert(1)')`)
	browser.Until(t, tab, "told", `document.querySelector('.copy[data-local-copied]')`)
}
