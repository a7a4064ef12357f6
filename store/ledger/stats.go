package ledger

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"time"
)

// Count is the number of events of a kind that led to a state, with the distribution of the
// time from the first claim to the event.
type Count struct {
	Kind  string `json:"kind"`
	State State  `json:"state"`
	N     int64  `json:"n"`

	// Percentiles in seconds, interpolated between the bounds of the histogram. Within
	// tells how many events came within ten seconds: the objective for codes.
	P50    float64 `json:"p50"`
	P90    float64 `json:"p90"`
	P95    float64 `json:"p95"`
	P99    float64 `json:"p99"`
	Within int64   `json:"within_10s"`
}

// Point is a count of one minute, hour or day, for a chart.
type Point struct {
	Start time.Time `json:"start"`
	Kind  string    `json:"kind"`
	State State     `json:"state"`
	N     int64     `json:"n"`
}

// countRow is a row of the table counts.
type countRow struct {
	Start  stamp  `db:"start_at"`
	Kind   string `db:"kind"`
	State  State  `db:"state"`
	Bucket int    `db:"bucket"`
	N      int64  `db:"n"`
}

// interval is a part of a period that rows of one span cover.
type interval struct {
	span     time.Duration
	from, to time.Time
}

// intervals divides a period into days, and hours and minutes at its ends, so that few rows
// have to be added up. The ends are rounded to minutes, outwards; where minutes are not kept
// any more, to hours.
func intervals(since, until, now time.Time) []interval {
	const minutesKept = 7*24*time.Hour - 2*time.Hour
	since, until = since.UTC().Truncate(time.Minute), ceil(until.UTC(), time.Minute)
	if now.Sub(since) > minutesKept {
		since = since.Truncate(time.Hour)
	}
	if now.Sub(until) > minutesKept {
		until = ceil(until, time.Hour)
	}
	var parts []interval
	var divide func(spans []time.Duration, from, to time.Time)
	divide = func(spans []time.Duration, from, to time.Time) {
		if !from.Before(to) {
			return
		}
		span := spans[len(spans)-1]
		first, last := ceil(from, span), to.Truncate(span)
		if len(spans) == 1 || first.Before(last) {
			if len(spans) > 1 {
				divide(spans[:len(spans)-1], from, first)
				defer divide(spans[:len(spans)-1], last, to)
			}
			parts = append(parts, interval{span, first, last})
			return
		}
		divide(spans[:len(spans)-1], from, to)
	}
	divide(spans, since, until)
	sort.Slice(parts, func(i, j int) bool { return parts[i].from.Before(parts[j].from) })
	return parts
}

func ceil(t time.Time, span time.Duration) time.Time {
	if down := t.Truncate(span); !down.Equal(t) {
		return down.Add(span)
	}
	return t
}

// Stats returns the counts of events between two times, by kind and state.
func (r *Reader) Stats(ctx context.Context, since, until time.Time) ([]Count, error) {
	ctx, cancel := r.db.deadline(ctx)
	defer cancel()
	type key struct {
		kind  string
		state State
	}
	histograms := map[key][]int64{}
	for _, part := range intervals(since, until, time.Now()) {
		var rows []countRow
		err := r.db.query(ctx, r.db.db, &rows, "SELECT kind, state, bucket, sum(n) AS n FROM evently_mail.counts WHERE span = ? AND start_at >= ? AND start_at < ? GROUP BY kind, state, bucket",
			int64(part.span/time.Second), r.db.time(part.from), r.db.time(part.to))
		if err != nil {
			return nil, r.fault("count mails", err)
		}
		for _, row := range rows {
			k := key{row.Kind, row.State}
			if histograms[k] == nil {
				histograms[k] = make([]int64, len(bounds)+1)
			}
			histograms[k][min(max(row.Bucket, 0), len(bounds))] += row.N
		}
	}
	counts := make([]Count, 0, len(histograms))
	for k, h := range histograms {
		counts = append(counts, count(k.kind, k.state, h))
	}
	slices.SortFunc(counts, func(a, b Count) int { return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.State, b.State)) })
	return counts, nil
}

func count(kind string, state State, histogram []int64) Count {
	c := Count{Kind: kind, State: state}
	for i, n := range histogram {
		c.N += n
		if i < len(bounds) && bounds[i] <= 10*time.Second {
			c.Within += n
		}
	}
	for at, share := range map[*float64]float64{&c.P50: 0.5, &c.P90: 0.9, &c.P95: 0.95, &c.P99: 0.99} {
		*at = percentile(histogram, c.N, share)
	}
	return c
}

// percentile returns the duration in seconds below which a share of the events is. In the
// last bucket it is the bound before it.
func percentile(histogram []int64, total int64, share float64) float64 {
	if total == 0 {
		return 0
	}
	rest := share * float64(total)
	for i, n := range histogram {
		if n == 0 || rest > float64(n) {
			rest -= float64(n)
			continue
		}
		if i == len(bounds) {
			break
		}
		low := time.Duration(0)
		if i > 0 {
			low = bounds[i-1]
		}
		return low.Seconds() + (bounds[i]-low).Seconds()*rest/float64(n)
	}
	return bounds[len(bounds)-1].Seconds()
}

