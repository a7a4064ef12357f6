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

	"github.com/chromedp/cdproto/emulation"
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

// run does one step. A step that fails or hangs is a fault of the page.
func run[T any](t *testing.T, tab context.Context, what string, a chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, 30*time.Second)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	return v
}

// resize sets the size of the window and the colour scheme.
func resize(t *testing.T, tab context.Context, width, height int64, scheme string) {
	t.Helper()
	_, err := chromedp.Call(tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 700,
	})
	if err == nil {
		_, err = chromedp.Call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
		})
	}
	if err != nil {
		t.Fatalf("resize: %v", err)
	}
}

// A person opens the page, sends a code with the form, sees the mail come in
// without reloading, and reads it in each of its three forms.
func TestPageInChromium(t *testing.T) {
	r := start(t, dev.Options{})
	tab := browser.Open(t, 2*time.Minute)
	resize(t, tab, 1280, 900, "light")
	run(t, tab, "open the page", chromedp.Navigate(r.Page))
	run(t, tab, "find the form", chromedp.Click(chromedp.CSS("#open-compose")))
	code := chromedp.CSS(`[name="send_otp_verification_email.task_data.otp"]`)
	run(t, tab, "wait for the form", chromedp.WaitVisible(code))
	run(t, tab, "choose what is there", chromedp.Evaluate[any](`document.querySelector('[name="send_otp_verification_email.task_data.otp"]').select()`))
	run(t, tab, "type over it", chromedp.SendKeys(code, "70419253"))
	run(t, tab, "send", chromedp.Click(chromedp.CSS("#compose-send")))

	item := chromedp.CSS("#list .item")
	run(t, tab, "wait for the mail", chromedp.WaitVisible(item))
	run(t, tab, "wait for the notice", chromedp.WaitVisible(chromedp.CSS(".toast.good a[href^='/mails/']")))
	if who := run(t, tab, "read the list", chromedp.TextContent(chromedp.CSS("#list .who"))); who != "ann.keller@example.com" {
		t.Errorf("the mail in the list is for %q", who)
	}
	run(t, tab, "open the mail", chromedp.Click(item))
	run(t, tab, "wait for the mail", chromedp.WaitVisible(chromedp.CSS("#pane iframe")))
	if src := run(t, tab, "find the frame", chromedp.Evaluate[string](`document.querySelector('#pane iframe').getAttribute('src')`)); !strings.Contains(get(t, r.Page+src), "70419253") {
		t.Error("the frame shows another mail")
	}
	if open := run(t, tab, "look into the frame", chromedp.Evaluate[bool](`document.querySelector('#pane iframe').contentDocument !== null`)); open {
		t.Error("the page can look into the mail, so the mail may look into the page")
	}
	run(t, tab, "choose the text", chromedp.Evaluate[any](`document.querySelector('[name=view][value=text]').click()`))
	if text := run(t, tab, "read the text", chromedp.Text(chromedp.CSS(".view.text pre"))); !strings.Contains(text, "70419253") {
		t.Errorf("the text has no code:\n%s", text)
	}
	run(t, tab, "choose the source", chromedp.Evaluate[any](`document.querySelector('[name=view][value=source]').click()`))
	if source := run(t, tab, "read the source", chromedp.Text(chromedp.CSS("#raw"))); !strings.Contains(source, "multipart/alternative") {
		t.Errorf("the source is no mail:\n%s", source)
	}
	run(t, tab, "open the task", chromedp.Click(chromedp.CSS(".facts a[href^='/tasks/']")))
	if result := run(t, tab, "read the result", chromedp.Text(chromedp.CSS("#result"))); !strings.Contains(result, `"otp_sent": true`) {
		t.Errorf("the result is %s", result)
	}

	// The form shows the fields of the chosen task, and of no other.
	run(t, tab, "open the form", chromedp.Navigate(r.Page+"/send"))
	if wrong := run(t, tab, "choose each task", chromedp.Evaluate[string](chooseEach)); wrong != "" {
		t.Error(wrong)
	}

	// Nothing is cut off, at no width and in neither colour scheme.
	id := strings.TrimPrefix(run(t, tab, "where are we", chromedp.Location()), r.Page)
	for _, path := range []string{"/", "/connect", "/mails/1", "/tasks", id, "/send", "/mails/404"} {
		for _, width := range []int64{320, 360, 700, 761, 1280} {
			for _, scheme := range []string{"light", "dark"} {
				resize(t, tab, width, 740, scheme)
				run(t, tab, path, chromedp.Navigate(r.Page+path))
				if got := run(t, tab, path, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`)); got > width {
					t.Errorf("%s at %d px is %d px wide", path, width, got)
				}
				if cut := run(t, tab, path, chromedp.Evaluate[string](narrow)); cut != "" {
					t.Errorf("%s at %d px: %s", path, width, cut)
				}
				if *screenshots != "" {
					png := run(t, tab, path, chromedp.FullScreenshot(100))
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
	run(t, tab, "open the mail", chromedp.Navigate(r.Page+"/mails/1"))
	run(t, tab, "wait for the frame", chromedp.WaitVisible(chromedp.CSS("#pane iframe")))
	if title := run(t, tab, "read the title", chromedp.Title()); !strings.HasPrefix(title, "attack") {
		t.Errorf("the page is now called %q", title)
	}
	if at := run(t, tab, "where are we", chromedp.Location()); at != r.Page+"/mails/1" {
		t.Errorf("the mail has led us to %s", at)
	}
	run(t, tab, "open it outside of the frame", chromedp.Navigate(r.Page+"/mails/1/html"))
	run(t, tab, "wait for it", chromedp.WaitVisible(chromedp.CSS("#here")))
	if title := run(t, tab, "read the title", chromedp.Title()); title != "before" {
		t.Errorf("a script of the mail ran: the title is %q", title)
	}
}
