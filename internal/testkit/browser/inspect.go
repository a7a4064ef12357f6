package browser

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

//go:embed testdata/axe.min.js.gz
var axeScript []byte

// stepTime bounds one step in the browser. The machine may do much else.
const stepTime = 60 * time.Second

// Inspection is what [Inspect] looks at.
type Inspection struct {
	Base  string // URL of the site without a slash at its end
	Paths []string

	// Shots is a folder for a PNG of each page at each width in each scheme; "": none.
	Shots string

	// Widths in pixels; default: 1280 and 390.
	Widths []int64

	// Ready is an expression of JavaScript that is true when the page may be looked at;
	// default: as soon as it is loaded.
	Ready string
}

// Inspect opens every path at each width, in light and dark, and fails for messages of the
// console, requests to other hosts, serious findings of axe, pages that scroll sideways, and rows
// that the keys of lists do not reach.
func Inspect(t testing.TB, tab context.Context, in Inspection) {
	t.Helper()
	axe := readAxe(t)
	watch := startWatch(t, tab, in.Base)
	if in.Widths == nil {
		in.Widths = []int64{1280, 390}
	}
	for _, path := range in.Paths {
		for _, width := range in.Widths {
			inspectAt(t, tab, in, watch, axe, path, width)
		}
	}
}

func inspectAt(t testing.TB, tab context.Context, in Inspection, watch *watch, axe, path string, width int64) {
	t.Helper()
	Resize(t, tab, width, "light")
	watch.reset()
	Step(t, tab, "open "+path, chromedp.Navigate(in.Base+path))
	if in.Ready != "" {
		Until(t, tab, "wait for "+path, in.Ready)
	}
	if n := Step(t, tab, "rows of "+path, chromedp.Evaluate[int64](`document.querySelectorAll('tbody > tr:has(a.row):not([data-rows] tr)').length`)); n > 0 {
		t.Errorf("%s: the keys j and k do not reach %d rows, whose table has no data-rows", path, n)
	}
	for _, scheme := range []string{"light", "dark"} {
		Resize(t, tab, width, scheme)
		Step(t, tab, "drawn", chromedp.Evaluate[any](drawn, chromedp.EvalAwaitPromise))
		name := fmt.Sprintf("%s at %d px, %s", path, width, scheme)
		if wide := Step(t, tab, name, chromedp.Evaluate[int64](`document.documentElement.scrollWidth`)); wide > width {
			t.Errorf("%s: the page is %d px wide, because of %s", name, wide, Step(t, tab, name, chromedp.Evaluate[string](fmt.Sprintf(widest, width))))
		}
		if in.Shots != "" {
			shoot(t, tab, filepath.Join(in.Shots, fmt.Sprintf("%s-%d-%s.png", fileName(path), width, scheme)))
		}
		for _, message := range watch.take() {
			t.Errorf("%s: %s", name, message)
		}
		rules, look := rulesFor(width == in.Widths[0], scheme)
		if !look {
			continue
		}
		Step(t, tab, "axe", chromedp.Evaluate[any]("if (!window.axe) {"+axe+"}; undefined"))
		for _, finding := range Step(t, tab, name, chromedp.Evaluate[[]string](fmt.Sprintf(audit, rules), chromedp.EvalAwaitPromise)) {
			t.Errorf("%s: %s", name, finding)
		}
		watch.reset() // axe may write to the console
	}
}

// drawn waits until the page is drawn again, charts included.
const drawn = `new Promise(done => setTimeout(() => requestAnimationFrame(() => requestAnimationFrame(() => done(0))), 50))`

// rulesFor returns the options of axe for one look. The colours are the same at all widths, and
// the rest is the same in both schemes.
func rulesFor(first bool, scheme string) (options string, look bool) {
	switch {
	case first && scheme == "light":
		return `{}`, true
	case first:
		return `{runOnly: ['color-contrast']}`, true
	case scheme == "light":
		return `{rules: {'color-contrast': {enabled: false}}}`, true
	}
	return "", false
}

// audit returns the serious findings of axe.
const audit = `axe.run(document, %s).then(r => r.violations.filter(v => v.impact === 'serious' || v.impact === 'critical')
	.map(v => v.id + ': ' + v.help + ': ' + v.nodes.slice(0, 3).map(n => n.html.slice(0, 200) + ' ' + (n.any[0]?.message ?? n.all[0]?.message ?? '')).join(' | ')))`

