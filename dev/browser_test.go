package dev_test

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/evently/workers/dev"
	"github.com/evently/workers/internal/testkit/browser"
)

var screenshots = flag.String("screenshots", os.Getenv("DEV_SCREENSHOTS"), "write a PNG of every page to this folder (default $DEV_SCREENSHOTS)")

// narrow returns form fields that cannot show their text, and words in a table that break
// though a line has room for them.
const narrow = `(() => {
	const found = [];
	for (const e of document.querySelectorAll('.drawer[open] .fields[data-task] input')) {
		if (e.checkVisibility() && e.scrollWidth > e.clientWidth) found.push('the field ' + e.name + ' is cut');
	}
	for (const e of document.querySelectorAll('.users td:nth-child(-n+3)')) {
		const range = document.createRange();
		range.selectNodeContents(e);
		const lines = new Set([...range.getClientRects()].map(r => Math.round(r.bottom / 12))).size;
		if (lines > 1 && !e.textContent.includes(' ') && e.textContent.length < 25) found.push(e.textContent + ' breaks');
	}
	return found.join(', ');
})()`

// chooseEach returns the tasks whose choice shows other fields than theirs.
const chooseEach = `(() => {
	const wrong = [], all = [...document.querySelectorAll('[name=task]')];
	for (const radio of all) {
		radio.checked = true;
		const shown = [...document.querySelectorAll('.fields[data-task]')].filter(f => f.checkVisibility()).map(f => f.dataset.task);
		if (shown.join() !== radio.value) wrong.push(radio.value + ' shows the fields of ' + shown.join());
	}
	all[0].checked = true;
	return all.length < 2 ? 'only ' + all.length + ' tasks' : wrong.join(', ');
})()`

// read waits until an element is visible, and returns its text.
func read(t *testing.T, tab context.Context, selector string) string {
	t.Helper()
	see(t, tab, selector)
	return browser.Step(t, tab, "read "+selector, chromedp.Evaluate[string](fmt.Sprintf(`document.querySelector(%q).innerText`, selector)))
}

// see waits until an element is visible.
func see(t *testing.T, tab context.Context, selector string) {
	t.Helper()
	browser.Until(t, tab, "see "+selector, fmt.Sprintf(`document.querySelector(%q)?.checkVisibility()`, selector))
}

