package bounces_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/internal/testkit/pages"
	"github.com/evently/workers/monitor/pages/bounces"
	"github.com/evently/workers/store/ledger"
)

func TestBounces(t *testing.T) {
	db, sealer := pages.Ledger(t)
	store := ledger.NewBounces(ledger.BouncesConfig{DB: db, Sealer: sealer, Reference: func(string) string { return "" }})
	id := strings.Repeat("ab", 16)
	_, _, err := store.Store(context.Background(), ledger.Bounce{
		ID: id, ReceivedAt: time.Now(), Source: "smtp", Kind: ledger.BounceFailed, Address: "adalovelace@example.com", Code: 550, Enhanced: "5.1.1",
		Class: "bad_address", Text: "no such user " + pages.Hostile, RemoteMTA: pages.Hostile,
	})
	if err != nil {
		t.Fatal(err)
	}
	s := pages.Open(t, bounces.New(store))
	body := s.Get(t, "/bounces") + s.Get(t, "/bounces/"+id)
	pages.Has(t, s.Get(t, "/bounces"), "?@example.com", "no mail", "550 5.1.1", "bad_address")
	pages.Has(t, s.Get(t, "/bounces/"+id[:8]), "Not matched", "no such user", "550 5.1.1")
	if strings.Contains(body, "adalovelace") {
		t.Error("a whole address is shown")
	}
	for query, n := range map[string]int{"?unmatched=1": 1, "?kind=complaint": 0, "?kind=failed": 1, "?since=1h": 1} {
		if got := strings.Count(s.Get(t, "/bounces"+query), `class="row"`); got != n {
			t.Errorf("%s: %d rows", query, got)
		}
	}
	if status, _, _ := s.Page(t, "/bounces?since=x"); status != http.StatusBadRequest {
		t.Errorf("a wrong time: %d", status)
	}
	if status, _, _ := s.Page(t, "/bounces/ffff"); status != http.StatusNotFound {
		t.Errorf("no such bounce: %d", status)
	}
	pages.Has(t, pages.Open(t, bounces.New(nil)).Get(t, "/bounces"), "LEDGER_DATABASE_URL is off")
}
