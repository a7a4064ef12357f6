//go:build figures

package site_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/browser"
	"github.com/evently/workers/worker/canvas"
)

// TestPictures writes the pictures of the documents to the folder MONITOR_PICTURES: a monitor
// with a minute of mails. "make pictures" runs it.
func TestPictures(t *testing.T) {
	folder := os.Getenv("MONITOR_PICTURES")
	if folder == "" {
		folder = t.TempDir()
	}
	w := startWorld(t, nil)
	w.fill(t)
	to := canvas.Options{Queue: "email_notifications"}
	for i := range 240 {
		w.send(t, "more", "send_welcome_email", to, map[string]any{"email": fmt.Sprintf("user%d@mail.example", i), "username": "user"})
		if i%3 == 0 {
			w.send(t, "more", "send_booking_confirmation", to, 7, map[string]any{"event_name": "Nordic Jazz Night", "booking_id": fmt.Sprintf("BK-%d", 100+i)})
		}
		if i%40 == 0 {
			w.send(t, "more", "send_welcome_email", to, map[string]any{"email": fmt.Sprintf("refused@d%d.example", i), "username": "x"})
		}
		testkit.Pause(t, time.Duration(100+i%7*60)*time.Millisecond)
	}
	tab := browser.Open(t, 5*time.Minute)
	for _, p := range []struct {
		name, path, scheme string
		width              int64
	}{
		{"overview", "/", "light", 1280}, {"dead-letters", "/dead-letters", "dark", 1280},
		{"was-it-sent", "/was-it-sent?q=" + w.ids["code"], "light", 1280}, {"task-phone", "/tasks/" + w.ids["retry"], "dark", 390},
	} {
		browser.Resize(t, tab, p.width, p.scheme)
		browser.Step(t, tab, p.name, chromedp.Navigate(w.base+p.path))
		browser.Until(t, tab, p.name, `document.readyState === 'complete'`)
		testkit.Pause(t, 6*time.Second) // charts and what is asked in the background
		browser.Picture(t, tab, filepath.Join(folder, "monitor-"+p.name+".webp"), 60)
	}
}
