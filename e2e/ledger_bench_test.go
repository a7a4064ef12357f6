package e2e_test

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/evently/workers/mail/smtptest"
)

// BenchmarkLedger measures the processor time of the service for a mail: without a
// history, with one that only records events, and with one that this worker also writes
// into PostgreSQL. The modes alternate, and the medians count.
func BenchmarkLedger(b *testing.B) {
	const mails = 3000
	modes := []string{"off", "recorded", "written"}
	defer func(program string) { bin.service = program }(bin.service)
	bin.service = withoutRaceDetector(b)
	took := map[string][]time.Duration{}
	for b.Loop() {
		for _, mode := range modes {
			took[mode] = append(took[mode], costOfMails(b, mode, mails)/mails)
		}
	}
	medians := map[string]time.Duration{}
	for mode, all := range took {
		slices.Sort(all)
		medians[mode] = all[len(all)/2]
		b.ReportMetric(float64(medians[mode].Microseconds()), mode+"-µs/mail")
	}
	for _, mode := range modes[1:] {
		b.ReportMetric(100*float64(medians[mode]-medians["off"])/float64(medians["off"]), mode+"-%")
	}
	b.ReportMetric(0, "ns/op")
}

// withoutRaceDetector builds the service as it is released.
func withoutRaceDetector(b *testing.B) string {
	path := filepath.Join(b.TempDir(), "evently-workers")
	if out, err := exec.Command("go", "build", "-o", path, "..").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	return path
}

// costOfMails returns the processor time of a service that sends n mails.
func costOfMails(b *testing.B, mode string, n int) time.Duration {
	p := startPlatform(b)
	p.addUser(b, outageUser, "ann@example.com", true)
	server := smtptest.New(b, smtptest.Options{Gather: true})
	_, port, _ := strings.Cut(server.Addr(), ":")
	history := map[string]string{
		"off":      "off",
		"recorded": "postgres://mailer@127.0.0.1:1/none?sslmode=disable", // unavailable: the stream waits
		"written":  p.postgres.URL(),
	}
	w := &outageWorld{platform: p, t: b}
	for i := range n {
		w.booking(i)
	}
	service := p.startService(b, "SMTP_PORT="+port, "LOG_LEVEL=info", "LEDGER_DATABASE_URL="+history[mode])
	eventually(b, time.Minute, "all mails are sent", func() bool { return len(server.Mails()) == n })
	if mode == "written" {
		eventually(b, time.Minute, "all events are written", func() bool {
			var rows int
			err := p.users.QueryRow(fmt.Sprintf("SELECT count(*) FROM evently_mail.mails WHERE state = %d", 100)).Scan(&rows)
			return err == nil && rows == n
		})
	}
	service.signal(syscall.SIGTERM)
	service.wait(30 * time.Second)
	return service.Cmd.ProcessState.UserTime() + service.Cmd.ProcessState.SystemTime()
}
