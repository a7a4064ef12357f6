package letters

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/evently/workers/internal/words"
	"github.com/evently/workers/monitor/desk/jobs"
	"github.com/evently/workers/monitor/internal/segment"
	"github.com/evently/workers/monitor/web"
)

// jobView is the page of a job.
type jobView struct {
	Head    web.Head
	Problem string
	Share   int
	Total   int
	Tried   int
	Text    string // how far it is
	Advice  string // what to do about it; "": nothing
	Running bool
	Stop    string // path of the action; "": it is not offered
	Facts   []web.Fact
	Result  []string
	Faults  []string
	More    int
	Error   string
}

// jobsView is the list of jobs.
type jobsView struct {
	Head  web.Head
	Rows  []jobRow
	Empty *web.Empty
}

type jobRow struct {
	Title, Href, By, Text string
	Chip                  web.Chip
	Started               time.Time
}

// jobTones are the colours of the states.
var jobTones = map[jobs.State]web.Tone{jobs.Running: web.Info, jobs.Done: web.Good, jobs.Stopped: web.Wait, jobs.Interrupted: web.Bad, jobs.Failed: web.Bad}

func jobPath(id string, more string) string { return "/jobs/" + segment.Of(id) + more }

// progressText says how far a job is.
func progressText(j *jobs.Job) string {
	text := fmt.Sprintf("%d done", j.Done)
	if j.Total > 0 {
		text = fmt.Sprintf("%d of %d done", j.Done, j.Total)
	}
	if j.Refused > 0 {
		text += fmt.Sprintf(", %d refused", j.Refused)
	}
	return text
}

func (g *Group) loadJob(ctx context.Context, r *web.Request) (web.View, error) {
	if err := g.here(); err != nil {
		return web.View{}, err
	}
	j, err := g.cfg.Jobs.Job(ctx, r.PathValue("job"))
	if errors.Is(err, jobs.ErrNoJob) {
		return web.View{}, web.NotFound(sentence(err.Error()))
	}
	if err != nil {
		return web.View{}, plain(err)
	}
	v := &jobView{
		Head: web.Head{
			Title: line(j.Title), Back: &web.Link{Text: "Jobs", Href: "/jobs"}, Chips: []web.Chip{{Text: string(j.State), Tone: jobTones[j.State]}},
		},
		Problem: r.Problem, Share: j.Share(), Total: j.Total, Tried: j.Tried(), Text: progressText(&j), Running: j.State == jobs.Running,
		More: j.More, Error: line(j.Error),
	}
	if rest := j.Rest(); rest > 0 {
		v.Text += ", about " + words.Spell(rest) + " left"
	}
	switch j.State {
	case jobs.Interrupted:
		v.Advice = fmt.Sprintf("The monitor ended before the job. At least %d were tried; the others are as they were. Start the same again for the rest: a letter that was retried is not sent twice.", j.Tried())
	case jobs.Stopped:
		v.Advice = fmt.Sprintf("It was stopped: %d were not tried.", j.Total-j.Tried())
	case jobs.Failed:
		v.Advice = "The letters that were not tried are as they were."
	}
	if v.Running && r.May(web.RoleOperator) {
		v.Stop = jobPath(j.ID, "/stop")
	}
	for _, f := range j.Facts {
		v.Facts = append(v.Facts, web.Fact{Name: line(f.Name), Value: line(f.Value)})
	}
	v.Facts = append(v.Facts, web.Fact{Name: "By", Value: line(j.By)}, web.Fact{Name: "Started", Time: j.Started})
	if !j.Ended.IsZero() {
		v.Facts = append(v.Facts, web.Fact{Name: "Took", Value: words.Spell(j.Ended.Sub(j.Started))})
	}
	for _, l := range j.Result {
		v.Result = append(v.Result, line(l))
	}
	for _, f := range j.Faults {
		v.Faults = append(v.Faults, line(f))
	}
	return web.View{Title: v.Head.Title, Data: v}, nil
}

func (g *Group) loadJobs(ctx context.Context, _ *web.Request) (web.View, error) {
	if err := g.here(); err != nil {
		return web.View{}, err
	}
	all, err := g.cfg.Jobs.List(ctx)
	if err != nil {
		return web.View{}, plain(err)
	}
	v := &jobsView{Head: web.Head{Title: "Jobs"}}
	for i := range all {
		j := &all[i]
		v.Rows = append(v.Rows, jobRow{
			Title: line(j.Title), Href: jobPath(j.ID, ""), By: line(j.By), Text: progressText(j), Chip: web.Chip{Text: string(j.State), Tone: jobTones[j.State]}, Started: j.Started,
		})
	}
	if len(all) == 0 {
		v.Empty = &web.Empty{Title: "No jobs", Text: "Work on many dead letters at once is a job, and so is the check of the audit trail. Its progress is kept for 30 days.", Href: "/dead-letters", Link: "Dead letters"}
	}
	return web.View{Title: v.Head.Title, Data: v}, nil
}

func (g *Group) doStop(ctx context.Context, r *web.Request) (web.Done, error) {
	if err := g.here(); err != nil {
		return web.Done{}, err
	}
	id := r.PathValue("job")
	err := g.cfg.Jobs.Stop(ctx, id)
	switch {
	case errors.Is(err, jobs.ErrNoJob):
		return web.Done{}, web.NotFound(sentence(err.Error()))
	case err != nil:
		return web.Done{}, web.Invalid(sentence(err.Error()))
	}
	return web.Done{Location: jobPath(id, ""), Notice: "The job stops after the current letters.", Tone: web.Wait, Subjects: []string{"job:" + id}}, nil
}
