package audit_test

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit"
	"github.com/evently/workers/internal/testkit/pages"
	"github.com/evently/workers/monitor/desk/jobs"
	"github.com/evently/workers/monitor/pages/audit"
	"github.com/evently/workers/monitor/web"
	"github.com/evently/workers/store/ledger"
	trail "github.com/evently/workers/store/ledger/audit"
)

func newTrail(t *testing.T) (*trail.Trail, func(statement string)) {
	db, _ := pages.Ledger(t)
	tr, err := trail.New(trail.TrailConfig{Store: ledger.NewAudit(db, 30*time.Second)})
	if err != nil {
		t.Fatal(err)
	}
	for i := range 60 {
		e := trail.Entry{
			ID: trail.NewID(), Actor: "ada@host", Via: "command", From: pages.Hostile, Action: "dead-letters.retry", IDs: []string{fmt.Sprint("letter", i), pages.Hostile},
			Details: `{"note": "called the customer"}`, Outcome: trail.Started,
		}
		if i == 59 {
			e.Actor, e.Action = "bob", "suppressions.release"
		}
		if err := tr.Append(t.Context(), e, e.Ended("failed: "+pages.Hostile, "")); err != nil {
			t.Fatal(err)
		}
	}
	return tr, func(statement string) {
		if _, err := db.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAudit(t *testing.T) {
	tr, exec := newTrail(t)
	runner := jobs.New(jobs.Config{})
	ctx, cancel := context.WithCancel(context.Background())
	var loop sync.WaitGroup
	loop.Go(func() { _ = runner.Run(ctx) })
	t.Cleanup(func() { cancel(); loop.Wait() })
	s := pages.Open(t, audit.New(audit.Config{Trail: tr, Jobs: runner}))

	body := s.Get(t, "/audit")
	pages.Has(t, body, "suppressions.release", "dead-letters.retry", "failed", "letter58", `rel="next"`, "Verify the whole trail")
	for query, n := range map[string]int{"?actor=bob": 1, "?actor=ada": 25, "?action=suppressions": 1, "?id=letter7": 1, "?since=1h&until=0s": 25, "?until=1h": 0, "?before=3": 1} {
		if got := strings.Count(s.Get(t, "/audit"+query), `class="row"`); got != n {
			t.Errorf("%s: %d rows, want %d", query, got, n)
		}
	}
	for _, wrong := range []string{"?since=x", "?before=x", "?before=-1", "?since=1h&until=2h"} {
		if status, _, _ := s.Page(t, "/audit"+wrong); status != http.StatusBadRequest {
			t.Errorf("%s: %d", wrong, status)
		}
	}
	for _, number := range []string{"15", "16"} { // the beginning and the outcome lead to one page
		pages.Has(t, s.Get(t, "/audit/"+number), "letter7", "called the customer", "Row 15", "Row 16", "Hash before", "started", "failed")
	}
	for _, none := range []string{"/audit/0", "/audit/999", "/audit/x"} {
		if status, _, _ := s.Page(t, none); status != http.StatusNotFound {
			t.Errorf("%s: %d", none, status)
		}
	}
	if _, text, _ := s.Page(t, "/audit/export/jsonl"); strings.Count(text, "\n") != 120 || !strings.Contains(text, `"number":120`) {
		t.Errorf("the export has %d lines", strings.Count(text, "\n"))
	}
	if _, text, _ := s.Page(t, "/audit/export/csv?actor=bob"); strings.Count(text, "suppressions.release") != 2 {
		t.Errorf("the filtered export:\n%s", text)
	}

	verify := func(form url.Values) jobs.Job {
		to := s.Posted(t, "/audit/verify", form)
		var j jobs.Job
		testkit.Eventually(t, 30*time.Second, "the check ends", func() (ended bool) {
			var err error
			j, err = runner.Job(t.Context(), strings.TrimPrefix(to, "/jobs/"))
			return err == nil && j.State != jobs.Running
		})
		return j
	}
	if j := verify(nil); j.State != jobs.Done || len(j.Faults) != 0 || j.Done != 120 || j.Result[0] != "The trail is whole." {
		t.Errorf("%+v", j)
	}
	if j := verify(url.Values{"head": {"500:" + strings.Repeat("ab", 32)}}); len(j.Faults) == 0 {
		t.Errorf("rows missing at the end: %+v", j)
	}
	s.Refused(t, "/audit/verify", url.Values{"head": {"x"}}, "number:hash")
	exec(`UPDATE evently_mail_audit SET actor = 'eve' WHERE number = 7`)
	if j := verify(nil); len(j.Faults) == 0 || !strings.Contains(j.Result[0], "NOT WHOLE") {
		t.Errorf("a changed row: %+v", j)
	}

	s.Role = web.RoleViewer
	if status, _, _ := s.Post(t, "/audit/verify", nil); status != http.StatusForbidden {
		t.Errorf("a viewer may verify: %d", status)
	}
	if status, _, _ := s.Page(t, "/audit/export/jsonl"); status != http.StatusForbidden {
		t.Errorf("a viewer may export: %d", status)
	}
	pages.Has(t, pages.Open(t, audit.New(audit.Config{})).Get(t, "/audit"), "No audit trail")
}