// Chart returns the counts between two times for each minute, hour or day. Minutes are kept
// for a week. Periods without events have no point.
func (r *Reader) Chart(ctx context.Context, since, until time.Time, span time.Duration) ([]Point, error) {
	ctx, cancel := r.db.deadline(ctx)
	defer cancel()
	if !slices.Contains(spans, span) {
		span = time.Hour
	}
	var rows []countRow
	err := r.db.query(ctx, r.db.db, &rows, "SELECT start_at, kind, state, sum(n) AS n FROM evently_mail.counts WHERE span = ? AND start_at >= ? AND start_at < ? GROUP BY start_at, kind, state ORDER BY start_at, kind, state",
		int64(span/time.Second), r.db.time(since.UTC().Truncate(span)), r.db.time(until))
	if err != nil {
		return nil, r.fault("count mails", err)
	}
	points := make([]Point, len(rows))
	for i, row := range rows {
		points[i] = Point{Start: row.Start.Time, Kind: row.Kind, State: row.State, N: row.N}
	}
	return points, nil
}

// ClassCount is the number of events of a kind that led to a state, with the class of the
// failure.
type ClassCount struct {
	Kind  string `json:"kind" db:"kind"`
	State State  `json:"state" db:"state"`
	Class string `json:"class" db:"class"`
	N     int64  `json:"n" db:"n"`
}

// Classes returns the counts of failures between two times, rounded to hours, the largest
// first.
func (r *Reader) Classes(ctx context.Context, since, until time.Time) ([]ClassCount, error) {
	ctx, cancel := r.db.deadline(ctx)
	defer cancel()
	var counts []ClassCount
	err := r.db.query(ctx, r.db.db, &counts, "SELECT kind, state, class, sum(n) AS n FROM evently_mail.classes WHERE hour >= ? AND hour < ? GROUP BY kind, state, class ORDER BY n DESC, kind, state, class LIMIT ?",
		r.db.time(since.UTC().Truncate(time.Hour)), r.db.time(until), mostMails)
	if err != nil {
		return nil, r.fault("count failures", err)
	}
	return counts, nil
}

// DomainCount is the number of events of a domain that led to a state, with the class of
// the failure.
type DomainCount struct {
	Domain string `json:"domain" db:"domain"`
	State  State  `json:"state" db:"state"`
	Class  string `json:"class,omitempty" db:"class"`
	N      int64  `json:"n" db:"n"`
}

// Domains returns the counts of events by domain between two times, rounded to days of UTC,
// the largest first. Of a longer period it counts the last 7 days. limit is the number of
// counts at most.
func (r *Reader) Domains(ctx context.Context, since, until time.Time, limit int) ([]DomainCount, error) {
	ctx, cancel := r.db.deadline(ctx)
	defer cancel()
	if earliest := until.Add(-7 * day); since.Before(earliest) {
		since = earliest
	}
	if limit <= 0 {
		limit = defaultLimit
	}
	var counts []DomainCount
	err := r.db.query(ctx, r.db.db, &counts, "SELECT domain, state, class, sum(n) AS n FROM evently_mail.domains WHERE day >= ? AND day < ? GROUP BY domain, state, class ORDER BY n DESC, domain, state, class LIMIT ?",
		r.db.time(since.UTC().Truncate(day)), r.db.time(until), min(limit, mostMails))
	if err != nil {
		return nil, r.fault("count mails by domain", err)
	}
	return counts, nil
}

// Facet is the number of mails in a state.
type Facet struct {
	State State `json:"state"`
	N     int64 `json:"n"`

	// Estimated says that there are more than [MostCounted], and N is what the statistics of
	// PostgreSQL tell. In SQLite N is one more than MostCounted then.
	Estimated bool `json:"estimated,omitempty"`
}

// MostCounted is the number of mails up to which [Reader.Facets] counts.
const MostCounted = 10_000

// Facets returns the numbers of mails that f chooses, by state. The states and the place in the
// list that f names are ignored.
func (r *Reader) Facets(ctx context.Context, f Filter) ([]Facet, error) {
	ctx, cancel := r.db.deadline(ctx)
	defer cancel()
	f.After = ""
	where, args, err := r.conditions(ctx, f)
	if errors.Is(err, ErrNoKey) {
		return nil, nil // no address was ever stored
	}
	if err != nil {
		return nil, r.fault("count mails", err)
	}
	if len(f.Kinds) > 0 {
		where, args = append(where, "kind IN (?)"), append(args, f.Kinds)
	}
	if f.Address != "" || f.UserID != nil || f.Booking != "" || f.TaskID != "" || f.Mail != "" {
		facets, err := r.fewFacets(ctx, where, args)
		return facets, r.faultOf("count mails", err)
	}
	facets, err := r.manyFacets(ctx, f, where, args)
	return facets, r.faultOf("count mails", err)
}

