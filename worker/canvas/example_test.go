package canvas_test

import (
	"fmt"

	"github.com/evently/workers/worker/canvas"
	"github.com/evently/workers/worker/protocol"
)

// A program builds a workflow and gets the messages to publish. The group and
// what follows it have become a chord, which travels with the first task.
func ExampleApply() {
	s := canvas.Chain(
		canvas.New("shop.tasks.load", 7),
		canvas.Group(canvas.New("shop.tasks.price"), canvas.New("shop.tasks.stock")),
		canvas.New("shop.tasks.report").Set(canvas.Options{Queue: "reports"}),
	)
	id := 0
	plan, err := canvas.Apply(s, nil, nil, canvas.Context{
		NewID: func() string { id++; return fmt.Sprint("id-", id) },
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, o := range plan.Messages {
		rest, err := canvas.ParseList(o.Message.Chain)
		fmt.Println(o.Message.Task, string(o.Message.Args), len(rest), rest[0].Task(), err)
	}
	// Output: shop.tasks.load [7] 1 celery.chord <nil>
}

// A worker asks what follows a success.
func ExampleAfterSuccess() {
	link, err := canvas.New("shop.tasks.notify", "done").Raw()
	if err != nil {
		fmt.Println(err)
		return
	}
	m := &protocol.Message{ID: "id-1", Task: "shop.tasks.load", Callbacks: link}
	plan, err := canvas.AfterSuccess(m, protocol.Raw("42"), canvas.Context{NewID: func() string { return "id-2" }})
	if err != nil {
		fmt.Println(err)
		return
	}
	next := plan.Messages[0].Message
	fmt.Println(next.Task, string(next.Args), next.ParentID, next.RootID)
	// Output: shop.tasks.notify [42, "done"] id-1 id-1
}
