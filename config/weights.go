package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/evently/workers/internal/queuename"
	"github.com/evently/workers/internal/sorting"
)

// weights are queues with their weights, as name:weight,name:weight.
type weights struct {
	setting
	value map[string]int
}

const weightsForm = "write queues with weights from 1 to 1000, such as critical:6,default:3,low:1"

// Decode takes what stands behind the last colon for the weight: names of queues
// may have colons.
func (w *weights) Decode(value string) error {
	w.value = nil
	if !w.take(value) {
		return nil
	}
	w.value = make(map[string]int)
	items, note := splitList(strings.TrimSuffix(strings.TrimPrefix(w.text, "{"), "}"))
	w.remark(note)
	for _, item := range items {
		i := strings.LastIndex(item, ":")
		n, err := strconv.Atoi(strings.TrimSpace(item[i+1:]))
		if i < 1 || err != nil || n < 1 || n > 1000 {
			w.refuse(likeHost, "a list of weights", weightsForm)
			return nil
		}
		name := strings.TrimSpace(item[:i])
		if inner, ok := unquote(name); ok { // as in JSON
			name = inner
		}
		if _, twice := w.value[name]; twice {
			w.mistake(fmt.Sprintf("%q is there twice", name), "name each queue once")
			return nil
		}
		w.value[name] = n
	}
	return nil
}

func (w *weights) kind() string { return "name:weight, …" }

// queueWeights holds weights against what else is said of the queues.
func (c *Config) queueWeights(v *variables) {
	w := &v.QueueWeights
	for _, name := range sorting.Keys(w.value) {
		if !slices.Contains(v.Queues.value, name) {
			w.mistake(fmt.Sprintf("the queue %q is not among QUEUES", name), "name queues that QUEUES has")
		}
	}
	if len(w.value) == 0 {
		return
	}
	if v.QueueOrder.given() {
		v.QueueOrder.mistake("QUEUE_WEIGHTS is set as well, which takes its place", "set one of the two")
	}
	c.Worker.QueueOrder = ""
	v.QueueOrder.inForce("by weight", w.name)
}

// queueNames finds names of keys that are no queues.
func (l *list) queueNames() {
	for _, name := range l.value {
		if fault := queuename.Fault(name); fault != "" {
			l.mistake(fmt.Sprintf("%q is not the name of a queue: %s", name, fault), "name queues that producers send to")
		}
	}
}