// faultOf is fault for an error that may be nil.
func (r *Reader) faultOf(doing string, err error) error {
	if err == nil {
		return nil
	}
	return r.fault(doing, err)
}

// facetRow is the number of mails in a state.
type facetRow struct {
	State State `db:"state"`
	N     int64 `db:"n"`
}

// fewFacets counts mails of a filter that chooses few.
func (r *Reader) fewFacets(ctx context.Context, where []string, args []any) (facets []Facet, err error) {
	var rows []facetRow
	query := fmt.Sprintf("SELECT state, count(*) AS n FROM (SELECT state FROM evently_mail.mails WHERE %s LIMIT %d) AS q GROUP BY state ORDER BY state", strings.Join(where, " AND "), MostCounted+1)
	err = r.db.query(ctx, r.db.db, &rows, query, args...)
	for _, row := range rows {
		facets = append(facets, Facet{State: row.State, N: row.N, Estimated: row.N > MostCounted})
	}
	return facets, err
}

// manyFacets counts up to one more than MostCounted of each state. A state with far more, as
// PostgreSQL expects, is not counted at all.
func (r *Reader) manyFacets(ctx context.Context, f Filter, where []string, args []any) (facets []Facet, err error) {
	count := func(states []State) (query string, all []any) {
		var parts []string
		for _, s := range states {
			conditions := strings.Join(append(slices.Clone(where), fmt.Sprintf("state = %d", int(s))), " AND ")
			parts = append(parts, fmt.Sprintf("SELECT %d AS state, count(*) AS n FROM (SELECT 1 FROM evently_mail.mails WHERE %s ORDER BY first_seen DESC LIMIT %d) AS q", int(s), conditions, MostCounted+1))
			all = append(all, args...)
		}
		return strings.Join(parts, " UNION ALL "), all
	}
	states := slices.DeleteFunc(States(), func(s State) bool { return s == Accepted && len(f.Classes) > 0 })
	query, all := count(states)
	expected, err := r.expect(ctx, states, query, all)
	if err != nil {
		return nil, err
	}
	few := slices.DeleteFunc(slices.Clone(states), func(s State) bool { return expected[s] > 2*MostCounted })
	counted := map[State]int64{}
	if len(few) > 0 {
		var rows []facetRow
		query, all = count(few)
		if err := r.db.query(ctx, r.db.db, &rows, query, all...); err != nil {
			return nil, err
		}
		for _, row := range rows {
			counted[row.State] = row.N
		}
	}
	for _, s := range states {
		n, wasCounted := counted[s]
		if !wasCounted || n > MostCounted {
			facets = append(facets, Facet{State: s, N: max(expected[s], MostCounted+1), Estimated: true})
		} else if n > 0 {
			facets = append(facets, Facet{State: s, N: n})
		}
	}
	return facets, nil
}

// plannedNode is a node of a plan of PostgreSQL.
type plannedNode struct {
	Type  string        `json:"Node Type"`
	Rows  float64       `json:"Plan Rows"`
	Plans []plannedNode `json:"Plans"`
}

// expect returns how many mails of each state PostgreSQL expects: the rows below the limits of
// a query of manyFacets. It reads no mail. SQLite expects nothing.
func (r *Reader) expect(ctx context.Context, states []State, query string, args []any) (map[State]int64, error) {
	if !r.db.postgres {
		return nil, nil
	}
	var plans []string
	err := r.db.query(ctx, r.db.db, &plans, "EXPLAIN (FORMAT JSON) "+query, args...)
	if err != nil || len(plans) == 0 {
		return nil, err
	}
	var explained []struct{ Plan plannedNode }
	if err := json.Unmarshal([]byte(plans[0]), &explained); err != nil || len(explained) == 0 {
		return nil, err
	}
	var below []float64
	var visit func(n plannedNode)
	visit = func(n plannedNode) {
		if n.Type == "Limit" && len(n.Plans) == 1 {
			below = append(below, n.Plans[0].Rows)
			return
		}
		for _, child := range n.Plans {
			visit(child)
		}
	}
	visit(explained[0].Plan)
	if len(below) != len(states) { // a plan of another form
		return nil, nil
	}
	expected := make(map[State]int64, len(states))
	for i, s := range states {
		expected[s] = int64(below[i])
	}
	return expected, nil
}

// Oldest returns the first claim of the oldest mail, the zero time without mails.
func (r *Reader) Oldest(ctx context.Context) (time.Time, error) {
	ctx, cancel := r.db.deadline(ctx)
	defer cancel()
	var times []stamp
	err := r.db.query(ctx, r.db.db, &times, "SELECT first_seen FROM evently_mail.mails ORDER BY first_seen LIMIT 1")
	if err != nil {
		return time.Time{}, r.fault("look for the oldest mail", err)
	}
	if len(times) == 0 {
		return time.Time{}, nil
	}
	return times[0].Time, nil
}
