package moment_test

import (
	"strings"
	"testing"
	"time"

	"github.com/evently/workers/internal/moment"
	"github.com/evently/workers/internal/words"
)

// A time that the program has written can be typed again, in each zone of the machine.
func TestParseWhatIsWritten(t *testing.T) {
	at := time.Date(2026, 12, 1, 2, 10, 37, 0, time.UTC)
	for _, text := range []string{words.Clock(at), "2026-12-01 02:10:37 UTC", "2026-12-01 03:10:37 +01:00"} {
		if got, err := moment.Parse(text, at.Add(time.Hour)); err != nil || !got.Equal(at) {
			t.Errorf("%q: %v, %v; want %v", text, got, err, at)
		}
	}
	if got, err := moment.Parse("2026-12-01 02:10 UTC", at); err != nil || !got.Equal(at.Truncate(time.Minute)) {
		t.Errorf("without seconds: %v, %v", got, err)
	}
	if _, err := moment.Parse("yesterday UTC", at); err == nil || !strings.Contains(err.Error(), `"yesterday UTC"`) {
		t.Errorf("error %v", err)
	}
	if got, err := moment.Parse("2026-12-01 02:10:37 CET", at); err == nil {
		t.Errorf("a zone that is not known is %v", got)
	}
}
