package jobs

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/evently/workers/internal/sorting"
)

// Names on the board, and how long they stay.
const (
	listName = "repair.jobs"
	keepFor  = 30 * 24 * time.Hour
	mostKept = 50 // jobs
)

func jobName(id string) string  { return "repair.job." + id }
func stopName(id string) string { return "repair.stop." + id }

// write puts the state of a job on the board. While the board is unavailable other monitors see an old state.
func (r *Runner) write(ctx context.Context, j Job) {
	if r.cfg.Board == nil {
		return
	}
	value, err := json.Marshal(j)
	if err == nil {
		err = r.cfg.Board.Post(ctx, jobName(j.ID), value, keepFor)
	}
	if err != nil {
		r.cfg.Logger.Warn("state of a job not written", "job", j.ID, "error", err)
	}
}

// list adds a job to the list on the board.
func (r *Runner) list(ctx context.Context, id string) {
	if r.cfg.Board == nil {
		return
	}
	ids, err := r.listed(ctx)
	if err == nil && !slices.Contains(ids, id) {
		ids = append(ids, id)
		var value []byte
		if value, err = json.Marshal(ids[max(0, len(ids)-mostKept):]); err == nil {
			err = r.cfg.Board.Post(ctx, listName, value, keepFor)
		}
	}
	if err != nil {
		r.cfg.Logger.Warn("job not listed", "job", id, "error", err)
	}
}

func (r *Runner) listed(ctx context.Context) (ids []string, err error) {
	values, err := r.cfg.Board.Posted(ctx, listName)
	if err != nil {
		return nil, fmt.Errorf("read the list of jobs: %w", err)
	}
	if values[0] != nil && json.Unmarshal(values[0], &ids) != nil {
		ids = nil // it is of another version
	}
	return ids, nil
}

// ErrNoJob is the error of an id without a job.
var ErrNoJob = errors.New("there is no such job, or it ended more than 30 days ago")

// lostAfter is the age of the last sign of life from which a job counts as interrupted.
const lostAfter = leaseTime

// read settles what the board tells of a job of another process.
func (r *Runner) read(value []byte) (j Job, ok bool) {
	if value == nil || json.Unmarshal(value, &j) != nil {
		return j, false
	}
	if j.State == Running && r.cfg.Now().Sub(j.Seen) > lostAfter {
		j.State, j.Ended = Interrupted, j.Seen
	}
	return j, true
}

// Job returns a job of this or of another monitor, or [ErrNoJob].
func (r *Runner) Job(ctx context.Context, id string) (Job, error) {
	if j, ok := r.table.job(id); ok {
		return j, nil
	}
	if r.cfg.Board == nil {
		return Job{}, ErrNoJob
	}
	values, err := r.cfg.Board.Posted(ctx, jobName(id))
	if err != nil {
		return Job{}, fmt.Errorf("read the state of a job: %w", err)
	}
	if j, ok := r.read(values[0]); ok {
		return j, nil
	}
	return Job{}, ErrNoJob
}

// List returns the jobs of this and of other monitors, the latest first.
func (r *Runner) List(ctx context.Context) ([]Job, error) {
	byID := map[string]Job{}
	if r.cfg.Board != nil {
		ids, err := r.listed(ctx)
		if err != nil {
			return nil, err
		}
		names := make([]string, len(ids))
		for i, id := range ids {
			names[i] = jobName(id)
		}
		if len(names) > 0 {
			values, err := r.cfg.Board.Posted(ctx, names...)
			if err != nil {
				return nil, fmt.Errorf("read the states of jobs: %w", err)
			}
			for _, value := range values {
				if j, ok := r.read(value); ok {
					byID[j.ID] = j
				}
			}
		}
	}
	for _, j := range r.table.all() {
		byID[j.ID] = j
	}
	all := make([]Job, 0, len(byID))
	for _, j := range byID {
		all = append(all, j)
	}
	sorting.By(all, func(a, b Job) int { return cmp.Or(b.Started.Compare(a.Started), cmp.Compare(a.ID, b.ID)) })
	return all, nil
}
