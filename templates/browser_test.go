package templates_test

import (
	"context"
	"encoding/base64"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/evently/workers/internal/testkit/browser"
	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
)

var screenshots = flag.String("screenshots", os.Getenv("MAIL_SCREENSHOTS"), "write a PNG of every mail to this folder (default $MAIL_SCREENSHOTS)")

// inspect runs inside the page. It returns complaints, one a line.
const inspect = `(() => {
	const complaints = [];
	if (window.innerWidth !== WIDTH) complaints.push('the window is ' + window.innerWidth + ' px wide');
	const root = document.documentElement;
	if (root.scrollWidth > window.innerWidth) complaints.push('scrolls sideways: ' + root.scrollWidth + ' px');
	const channels = c => (c.match(/[\d.]+/g) || []).map(Number);
	const luminance = c => channels(c).slice(0, 3).map(v => v / 255)
		.map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
		.reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
	const background = e => {
		for (; e; e = e.parentElement) {
			const c = getComputedStyle(e).backgroundColor;
			if (channels(c)[3] !== 0) return c;
		}
		return 'rgb(255, 255, 255)';
	};
	let seen = 0;
	const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	while (walk.nextNode()) {
		const node = walk.currentNode, e = node.parentElement;
		if (!node.data.trim() || !e.checkVisibility()) continue;
		const range = document.createRange();
		range.selectNodeContents(node);
		const box = range.getBoundingClientRect();
		const what = JSON.stringify(node.data.trim().slice(0, 30));
		if (box.right > window.innerWidth + 0.5 || box.left < -0.5) complaints.push(what + ' leaves the window');
		if (parseFloat(getComputedStyle(e).fontSize) < 13) complaints.push(what + ' is below 13 px');
		const [a, b] = [luminance(getComputedStyle(e).color), luminance(background(e))];
		const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
		if (ratio < 4.5) complaints.push(what + ' has a contrast of ' + ratio.toFixed(2));
		seen++;
	}
	if (seen < 5) complaints.push('only ' + seen + ' texts to be seen');
	const dark = matchMedia('(prefers-color-scheme: dark)').matches;
	if (dark !== luminance(getComputedStyle(document.body).backgroundColor) < 0.1) complaints.push('wrong colour scheme');
	for (const e of document.querySelectorAll('.th, .amount, .number, .link')) {
		if (e.className.startsWith('link') && e.textContent.length > 20) continue;
		const range = document.createRange();
		range.selectNodeContents(e);
		const lines = new Set([...range.getClientRects()].map(r => Math.round(r.top))).size;
		if (lines > 1) complaints.push(JSON.stringify(e.textContent) + ' breaks into ' + lines + ' lines');
	}
	for (const a of document.links) {
		if (a.parentElement.className.includes('buttoncell') && a.getBoundingClientRect().height < 44) complaints.push('button below 44 px');
	}
	return complaints.join('\n');
})()`

// TestInChromium opens every mail in a real browser with the width of small phones, phones
// and a reading pane, in both colour schemes.
func TestInChromium(t *testing.T) {
	tab, requests := newTab(t)
	set := newSet(t)
	t.Run("inspection", func(t *testing.T) {
		inspectSpoiled(t, tab, requests, render(t, set, samples("otp")[0]).HTML)
	})
	t.Run("own", func(t *testing.T) { lookAtOwn(t, tab) })
	for _, kind := range kinds() {
		t.Run(string(kind), func(t *testing.T) {
			for i, sample := range samples(kind) {
				open(t, tab, render(t, set, sample).HTML)
				for _, scheme := range []string{"light", "dark"} {
					for _, width := range []int64{320, 360, 700} {
						if i > 0 && width > 320 {
							continue // odd data is after the narrow window
						}
						name := fmt.Sprintf("%s-%d-%s-%d", kind, i, scheme, width)
						if complaints := look(t, tab, scheme, width); complaints != "" {
							t.Errorf("%s:\n%s", name, complaints)
						}
						if *screenshots != "" {
							screenshot(t, tab, name)
						}
					}
				}
			}
			for _, u := range drain(requests) {
				t.Errorf("a mail asked for %s", u)
			}
		})
	}
}

// lookAtOwn opens mails of another brand, one of them in another language.
func lookAtOwn(t *testing.T, tab context.Context) {
	o := options()
	o.Brand, o.Color, o.Address, o.Locale = "Örtli & Co", "#ffcc00", "Örtli GmbH, Hafenstr. 1, 20457 Hamburg", "de-AT"
	set := ownSet(t, o, german(t))
	for _, kind := range []templates.Kind{"booking_confirmation", "waitlist_notification"} {
		open(t, tab, render(t, set, samples(kind)[0]).HTML)
		for _, scheme := range []string{"light", "dark"} {
			if complaints := look(t, tab, scheme, 320); complaints != "" {
				t.Errorf("%s, %s:\n%s", kind, scheme, complaints)
			}
			if *screenshots != "" {
				screenshot(t, tab, fmt.Sprintf("own-%s-%s", kind, scheme))
			}
		}
	}
}

