package incident_test

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"context"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/config"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/attention"
	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/incident"
	"github.com/evently/workers/monitor/summary"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/store/ledger"
)

var now = time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)

// Canaries that no bundle may have.
const (
	password = "cAnArY\"pass-1"
	someone  = "ada.canary@mail.example"
)

// events has tasks whose values and errors have canaries in them.
type events struct{ monitor.Fleet }

func (events) Status() fleet.Status { return fleet.Status{Joined: now.Add(-time.Hour)} }

func (events) Tasks(fleet.Filter) (fleet.Page, error) {
	return fleet.Page{Tasks: []fleet.Task{{
		ID: "task-1", Name: "send", State: fleet.Failure, Worker: "email-worker@mail-1.example", Args: someone, Kwargs: password, Exception: someone,
		Traceback: password, Attempts: []fleet.Attempt{{Exception: someone}},
	}}}, nil
}

// mails is a history whose reasons have canaries in them.
type mails struct{}

func (mails) Stats(context.Context, time.Time, time.Time) ([]ledger.Count, error) {
	return []ledger.Count{{Kind: "otp", State: ledger.Accepted, N: 3}}, nil
}

func (mails) Classes(context.Context, time.Time, time.Time) ([]ledger.ClassCount, error) {
	return nil, errors.New("no answer about " + someone)
}

func (mails) List(context.Context, ledger.Filter) (ledger.Page, error) {
	return ledger.Page{Mails: []ledger.Mail{
		{TaskID: "task-1", Kind: "otp", State: ledger.Rejected, StateAt: now.Add(-time.Minute), To: "a***@mail.example", Address: someone, Reason: "<" + someone + "> refused, " + password},
		{TaskID: "task-2", Kind: "otp", State: ledger.Accepted},
	}}, nil
}

type queues struct{}

func (queues) State() *watch.State { return &watch.State{Queues: []watch.Queue{{Name: "q"}}} }
func (queues) Samples(string, time.Time) []watch.Sample {
	return []watch.Sample{{At: now, Messages: 5}, {At: now.Add(time.Second), Messages: 6}}
}

func sources() incident.Sources {
	return incident.Sources{
		Program: "evently-workers 1.2", Fleet: events{}, Mails: mails{}, Watch: queues{}, Secrets: func() []string { return []string{password, "abc"} },
		Summary: func() *summary.Summary {
			return &summary.Summary{At: now, Findings: []attention.Finding{{Rule: "x", Level: attention.Urgent, Text: "The relay says " + someone + ".", Since: now}}, Workers: []summary.Worker{{Node: "celery@python.example"}}}
		},
		Vitals: func() vitals.State {
			return vitals.State{At: now, Processes: []vitals.Process{{Node: "email-worker@mail-1.example"}}, Changes: []vitals.Change{
				{At: now.Add(-2 * time.Minute), Node: "email-worker@mail-1.example", Part: "mail", Text: "535 for " + someone + " with " + password}, {At: now.Add(-24 * time.Hour), Node: "n", Part: "old"},
			}}
		},
		Settings: []config.Setting{{Variable: "SMTP_PASSWORD", Value: "***", Source: "env"}, {Variable: "FROM_ADDRESS", Value: someone}},
		Fingerprints: func(context.Context) ([]config.Fingerprint, error) {
			return []config.Fingerprint{{Variable: "SMTP_PASSWORD", Digest: "aabb", Secret: true}}, nil
		},
	}
}

