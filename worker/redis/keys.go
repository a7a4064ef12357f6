package redis

import "strings"

// keys are the names of everything in Redis but the queues.
type keys struct {
	prefix, results       string
	unacked, index, mutex string // Celery's
	dead, deadMeta        string // hashes by id
	deadIndex             string // ids by time
	spare                 string // letters while one of these keys holds something else
	owners                string // owners by their last heartbeat
	revoked, stamps       string // revoked ids and stamps by the time of their revocation
}

// newKeys takes the prefix of the broker's keys and that of the results. To the
// latter Celery adds an underscore unless it ends in a separator.
func newKeys(prefix, results string) keys {
	if results != "" && !strings.ContainsAny(results[len(results)-1:], ":_-.") {
		results += "_"
	}
	own := prefix + "_goworker.1."
	return keys{
		prefix: prefix, results: results,
		unacked: prefix + "unacked", index: prefix + "unacked_index", mutex: prefix + "unacked_mutex",
		dead: own + "dead", deadMeta: own + "dead.meta", deadIndex: own + "dead.index",
		spare:   own + "dead.spare",
		owners:  own + "owners",
		revoked: own + "revoked", stamps: own + "revoked.stamps",
	}
}

// owner is the hash about one owner.
func (k keys) owner(id string) string { return k.prefix + "_goworker.1.owner." + id }

// recovery is the lock around giving back what a dead owner held.
func (k keys) recovery(id string) string { return k.prefix + "_goworker.1.recovery." + id }

// crashes counts the runs of a task that did not end. It is kept by task id,
// which a redelivery does not change; "" has no count.
func (k keys) crashes(id string) string {
	if id == "" {
		return ""
	}
	return k.crashesPrefix() + id
}

func (k keys) crashesPrefix() string { return k.prefix + "_goworker.1.crashes." }

// step keeps a settlement of several steps from being carried out twice.
func (k keys) step(token string) string { return k.prefix + "_goworker.1.step." + token }

// limit is the state of a rate limit that all workers share.
func (k keys) limit(name string) string { return k.prefix + "_goworker.1.limit." + name }

// result is the key of a result, and the channel that it is announced on.
func (k keys) result(id string) string { return k.results + "celery-task-meta-" + id }

// binding is the routing table of an exchange.
func (k keys) binding(exchange string) string { return k.prefix + "_kombu.binding." + exchange }
