package model

import "fmt"

// Windows is a set of named windows: of ways in which the rule does not hold, each
// known and documented.
type Windows uint16

// Windows in which a message runs twice.
const (
	CrashAfterWork Windows = 1 << iota
	AwayBeforeWork
	AwayAfterHeld
	AwayAfterWork
	StoppedAfterWork
	ScanBeforeRenewal
	PythonCrashAfterWork
	PythonTimeout
	PythonTag
	PythonStop
	// Windows in which a message is lost.
	PythonCrashBeforeRegister
	PythonReplyLost
	// The window in which SUCCESS is replaced.
	PythonLateFailure
)

var windowNames = []struct {
	w    Windows
	name string
}{
	{CrashAfterWork, "crash after the work and before its end is stored"},
	{AwayBeforeWork, "frozen or cut off for longer than the timeout, before the work"},
	{AwayAfterHeld, "frozen or cut off for longer than the timeout, between Task.Held and the work"},
	{AwayAfterWork, "frozen or cut off for longer than the timeout, between the work and the storing of its end"},
	{StoppedAfterWork, "a stop cuts off a handler that has done its work"},
	{ScanBeforeRenewal, "renewed, after an absence, when Python's scan had listed it"},
	{PythonCrashAfterWork, "Python: crash after the work and before the acknowledgement"},
	{PythonTimeout, "Python: visibility timeout while the task runs"},
	{PythonTag, "Python: a scan gives back the successor's claim, which has the same delivery tag"},
	{PythonStop, "Python: a stop gives back the successor's claim, which has the same delivery tag"},
	{PythonCrashBeforeRegister, "Python: died between BRPOP and unacked"},
	{PythonReplyLost, "Python: the answer of BRPOP got lost"},
	{PythonLateFailure, "Python: FAILURE over SUCCESS, between GET and SETEX"},
}

// String names a single window; a set is named by its number.
func (w Windows) String() string {
	for _, n := range windowNames {
		if n.w == w {
			return n.name
		}
	}
	return fmt.Sprintf("windows %#x", uint16(w))
}

// The invariants, by their names.
const (
	NothingLost   = "no message is lost"
	SuccessStays  = "SUCCESS is never replaced"
	RunsOnce      = "a message runs twice in a named window only"
	LeaseKept     = "a worker that is well keeps its lease"
	LossIsTold    = "who has lost a claim hears of it from the next renewal"
	EndsSomewhere = "from every state one is reached where all messages are done or dead, without another fault"
)

// Step is one step of a path.
type Step struct {
	Name    string // script, commands, or what happens
	Variant string // "" as it should be
	Proc    int    // that takes it, -1 for none
	Msg     int    // that it is about, -1 for none
	Owner   int    // -1 for none
	Fault   bool   // something that need not happen
}

// Kind returns the name of a step without its process.
func (s Step) Kind() string {
	if s.Variant == "" {
		return s.Name
	}
	return s.Name + ", " + s.Variant
}

func (s Step) String() string {
	text := s.Kind()
	if s.Proc >= 0 {
		text = fmt.Sprintf("worker %c: %s", 'A'+s.Proc, text)
	}
	if s.Msg >= 0 {
		text += fmt.Sprintf(" (message %d)", s.Msg+1)
	}
	if s.Owner > 0 {
		text += fmt.Sprintf(" (owner %d)", s.Owner)
	}
	return text
}

// Names of the steps, and where each is taken. Those in .lua are files of ../internal/scripts.
// TestPlacesOfSteps holds the places to the code.
const (
	StepEnrol      = "HSET owner epoch"            // ../register.go, enrol
	StepHeartbeat  = "heartbeat.lua"               // ../lease.go, beat
	StepClaim      = "claim.lua"                   // ../claim.go, claim
	StepOrphan     = "giveback.lua of an orphan"   // ../register.go, returnOrphan
	StepStart      = "start.lua"                   // ../start.go, start
	StepBegin      = "the handler begins"          // ../../execute.go, execute
	StepHeld       = "HEXISTS unacked (Task.Held)" // ../lease.go, isHeld
	StepWork       = "the work is done"
	StepHeed       = "the handler gives up what is lost"                    // ../../execute.go, conclude
	StepSettle     = "settle.lua"                                           // ../settle.go, settle; finish.lua, settle.lua and carry.lua
	StepGiveBack   = "giveback.lua"                                         // ../recover.go, giveBackAll
	StepRenew      = "renew.lua"                                            // ../lease.go, renew
	StepProvenDead = "ZADD owners XX 0"                                     // ../owners.go, provenDead
	StepFence      = "fence.lua"                                            // ../owners.go, fence
	StepClaimsOf   = "ZSCAN unacked_index"                                  // ../owners.go, claimsOf
	StepRestore    = "restore.lua"                                          // ../recover.go, restore
	StepDismiss    = "dismiss.lua"                                          // ../owners.go, dismiss
	StepForget     = "DEL owner"                                            // a mutant
	StepExpired    = "SET unacked_mutex NX, ZREVRANGEBYSCORE unacked_index" // ../recover.go, recoverExpired
	StepUnlock     = "unlock.lua"                                           // ../recover.go, recoverExpired
	StepLeave      = "ZREM owners, DEL owner"                               // ../lease.go, leave
	StepBRPOP      = "BRPOP"                                                // kombu/transport/redis.py, _brpop_read
	StepRegister   = "ZADD unacked_index, HSET unacked"                     // QoS.append
	StepLook       = "GET result"                                           // celery/backends/base.py, _store_result
	StepStore      = "SETEX result"                                         // celery/backends/base.py, _store_result
	StepAck        = "ZREM unacked_index, HDEL unacked"                     // QoS.ack
	StepByTag      = "restore_by_tag"                                       // QoS.restore_by_tag
	StepTick       = "time passes: half a timeout"
	StepCrash      = "crash"
	StepFreeze     = "freezes"
	StepCut        = "is cut off from Redis"
	StepBack       = "is back"
	StepStop       = "is told to stop" // ../../stop.go, drain
	StepRestart    = "a new process starts"
	StepExit       = "ends"
	StepAckFirst   = "ZREM, HDEL before the result (a mutant)"
	StepStoreLast  = "result after the acknowledgement (mutant)"
)
