// Package queuename knows the names that no queue may have, because kombu, Celery and
// this worker keep something else under the key of that name.
package queuename

import "strings"

// Separator stands between the name of a queue and a priority step in the key of a list,
// unless kombu's option sep is set.
const Separator = "\x06\x16"

// Prefixes begin the names of keys that are no queues; global_keyprefix may stand before
// them.
var Prefixes = []string{"_kombu.binding.", "_goworker.", "celery-task-meta-", "celery-taskset-meta-"}

// Fault returns why name is not the name of a queue, or "". Other applications may share
// the database under a global_keyprefix such as "acme:", so their keys are no queues either.
func Fault(name string) string {
	switch name[strings.LastIndexByte(name, ':')+1:] {
	case "unacked", "unacked_index", "unacked_mutex":
		return "kombu keeps unacknowledged messages under that key"
	}
	for _, prefix := range Prefixes {
		if strings.Contains(name, prefix) {
			return "names with " + prefix + " are keys of workers and results"
		}
	}
	if strings.Contains(name, Separator) {
		return "it contains the separator of priorities"
	}
	return ""
}
