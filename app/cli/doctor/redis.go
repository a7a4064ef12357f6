package doctor

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"github.com/evently/workers/app"
	"github.com/evently/workers/config"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker/redis"
)

// examineRedis examines one broker; name is that of REDIS_URLS.
func examineRedis(ctx context.Context, cfg config.Config, name string) finding {
	e, err := app.ExamineBroker(ctx, cfg)
	f := finding{Check: "redis", Name: name, Target: cmp.Or(e.Address, cfg.Redis.String()), Status: ok, Redis: &e}
	if e.Server != "" {
		f.Text = e.Server + ", " + cmp.Or(e.Role, "role unknown") + ", " + map[bool]string{true: "TLS", false: "no TLS"}[e.TLS]
	}
	for _, warning := range e.Warnings {
		f.Status = degraded
		f.Notes = append(f.Notes, warning)
	}
	f.Notes = append(f.Notes, lacks(e.Lacks)...)
	switch {
	case err != nil:
		e.Fault = cause(err, f.Target)
	case slices.ContainsFunc(e.Lacks, func(l redis.Lack) bool { return l.Required }):
		e.Fault = "the user lacks rights: docs/operations.md has the whole ACL SETUSER"
	case slices.ContainsFunc(e.Lacks, func(l redis.Lack) bool { return l.Cost != "" }):
		f.Status = degraded
	}
	if e.Fault != "" {
		f.Status, f.Text = failed, e.Fault
	}
	return f
}

// cause returns why a connection failed, without the beginning that repeats the address.
func cause(err error, address string) string {
	text := strings.TrimPrefix(err.Error(), "connect to redis "+address+": ")
	if strings.Contains(text, "TLS") { // it says more
		return text
	}
	return cmp.Or(ledger.Unavailability(err), text)
}

// lacks returns a line for each thing that does not work, with the rights that it needs.
func lacks(all []redis.Lack) (lines []string) {
	var costs []string
	rights := map[string][]string{}
	for _, l := range all {
		if rights[l.Cost] == nil {
			costs = append(costs, l.Cost)
		}
		rights[l.Cost] = append(rights[l.Cost], l.Right)
	}
	for _, cost := range costs {
		lines = append(lines, "without "+strings.Join(rights[cost], " ")+": "+cost)
	}
	return lines
}