func bundle(t testing.TB) []byte {
	t.Helper()
	s := sources()
	steps := 0
	b := s.Collect(context.Background(), now.Add(-time.Hour), now, func(string) { steps++ })
	if steps != incident.Steps {
		t.Errorf("%d steps, want %d", steps, incident.Steps)
	}
	var out bytes.Buffer
	if err := b.Write(&out, s.Secrets(), b.Nodes()); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// A bundle has what is known, and no canary. It opens again.
func TestBundle(t *testing.T) {
	raw := bundle(t)
	z, err := zip.NewReader(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range z.File {
		r, err := f.Open()
		if err != nil {
			t.Fatal(err)
		}
		content, err := io.ReadAll(r)
		if err != nil {
			t.Fatal(err)
		}
		for _, canary := range []string{"cAnArY", "pass-1", "ada.canary"} {
			if bytes.Contains(content, []byte(canary)) {
				t.Errorf("%s has %q:\n%s", f.Name, canary, content)
			}
		}
	}
	b, err := incident.Read(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Faults) > 0 || len(b.Mails) != 2 || len(b.Tasks) != 1 || len(b.Health.Changes) != 1 || len(b.Queues["q"]) != 2 || b.Configuration[0].Fingerprint != "aabb" {
		t.Errorf("%q, %+v", b.Faults, b)
	}
	if len(b.Manifest.Missing) != 1 || !strings.Contains(b.Manifest.Missing[0], "no answer about") || b.Summary.Findings[0].Level != attention.Urgent || !strings.Contains(b.Goroutines, "goroutine") {
		t.Errorf("%+v", b.Manifest)
	}
	if b.Tasks[0].Worker != "email-worker@mail-1.example" || b.Health.Processes[0].Node != "email-worker@mail-1.example" {
		t.Error("names of nodes are gone")
	}
	var what []string
	for _, m := range b.Timeline() {
		what = append(what, m.What)
	}
	if got := strings.Join(what, "; "); got != "email-worker@mail-1.example: mail; otp to a***@mail.example: rejected; needs attention" {
		t.Errorf("timeline: %s", got)
	}
}

// pack makes a zip of files.
func pack(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	for name, content := range files {
		w, err := z.Create(name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, content); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// silent is a fleet whose events do not arrive.
type silent struct{ monitor.Fleet }

func (silent) Status() fleet.Status                   { return fleet.Status{} }
func (silent) Tasks(fleet.Filter) (fleet.Page, error) { return fleet.Page{}, nil }

// unseen are queues that cannot be looked at.
type unseen struct{ queues }

func (unseen) State() *watch.State { return &watch.State{Fault: "connection refused"} }

// A bundle that is made while Redis does not answer says what it lacks: an empty list is not news.
func TestBundleWithoutRedis(t *testing.T) {
	s := sources()
	s.Fleet, s.Watch, s.Vitals = silent{}, unseen{}, func() vitals.State { return vitals.State{} }
	missing := strings.Join(s.Collect(t.Context(), now.Add(-time.Hour), now, nil).Manifest.Missing, "\n")
	for _, want := range []string{"health of the workers: Redis has not told", "Redis does not answer: connection refused", "events of tasks: they do not arrive"} {
		if !strings.Contains(missing, want) {
			t.Errorf("%q is not among the missing parts:\n%s", want, missing)
		}
	}
}

// Files that want to harm the reader are refused, or opened without harm.
func TestHostileBundles(t *testing.T) {
	const manifest = `{"format":1,"files":[]}`
	many := map[string]string{"manifest.json": manifest}
	for i := range 40 {
		many[strings.Repeat("x", i+1)] = ""
	}
	for name, raw := range map[string][]byte{
		"no zip": []byte("PK"), "empty": nil, "bomb": pack(t, map[string]string{"manifest.json": manifest, "mails.json": strings.Repeat(" ", 9<<20)}),
		"many bombs":   pack(t, map[string]string{"manifest.json": manifest, "mails.json": strings.Repeat(" ", 7<<20), "tasks.json": strings.Repeat(" ", 7<<20), "queues.json": strings.Repeat(" ", 7<<20), "health.json": strings.Repeat(" ", 7<<20), "counts.json": strings.Repeat(" ", 7<<20)}),
		"traversal":    pack(t, map[string]string{"manifest.json": manifest, "../../etc/passwd": "x"}),
		"absolute":     pack(t, map[string]string{"manifest.json": manifest, "/etc/passwd": "x"}),
		"folder":       pack(t, map[string]string{"manifest.json": manifest, "mails.json/": ""}),
		"many files":   pack(t, many),
		"no manifest":  pack(t, map[string]string{"mails.json": "[]"}),
		"other format": pack(t, map[string]string{"manifest.json": `{"format":7}`}),
	} {
		if _, err := incident.Read(bytes.NewReader(raw), int64(len(raw))); !errors.Is(err, incident.ErrNoBundle) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := incident.Read(bytes.NewReader(nil), 1<<40); !errors.Is(err, incident.ErrNoBundle) {
		t.Errorf("a huge file: %v", err)
	}
	whole := pack(t, map[string]string{"manifest.json": manifest})
	for want, raw := range map[string][]byte{"it is empty": nil, "its end is missing": whole[:len(whole)/2], "it is no zip": []byte("hello, bundle")} {
		if _, err := incident.Read(bytes.NewReader(raw), int64(len(raw))); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("a file of which %s: %v", want, err)
		}
	}
	deep := strings.Repeat("[", 1<<20)
	long, err := json.Marshal(make([]ledger.Mail, 9000))
	if err != nil {
		t.Fatal(err)
	}
	raw := pack(t, map[string]string{"manifest.json": `{"format":1,"files":[{"name":"tasks.json","sha256":"00"},{"name":"queues.json"}]}`, "health.json": deep, "mails.json": string(long), "tasks.json": `{"a":1}`, "summary.json": "null"})
	b, err := incident.Read(bytes.NewReader(raw), int64(len(raw)))
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(b.Faults, "; "); len(b.Mails) > 2000 || !strings.Contains(got, "tasks.json was changed") || !strings.Contains(got, "health.json is not understood") || !strings.Contains(got, "queues.json is missing") {
		t.Errorf("%d mails, faults %s", len(b.Mails), got)
	}
	b.Timeline()
}

func FuzzRead(f *testing.F) {
	f.Add(bundle(f))
	f.Add([]byte("PK\x05\x06"))
	f.Add(pack(f, map[string]string{"manifest.json": `{"format":1}`, "summary.json": `{"findings":[{"level":"?"}]}`, "mails.json": `[{"state":"odd"}]`}))
	f.Fuzz(func(t *testing.T, raw []byte) {
		b, err := incident.Read(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			if !errors.Is(err, incident.ErrNoBundle) {
				t.Error(err)
			}
			return
		}
		b.Timeline()
		b.Nodes()
		if err := b.Write(io.Discard, nil, b.Nodes()); err != nil {
			t.Errorf("it cannot be written again: %v", err)
		}
	})
}
