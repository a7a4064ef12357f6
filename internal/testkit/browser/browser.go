// Package browser opens a real Chromium for tests that look at pages.
package browser

import (
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// Open starts a browser of its own and returns its tab, which lives for at most that
// long and until the test ends. Without Chromium the test fails.
func Open(t testing.TB, limit time.Duration) (tab context.Context) {
	t.Helper()
	var path string
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "/usr/bin/chromium"} {
		if p, err := exec.LookPath(name); err == nil {
			path = p
			break
		}
	}
	if path == "" {
		t.Fatal("no Chromium on PATH: install it (Debian: apt-get install chromium, or make setup); pages are tested in it")
	}
	options := []chromedp.ExecAllocatorOption{chromedp.ExecPath(path), chromedp.UserDataDir(t.TempDir())}
	for _, f := range strings.Fields("headless no-sandbox disable-gpu no-first-run disable-background-networking disable-component-update disable-sync disable-dev-shm-usage hide-scrollbars") {
		options = append(options, chromedp.Flag(f, true))
	}
	// Not t.Context, which ends before the clean-up that closes the browser.
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	tab, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	t.Cleanup(func() { _ = chromedp.Cancel(tab) }) // wait until the browser has left its folder
	// The first call starts the browser, which ends with the context of it.
	if _, err := chromedp.Run(tab, chromedp.Title()); err != nil {
		t.Fatalf("start Chromium: %v", err)
	}
	return tab
}