// inspectSpoiled proves that the inspection can complain.
func inspectSpoiled(t *testing.T, tab context.Context, requests <-chan string, good string) {
	for _, test := range []struct{ old, new, want string }{
		{"<h1 ", `<div style="width:400px">wide</div><h1 `, "scrolls sideways"},
		{"<h1 ", `<p style="margin-left:-40px">far left</p><h1 `, "leaves the window"},
		{"<h1 ", `<p style="color:#999">faint</p><h1 `, `"faint" has a contrast of 2.`},
		{"<h1 ", `<p style="font-size:9px">small</p><h1 `, `"small" is below 13 px`},
		{"<h1 ", `<p class="th" style="max-width:70px">Cancelled on</p><h1 `, `"Cancelled on" breaks into 2 lines`},
		{"<h1 ", `<p class="amount" style="max-width:70px;word-break:break-all">123,456.95</p><h1 `, `"123,456.95" breaks into 2 lines`},
		{"#0c0e13", "#f3f4f8", "wrong colour scheme"},
		{"max-width:560px", "min-width:560px", "scrolls sideways"},
	} {
		if !strings.Contains(good, test.old) {
			t.Fatalf("the mail has no %q to spoil", test.old)
		}
		open(t, tab, strings.ReplaceAll(good, test.old, test.new))
		complaints := look(t, tab, "light", 320) + look(t, tab, "dark", 320)
		if !strings.Contains(complaints, test.want) {
			t.Errorf("%s instead of %s: %q; want %q", test.new, test.old, complaints, test.want)
		}
	}
	drain(requests)
	open(t, tab, strings.Replace(good, "<h1 ", `<img src="https://pixel.invalid/x.png"><h1 `, 1))
	look(t, tab, "light", 320)
	if got := drain(requests); len(got) != 1 || got[0] != "https://pixel.invalid/x.png" {
		t.Errorf("an image made the requests %q", got)
	}
}

func open(t *testing.T, tab context.Context, html string) {
	t.Helper()
	if err := chromedp.Do(tab, chromedp.Navigate(pageURL(html))); err != nil {
		t.Fatalf("open the mail: %v", err)
	}
}

// look returns the faults of the open page in a window.
func look(t *testing.T, tab context.Context, scheme string, width int64) string {
	t.Helper()
	if err := emulate(tab, scheme, width); err != nil {
		t.Fatal(err)
	}
	script := strings.ReplaceAll(inspect, "WIDTH", strconv.FormatInt(width, 10))
	complaints, err := chromedp.Run(tab, chromedp.Evaluate[string](script))
	if err != nil {
		t.Fatalf("inspect the mail: %v", err)
	}
	return complaints
}

// drain empties the channel and returns all URLs but those of our own pages.
func drain(requests <-chan string) []string {
	var urls []string
	for len(requests) > 0 {
		if u := <-requests; !strings.HasPrefix(u, "data:text/html") {
			urls = append(urls, u)
		}
	}
	return urls
}

// emulate sets the window. It is never a "mobile" one, because a mobile window zooms out
// until the page fits, and would never scroll.
func emulate(tab context.Context, scheme string, width int64) error {
	_, err := chromedp.Call(tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: 800, DeviceScaleFactor: 1,
	})
	if err != nil {
		return fmt.Errorf("set the width: %w", err)
	}
	_, err = chromedp.Call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		return fmt.Errorf("set the colour scheme: %w", err)
	}
	return nil
}

// pageURL holds the page itself, so that showing it needs no request.
func pageURL(html string) string {
	return "data:text/html;charset=utf-8;base64," + base64.StdEncoding.EncodeToString([]byte(html))
}

func screenshot(t *testing.T, tab context.Context, name string) {
	t.Helper()
	png, err := chromedp.Run(tab, chromedp.FullScreenshot(100))
	if err == nil {
		err = os.WriteFile(filepath.Join(*screenshots, name+".png"), png, 0o644)
	}
	if err != nil {
		t.Fatalf("take a picture of %s: %v", name, err)
	}
}

// newTab opens a browser and returns a channel of its requests.
func newTab(t *testing.T) (tab context.Context, requests <-chan string) {
	t.Helper()
	tab = browser.Open(t, 5*time.Minute)
	seen := make(chan string, 1000)
	err := chromedp.Listen(tab, func(event any) {
		if e, ok := event.(*network.EventRequestWillBeSent); ok {
			select {
			case seen <- e.Request.URL:
			default: // more than enough to fail
			}
		}
	})
	if err == nil {
		_, err = chromedp.Call(tab, network.Enable, network.EnableParams{})
	}
	if err != nil {
		t.Fatalf("listen to Chromium: %v", err)
	}
	return tab, seen
}

// A reader who selects and copies a value gets the value that the producer sent.
func TestCopyInChromium(t *testing.T) {
	tab, _ := newTab(t)
	set := newSet(t)
	const copied = `[...document.querySelectorAll('.value, .td, .event, .code')].map(e => {
		getSelection().selectAllChildren(e);
		return getSelection().toString();
	}).join('\n')`
	for want, m := range map[string]templates.Mail{
		"Your account\nann.lee\nann.lee@example.com":          tasks.Welcome{Username: "ann.lee", Email: "ann.lee@example.com"},
		"Node.js: https://x.example\nBK.2026.x-17\n2 tickets": tasks.BookingConfirmation{EventName: "Node.js: https://x.example", BookingID: "BK.2026.x-17", Quantity: 2},
		"048213": tasks.OTP{Code: "048213"},
	} {
		open(t, tab, render(t, set, m).HTML)
		got, err := chromedp.Run(tab, chromedp.Evaluate[string](copied))
		if err != nil {
			t.Fatalf("copy out of the mail: %v", err)
		}
		if got != want {
			t.Errorf("%s: copied %q, want %q", m.Kind(), got, want)
		}
	}
}
