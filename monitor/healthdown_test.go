package monitor

import (
	"errors"
	"testing"
	"time"
)

// refusal is an answer of PostgreSQL.
type refusal string

func (r refusal) Error() string    { return "refused: " + string(r) }
func (r refusal) SQLState() string { return string(r) }

// A database that is down is asked again after a second; one that refuses the login is not, and
// neither is one that answers.
func TestPauseOfDatabase(t *testing.T) {
	for _, test := range []struct {
		err  error
		want time.Duration
	}{
		{nil, 15 * time.Second}, {errors.New("connection refused"), time.Second},
		{refusal("57P03"), time.Second}, {refusal("28P01"), 15 * time.Second},
	} {
		h := &Health{cfg: HealthConfig{Every: 15 * time.Second}}
		h.database.err = test.err
		if got := h.pause(); got != test.want {
			t.Errorf("%v: a pause of %v, want %v", test.err, got, test.want)
		}
	}
}
