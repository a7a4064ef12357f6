package matrix_test

import (
	"flag"
	"os"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/evently/workers/torture/matrix"
)

var update = flag.Bool("update", false, "write docs/smtp-matrix.md")

const document = "../../docs/smtp-matrix.md"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every cell of the matrix is as expected: what becomes of the task, and what the server has.
func TestMatrix(t *testing.T) {
	cells := matrix.Cells()
	measured := make([]matrix.Measured, len(cells))
	// Most cells wait most of the time, for a server that does not answer.
	slots := make(chan struct{}, 64)
	var running sync.WaitGroup
	for i, c := range cells {
		slots <- struct{}{}
		running.Go(func() {
			measured[i] = matrix.Measure(t, c)
			<-slots
		})
	}
	running.Wait()
	outcomes := map[matrix.Outcome]int{}
	for i, c := range cells {
		m, want := measured[i], matrix.Expect(c)
		outcomes[m.Outcome]++
		if !want.Allows(m) {
			t.Errorf("%s: %s and %d mails, want %v: %s", c, m.Outcome, m.Mails, want.Outcomes, m.Words)
		}
	}
	t.Logf("%d cells: %v", len(cells), outcomes)
}

// The document is that of the code.
func TestDocument(t *testing.T) {
	want := matrix.Document()
	if *update {
		if err := os.WriteFile(document, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("%s is not that of torture/matrix: run go test ./torture/matrix -run TestDocument -update", document)
	}
}
