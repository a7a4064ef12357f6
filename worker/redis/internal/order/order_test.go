package order_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/evently/workers/worker/redis/internal/order"
)

// ranked returns the names of the queues, the next one first.
func ranked(c *order.Choice) (names []string) {
	for _, q := range c.Ranked() {
		names = append(names, c.Queues()[q])
	}
	return names
}

// In turns the queue that gave a message goes to the end of the line, after any other,
// and a claim from some of the queues changes nothing between the others.
func TestTurnsAreALine(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		queues := make([]string, 1+random.IntN(6))
		for i := range queues {
			queues[i] = fmt.Sprintf("q%d", i)
		}
		c := order.New(order.Turns, queues, nil)
		line := slices.Clone(queues)
		last := func(queue string) {
			line = append(slices.DeleteFunc(line, func(q string) bool { return q == queue }), queue)
		}
		for range 20 {
			if random.IntN(2) == 0 {
				queue := queues[random.IntN(len(queues))]
				c.Took(queue)
				last(queue)
			} else {
				numbers := random.Perm(len(queues))[:1+random.IntN(len(queues))]
				some := c.Of(numbers)
				gave := map[string]bool{}
				for _, queue := range ranked(&some) { // the next one first
					if random.IntN(2) == 0 {
						gave[queue] = true
					}
				}
				for _, queue := range ranked(&some) {
					if gave[queue] {
						last(queue)
					}
				}
				c.Merge(numbers, some, gave)
			}
			if got := ranked(&c); !slices.Equal(got, line) {
				t.Fatalf("order %q, want %q", got, line)
			}
		}
	}
}

// In a fixed order no message changes anything.
func TestFixedOrderStays(t *testing.T) {
	t.Parallel()
	queues := []string{"a", "b", "c"}
	c := order.New(order.Fixed, queues, nil)
	c.Took("a")
	numbers := []int{2, 0}
	some := c.Of(numbers)
	if got := ranked(&some); !slices.Equal(got, []string{"a", "c"}) {
		t.Errorf("order of some %q", got)
	}
	c.Merge(numbers, some, map[string]bool{"a": true, "c": true})
	if got := ranked(&c); !slices.Equal(got, queues) {
		t.Errorf("order %q, want %q", got, queues)
	}
}

// With weights the script decides by credits, and its answer is taken over as it is.
func TestCreditsAreTheScripts(t *testing.T) {
	t.Parallel()
	c := order.New(order.Weights, []string{"a", "b", "c"}, map[string]int{"a": 1, "b": 5, "c": 0})
	if got, want := fmt.Sprint(c.Args()...), fmt.Sprint(order.Weights, 3, "a", 1, 0, "b", 5, 0, "c", 1, 0); got != want {
		t.Errorf("arguments %v, want %v", got, want)
	}
	if got := ranked(&c); !slices.Equal(got, []string{"b", "a", "c"}) {
		t.Errorf("order by weight %q", got)
	}
	if c.Set([]int{1, 2}) || !c.Set([]int{3, -2, 1}) {
		t.Error("Set accepts another number of marks than of queues, or refuses the right one")
	}
	if got := ranked(&c); !slices.Equal(got, []string{"a", "b", "c"}) {
		t.Errorf("order by credits %q", got)
	}
	numbers := []int{1, 2}
	some := c.Of(numbers)
	slices.Sort(numbers)
	if !some.Set([]int{4, 4}) {
		t.Fatal("credits of some are refused")
	}
	c.Took("a") // the script has counted it
	c.Merge(numbers, some, nil)
	if got := fmt.Sprint(c.Args()...); got != fmt.Sprint(order.Weights, 3, "a", 1, 3, "b", 5, 4, "c", 1, 4) {
		t.Errorf("after a claim from b and c: %v", got)
	}
}