// A person opens the page, sends a code with the form, sees the mail come in
// without reloading, and reads it in each of its three forms.
func TestPageInChromium(t *testing.T) {
	r := start(t, dev.Options{})
	tab := browser.Open(t, 2*time.Minute)
	browser.Resize(t, tab, 1280, "light")
	browser.Step(t, tab, "open the page", chromedp.Navigate(r.Page))
	browser.Click(t, tab, "#open-compose")
	const code = `[name="send_otp_verification_email.task_data.otp"]`
	see(t, tab, code)
	browser.Fill(t, tab, code, "70419253")
	browser.Click(t, tab, "#compose-send")

	see(t, tab, "#list .item")
	see(t, tab, ".toast.good a[href^='/mails/']")
	if who := read(t, tab, "#list .who"); who != "ann.keller@example.com" {
		t.Errorf("the mail in the list is for %q", who)
	}
	browser.Click(t, tab, "#list .item")
	see(t, tab, "#pane iframe")
	if src := browser.Step(t, tab, "find the frame", chromedp.Evaluate[string](`document.querySelector('#pane iframe').getAttribute('src')`)); !strings.Contains(get(t, r.Page+src), "70419253") {
		t.Error("the frame shows another mail")
	}
	if open := browser.Step(t, tab, "look into the frame", chromedp.Evaluate[bool](`document.querySelector('#pane iframe').contentDocument !== null`)); open {
		t.Error("the page can look into the mail, so the mail may look into the page")
	}
	browser.Step(t, tab, "choose the text", chromedp.Evaluate[any](`document.querySelector('[name=view][value=text]').click()`))
	if text := read(t, tab, ".view.text pre"); !strings.Contains(text, "70419253") {
		t.Errorf("the text has no code:\n%s", text)
	}
	browser.Step(t, tab, "choose the source", chromedp.Evaluate[any](`document.querySelector('[name=view][value=source]').click()`))
	if source := read(t, tab, "#raw"); !strings.Contains(source, "multipart/alternative") {
		t.Errorf("the source is no mail:\n%s", source)
	}
	browser.Click(t, tab, ".facts a[href^='/tasks/']")
	if result := read(t, tab, "#result"); !strings.Contains(result, `"otp_sent": true`) {
		t.Errorf("the result is %s", result)
	}
	task := strings.TrimPrefix(browser.Step(t, tab, "where are we", chromedp.Location()), r.Page)

	// The form shows the fields of the chosen task, and of no other.
	browser.Step(t, tab, "open the form", chromedp.Navigate(r.Page+"/send"))
	if wrong := browser.Step(t, tab, "choose each task", chromedp.Evaluate[string](chooseEach)); wrong != "" {
		t.Error(wrong)
	}

	// Nothing is cut off, at no width and in neither colour scheme.
	for _, path := range []string{"/", "/connect", "/mails/1", "/tasks", task, "/send", "/mails/404"} {
		for _, width := range []int64{320, 360, 700, 761, 1280} {
			for _, scheme := range []string{"light", "dark"} {
				browser.Resize(t, tab, width, scheme)
				browser.Step(t, tab, path, chromedp.Navigate(r.Page+path))
				if got := browser.Step(t, tab, path, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`)); got > width {
					t.Errorf("%s at %d px is %d px wide", path, width, got)
				}
				if cut := browser.Step(t, tab, path, chromedp.Evaluate[string](narrow)); cut != "" {
					t.Errorf("%s at %d px: %s", path, width, cut)
				}
				if *screenshots != "" {
					png := browser.Step(t, tab, path, chromedp.FullScreenshot(100))
					name := fmt.Sprintf("%s-%s-%d.png", strings.Trim(strings.ReplaceAll(path, "/", "-"), "-"), scheme, width)
					if err := os.WriteFile(filepath.Join(*screenshots, name), png, 0o644); err != nil {
						t.Fatal(err)
					}
				}
			}
		}
	}
}

// A mail cannot attack the page, inside of the frame and outside of it.
func TestHostileMailInChromium(t *testing.T) {
	r := start(t, dev.Options{})
	sendMail(t, r.SMTP, "Subject: attack\r\nContent-Type: text/html; charset=utf-8\r\n\r\n<html><head><title>before</title></head><body>"+
		"<script>document.title='owned';parent.document.title='owned'</script>"+
		"<img src=x onerror=\"document.title='owned';top.location='/owned'\">"+
		"<meta http-equiv=refresh content='0;url=/connect'><p id=here>here</p></body></html>")
	eventually(t, "mail in the inbox", func() bool { return strings.Contains(get(t, r.Page), "attack") })
	tab := browser.Open(t, 2*time.Minute)
	browser.Step(t, tab, "open the mail", chromedp.Navigate(r.Page+"/mails/1"))
	see(t, tab, "#pane iframe")
	if title := browser.Step(t, tab, "read the title", chromedp.Title()); !strings.HasPrefix(title, "attack") {
		t.Errorf("the page is now called %q", title)
	}
	if at := browser.Step(t, tab, "where are we", chromedp.Location()); at != r.Page+"/mails/1" {
		t.Errorf("the mail has led us to %s", at)
	}
	browser.Step(t, tab, "open it outside of the frame", chromedp.Navigate(r.Page+"/mails/1/html"))
	see(t, tab, "#here")
	if title := browser.Step(t, tab, "read the title", chromedp.Title()); title != "before" {
		t.Errorf("a script of the mail ran: the title is %q", title)
	}
}
