package worker_test

import (
	"context"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
	"github.com/evently/workers/worker/workertest"
)

func TestRoutes(t *testing.T) {
	high := 9
	b := workertest.NewBroker()
	c, err := worker.NewClient(worker.ClientConfig{Backend: b, Publishing: worker.Publishing{Routes: []worker.Route{
		{Task: "mail.urgent", Queue: "urgent", Priority: &high},
		{Task: "mail.*", Queue: "mail"},
		{Regexp: regexp.MustCompile(`(audio|video)\.`), Queue: "media"},
	}}})
	if err != nil {
		t.Fatal(err)
	}
	for task, queue := range map[string]string{
		"mail.urgent": "urgent", "mail.welcome": "mail", "video.encode": "media", "my.video.encode": "celery", "other": "celery",
	} {
		r, err := c.Send(context.Background(), canvas.New(task))
		if err != nil {
			t.Fatal(err)
		}
		raws := b.Queued(queue)
		m, err := protocol.Decode(raws[len(raws)-1], protocol.Limits{})
		if err != nil || !slices.ContainsFunc(raws, func(raw []byte) bool { return strings.Contains(string(raw), r.ID) }) {
			t.Errorf("%s did not go to %s (%v)", task, queue, err)
		}
		if queue == "urgent" && m.Priority != 9 {
			t.Errorf("priority is %d, want that of the route", m.Priority)
		}
	}
	if _, err := c.Send(context.Background(), canvas.New("mail.welcome").Set(canvas.Options{Queue: "elsewhere"})); err != nil || len(b.Queued("elsewhere")) != 1 {
		t.Errorf("the option queue does not come before the routes (%v)", err)
	}
	if _, err := worker.NewClient(worker.ClientConfig{Publishing: worker.Publishing{Routes: []worker.Route{{Task: "[b-a]", Queue: "q"}, {}}}}); err == nil || strings.Count(err.Error(), "\n") < 2 {
		t.Errorf("faults of a client: %v, want three", err)
	}
}
