package folder_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/evently/workers/tasks"
	"github.com/evently/workers/templates"
	"github.com/evently/workers/templates/folder"
)

// build makes the templates of all mails, as the program does.
func build(files []templates.File) (*templates.Set, error) {
	return tasks.NewTemplates(templates.Options{SiteURL: "https://evently.com", SupportAddress: "help@evently.com", Files: files})
}

// marked returns templates of the waitlist mail that all say the same mark.
func marked(mark string) map[string]string {
	return map[string]string{
		"waitlist_cancellation/subject.tmpl":   mark + " - {{.Event}}",
		"waitlist_cancellation/preheader.tmpl": mark + ": you have left the list, and your place is free again for others.",
		"waitlist_cancellation/text.tmpl":      "{{define \"why\"}}" + mark + "{{end}}{{define \"content\"}}" + mark + "\n{{column \"Event\"}}{{.Event}}\n{{range .Facts}}{{column .Label}}{{.Value}}\n{{end}}{{end}}",
		"waitlist_cancellation/html.tmpl": "{{define \"why\"}}" + mark + "{{end}}{{define \"hero\"}}<h1 {{look \"h1\"}}>" + mark + "</h1>{{end}}" +
			"{{define \"content\"}}<p {{look \"p\"}}>" + mark + "</p>{{template \"event\" .}}{{if .Facts}}{{template \"facts\" .Facts}}{{end}}{{end}}",
	}
}

// lockedBuffer is a log.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// run opens a keeper and runs it until the test ends.
func run(t *testing.T, dir string, log *lockedBuffer) *folder.Keeper {
	t.Helper()
	k := folder.Open(t.Context(), folder.Config{Dir: dir, Build: build, Every: 20 * time.Millisecond, Settle: 10 * time.Millisecond, Log: slog.New(slog.NewTextHandler(log, nil))})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = k.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	return k
}

func until(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in 30 s: %s", what)
		}
	}
}

func subject(t *testing.T, k *folder.Keeper) string {
	t.Helper()
	r, err := k.Render(tasks.WaitlistCancellation{EventName: "Jazz"})
	if err != nil {
		t.Fatal(err)
	}
	return r.Subject
}

// Templates are replaced when they are right. Faulty ones leave the former ones in use, and are
// told once.
func TestReload(t *testing.T) {
	t.Parallel()
	dir, log := t.TempDir(), new(lockedBuffer)
	write(t, dir, marked("FIRST"))
	k := run(t, dir, log)
	if s := k.State(); k.Err() != nil || s.Files != 4 || s.Version == "" || !strings.HasPrefix(subject(t, k), "FIRST") {
		t.Fatalf("%+v", s)
	}
	write(t, dir, marked("SECOND"))
	until(t, "the second templates are used", func() bool { return strings.HasPrefix(subject(t, k), "SECOND") })

	write(t, dir, map[string]string{"waitlist_cancellation/text.tmpl": "{{define \"content\"}}{{.Evnt}}{{end}}{{define \"why\"}}{{end}}"})
	until(t, "the fault is found", func() bool { return k.Err() != nil })
	fault := filepath.Join(dir, "waitlist_cancellation/text.tmpl") + ":1:"
	if err := k.Err().Error(); !strings.Contains(err, fault) || !strings.Contains(err, ".Event") {
		t.Errorf("fault: %s", err)
	}
	until(t, "the fault is logged", func() bool { return strings.Contains(log.String(), "templates refused") })
	time.Sleep(100 * time.Millisecond) // some more looks
	if !strings.HasPrefix(subject(t, k), "SECOND") || strings.Count(log.String(), "templates refused") != 1 {
		t.Errorf("subject %q, log:\n%s", subject(t, k), log)
	}
	write(t, dir, marked("SECOND"))
	until(t, "the former files are right again", func() bool { return k.Err() == nil })
	if err := os.Rename(dir, dir+"-gone"); err != nil {
		t.Fatal(err)
	}
	until(t, "the folder is missed", func() bool { return k.Err() != nil })
	if err := os.Rename(dir+"-gone", dir); err != nil {
		t.Fatal(err)
	}
	until(t, "the folder is back", func() bool { return k.Err() == nil })
	if err := os.RemoveAll(filepath.Join(dir, "waitlist_cancellation")); err != nil {
		t.Fatal(err)
	}
	until(t, "the embedded templates are used", func() bool {
		return strings.HasSuffix(subject(t, k), "- Jazz") && !strings.Contains(subject(t, k), "SECOND")
	})
	until(t, "the warning of an empty folder", func() bool {
		w := k.State().Warnings
		return len(w) == 1 && strings.Contains(w[0].Error(), "has no templates, so those of the program are used")
	})
	for _, want := range []string{"templates replaced", "templates are right again"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log has no %q:\n%s", want, log)
		}
	}
}

