package fleet

import (
	"context"
	"fmt"
	"strings"
	"time"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker/broker"
)

// Bounds of a rate that is slowed down. Rates are counted in shares, of which the full rate
// has a million.
const (
	slowOnce    = 30 * time.Second // many workers hear of the same trouble
	wholeRate   = 1_000_000
	leastShares = wholeRate / 64
)

// Admit implements [broker.Admitter].
func (f *Fleet) Admit(ctx context.Context, limits []broker.Limit) (broker.Admission, error) {
	if err := broker.CheckLimits(limits); err != nil {
		return broker.Admission{}, fmt.Errorf("ask for admission: %w", err)
	}
	if len(limits) == 0 {
		return broker.Admission{Admitted: true}, nil
	}
	keys, args := make([]any, 0, 5*len(limits)), make([]any, 0, 3*len(limits))
	for _, l := range limits {
		keys = append(keys, f.prefix+"admit."+l.Name, f.prefix+"slow."+l.Name)
		args = append(args, l.Every.Microseconds(), max(l.Burst, 1), l.Reserve.Microseconds())
	}
	reply, err := redigo.Int64s(f.script(ctx, f.scripts.Admit, len(keys), append(keys, args...)...))
	if err == nil && (len(reply) != 3 || reply[1] < 0 || reply[1] > int64(len(limits))) {
		err = fmt.Errorf("reply of the script is not understood: %v", reply)
	}
	if err != nil {
		return broker.Admission{}, fmt.Errorf("ask for admission: %w", err)
	}
	a := broker.Admission{Wait: time.Duration(reply[0]) * time.Microsecond, Admitted: reply[2] == 1}
	if reply[1] > 0 {
		a.Limit = limits[reply[1]-1].Name
	}
	return a, nil
}

// Slow implements [broker.Admitter].
func (f *Fleet) Slow(ctx context.Context, s broker.Slowing) (share float64, slowed bool, err error) {
	reply, err := redigo.Int64s(f.script(ctx, f.scripts.Slow, 1, f.prefix+"slow."+s.Limit,
		slowOnce.Microseconds(), leastShares, s.Every.Microseconds(), strings.ReplaceAll(s.Caller, " ", "_")))
	if err == nil && len(reply) != 2 {
		err = fmt.Errorf("reply of the script is not understood: %v", reply)
	}
	if err != nil {
		return 0, false, fmt.Errorf("slow down the limit %s: %w", s.Limit, err)
	}
	return float64(reply[0]) / wholeRate, reply[1] == 1, nil
}