// widest returns the element that makes a page too wide.
const widest = `(() => {
	let found = 'nothing', most = %d;
	for (const e of document.querySelectorAll('body *')) {
		const right = e.getBoundingClientRect().right;
		if (right > most + 0.5) { most = right; found = e.outerHTML.slice(0, 200); }
	}
	return found;
})()`

// Step does one step. A step that fails or hangs is a fault of the page.
func Step[T any](t testing.TB, tab context.Context, name string, a chromedp.Action[T]) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, stepTime)
	defer cancel()
	v, err := chromedp.Run(ctx, a)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return v
}

// Until waits until an expression of JavaScript is true, also across pages.
func Until(t testing.TB, tab context.Context, name, expression string) {
	t.Helper()
	poll(t, tab, name+": wait for "+expression, func(ctx context.Context) (bool, error) {
		return chromedp.Run(ctx, chromedp.Evaluate[bool]("!!("+expression+")"))
	})
}

// Resize sets the width of the window and the colour scheme. Nothing moves.
func Resize(t testing.TB, tab context.Context, width int64, scheme string) {
	t.Helper()
	height := int64(900)
	if width < 700 {
		height = 844
	}
	call(t, tab, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{
		Width: width, Height: height, DeviceScaleFactor: 1, Mobile: width < 700,
	})
	call(t, tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}, {Name: "prefers-reduced-motion", Value: "reduce"}},
	})
}

// call runs one command of the protocol.
func call[P, R any](t testing.TB, tab context.Context, command cdp.Command[P, R], params P) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, stepTime)
	defer cancel()
	if _, err := chromedp.Call(ctx, command, params); err != nil {
		t.Fatalf("browser: %v", err)
	}
}

func shoot(t testing.TB, tab context.Context, file string) {
	t.Helper()
	png := Step(t, tab, "screenshot", chromedp.FullScreenshot(100))
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, png, 0o644); err != nil {
		t.Fatal(err)
	}
}

var notName = regexp.MustCompile(`[^a-z0-9]+`)

func fileName(path string) string {
	name := strings.Trim(notName.ReplaceAllString(strings.ToLower(path), "-"), "-")
	if name == "" {
		return "index"
	}
	return name[:min(len(name), 60)]
}

func readAxe(t testing.TB) string {
	t.Helper()
	z, err := gzip.NewReader(bytes.NewReader(axeScript))
	if err != nil {
		t.Fatal(err)
	}
	script, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return string(script)
}

// watch collects what must not happen.
type watch struct {
	host string

	mu    sync.Mutex
	found []string
}

func startWatch(t testing.TB, tab context.Context, base string) *watch {
	t.Helper()
	u, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	w := &watch{host: u.Host}
	if err := chromedp.Listen(tab, w.event); err != nil {
		t.Fatal(err)
	}
	call(t, tab, network.Enable, network.EnableParams{})
	call(t, tab, runtime.Enable, cdp.Empty{})
	call(t, tab, log.Enable, cdp.Empty{})
	return w
}

func (w *watch) event(ev any) {
	switch e := ev.(type) {
	case *runtime.EventConsoleAPICalled:
		if e.Type == "error" || e.Type == "warning" || e.Type == "assert" {
			var words []string
			for _, a := range e.Args {
				words = append(words, strings.TrimSpace(string(a.Value)+" "+a.Description))
			}
			w.note("console: " + strings.Join(words, " "))
		}
	case *runtime.EventExceptionThrown:
		text := e.ExceptionDetails.Text
		if x := e.ExceptionDetails.Exception; x != nil {
			text += " " + x.Description
		}
		w.note("exception: " + text)
	case *log.EventEntryAdded:
		if e.Entry.Level == "error" || e.Entry.Level == "warning" {
			w.note("log: " + e.Entry.Text + " " + e.Entry.URL)
		}
	case *network.EventRequestWillBeSent:
		if u, err := url.Parse(e.Request.URL); err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != w.host {
			w.note("request to another host: " + e.Request.URL)
		}
	}
}

func (w *watch) note(text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.found = append(w.found, text)
}

func (w *watch) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	found := w.found
	w.found = nil
	return found
}

func (w *watch) reset() { w.take() }

// Picture writes a small picture of the window as WebP.
func Picture(t testing.TB, tab context.Context, file string, quality int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(tab, stepTime)
	defer cancel()
	shot, err := chromedp.Call(ctx, page.CaptureScreenshot, page.CaptureScreenshotParams{Format: "webp", Quality: &quality})
	if err != nil {
		t.Fatalf("picture: %v", err)
	}
	if err := os.WriteFile(file, shot.Data, 0o644); err != nil {
		t.Fatal(err)
	}
}