// A program without right templates has none, and takes them when they are right.
func TestFaultyAtTheStart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	write(t, dir, map[string]string{"otp/subject.tmpl": "{{.Code}}"})
	k := run(t, dir, new(lockedBuffer))
	if _, err := k.Render(tasks.Welcome{}); err == nil || k.Set() != nil || !strings.Contains(err.Error(), "shows the code") {
		t.Fatalf("render: %v", err)
	}
	write(t, dir, map[string]string{"otp/subject.tmpl": "Your code from {{.Brand}}"})
	until(t, "right templates are taken", func() bool { return k.Set() != nil })
}

// While files are written one after the other, and links are swapped as Kubernetes does, each mail
// is of one set.
func TestEachMailIsOfOneSet(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	swap := func(version int, files map[string]string) {
		data := fmt.Sprintf("..%d", version)
		for name, text := range files {
			write(t, dir, map[string]string{data + "/" + strings.ReplaceAll(name, "/", "."): text})
		}
		if err := os.Symlink(data, filepath.Join(dir, "..tmp")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..tmp"), filepath.Join(dir, "..data")); err != nil {
			t.Fatal(err)
		}
	}
	swap(0, marked("SET0"))
	for name := range marked("") {
		flat := strings.ReplaceAll(name, "/", ".")
		write(t, dir, map[string]string{flat: "->..data/" + flat})
	}
	k := run(t, dir, new(lockedBuffer))
	if k.Err() != nil {
		t.Fatal(k.Err())
	}
	stop := make(chan struct{})
	var all sync.WaitGroup
	var mails atomic.Int64
	sets := map[string]bool{}
	var mu sync.Mutex
	for range 4 {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				r, err := k.Render(tasks.WaitlistCancellation{EventName: "Jazz"})
				if err != nil {
					t.Error(err)
					return
				}
				mark, _, _ := strings.Cut(r.Subject, " ")
				for _, body := range []string{r.Text, r.HTML} {
					if n := strings.Count(body, "SET"); n != strings.Count(body, mark) || n == 0 {
						t.Errorf("a mail of %s has another set in it", mark)
						return
					}
				}
				mails.Add(1)
				mu.Lock()
				sets[mark] = true
				mu.Unlock()
			}
		})
	}
	for i := 1; i <= 6; i++ {
		if i%3 == 0 {
			broken := marked(fmt.Sprintf("SET%d", i))
			broken["waitlist_cancellation/html.tmpl"] = broken["waitlist_cancellation/html.tmpl"][:60] // half written
			swap(i, broken)
			until(t, "the broken set is refused", func() bool { return k.Err() != nil })
			continue
		}
		swap(i, marked(fmt.Sprintf("SET%d", i)))
		until(t, "mails are of the set", func() bool { mu.Lock(); defer mu.Unlock(); return sets[fmt.Sprintf("SET%d", i)] })
	}
	until(t, "there are many mails", func() bool { return mails.Load() >= 100 })
	close(stop)
	all.Wait()
	if sets["SET3"] || sets["SET6"] {
		t.Errorf("%d mails of %v", mails.Load(), sets)
	}
	t.Logf("%d mails of %v", mails.Load(), sets)
}

// TEMPLATES_DIR can be a link that is swapped, so that all files change at once.
func TestFolderIsALink(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	link, next := filepath.Join(dir, "mails"), filepath.Join(dir, "next")
	for _, mark := range []string{"FIRST", "SECOND"} {
		write(t, filepath.Join(dir, mark), marked(mark))
	}
	if err := os.Symlink("FIRST", link); err != nil {
		t.Fatal(err)
	}
	k := run(t, link, new(lockedBuffer))
	if k.Err() != nil || !strings.HasPrefix(subject(t, k), "FIRST") {
		t.Fatal(k.Err())
	}
	if err := os.Symlink("SECOND", next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, link); err != nil {
		t.Fatal(err)
	}
	until(t, "the folder behind the link is used", func() bool { return strings.HasPrefix(subject(t, k), "SECOND") })
}

// Look makes the keeper read the folder before its time.
func TestLook(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	k := folder.Open(t.Context(), folder.Config{Dir: dir, Build: build, Every: time.Hour, Settle: time.Millisecond, Log: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = k.Run(ctx)
	}()
	write(t, dir, marked("NOW"))
	k.Look()
	until(t, "the templates are used", func() bool { return strings.HasPrefix(subject(t, k), "NOW") })
	cancel()
	<-done
}
