package model

const (
	maxProcs  = 3
	maxMsgs   = 2
	maxTasks  = 2
	maxOwners = 6 // the first stands for none
	old       = 2 // ticks after which a heartbeat or a lease has run out
)

// State is what is in Redis and what each process knows. It is comparable.
type State struct {
	// In Redis.
	Queue  [maxMsgs]uint8 // numbers of messages from 1, the one to be consumed next first
	Msgs   [maxMsgs]Msg
	Owners [maxOwners]Owner
	Mutex  uint8 // process from 1 that scans for expired messages, or dead
	// Of two unacknowledged messages the number of the one that was claimed last,
	// and of the one with the higher score: they go back in an order.
	Claimed, Scored uint8

	Procs [maxProcs]Proc

	// Faults that may still happen.
	Crashes, Absences, Losses, Stops uint8
}

// deadHolder holds the mutex of a process that is gone.
const deadHolder = 9

// Place is where a message is.
type Place uint8

// Places of a message.
const (
	Nowhere Place = iota // ended, or lost
	Queued
	Unacked
	InHand // popped and not registered: in the memory of one process
)

// Outcome is what is stored as the result of a task.
type Outcome uint8

// Results of a task.
const (
	Pending Outcome = iota
	Success
	Failure
)

// Msg is one message.
type Msg struct {
	Place       Place
	Python      bool  // the entry has the delivery tag for its name, and no owner
	Owner       uint8 // else the owner of the claim
	Age         uint8 // of the lease, in ticks
	Redelivered bool
	Result      Outcome
	Dead        bool // a copy is in the dead letters

	// The count of runs that did not end: the number and 2, as it may be -1, 0 for no key;
	// and whether the claim that is held was counted.
	Crashes uint8
	Counted bool

	// The following is invisible to processes.
	Runs  uint8   // that did the work, up to 2
	Lost  bool    // in a way that is known
	Cause Windows // of another run after one that has done its work
}

// Owner is what Redis knows of a worker of our kind, by its id.
type Owner struct {
	Used   bool
	Listed bool  // in the set of owners
	Age    uint8 // of its heartbeat, in ticks
	Key    uint8 // epoch: 0 none, 1 that of the process, more a newer one
	Flight bool  // a claim of this epoch was given up for lost, and may arrive
}

// Life of a process.
type Life uint8

// Lives of a process.
const (
	Down Life = iota
	Up
	Frozen // does nothing
	Cut    // goes on, but does not reach Redis
)

// Stage of a message in the hands of a process.
type Stage uint8

// Stages of a message.
const (
	Free       Stage = iota
	Claimed          // and waits for its turn
	Running          // the handler has begun
	Sure             // Task.Held has said that the claim is ours
	Worked           // what cannot be taken back has been done
	Succeeding       // settle.lua was sent and is unanswered
	Failing          // settle.lua was sent and is unanswered
	Returning        // giveback.lua was sent and is unanswered
	Poisoned         // too many runs have not ended
	Popped           // and not registered: Python, or the mutant
	Registered       // Python
	Looked           // Python: no SUCCESS was there
	Stored           // Python: the result is stored; in the mutant acknowledged without it
)

// Task is a message in the hands of a process.
type Task struct {
	Stage       Stage
	Msg         uint8
	Live        bool // the claim is still the one in Redis
	Redelivered bool // says the copy in hand
	Told        bool // the process knows that the claim is not its any more

	// Danger is the window that was open when another process got the message, invisible to
	// processes. It counts when the work is done after all.
	Danger Windows
}

// Recovery is the program counter of recoverOwners.
type Recovery struct {
	Step         uint8
	Owner        uint8
	Listed, Live uint8 // sets of messages: as read, and of those the claims that stand
}

// Scan is the program counter of the scan for expired messages.
type Scan struct {
	Step uint8
	Page uint8 // set of messages whose claims stand; ours: with the score that was read
	Tags uint8 // set of messages listed by their delivery tags; Python
	Last uint8 // of the two the one with the higher score, when they were listed; Python
}

// Proc is a process: one worker.
type Proc struct {
	Python   bool
	Life     Life
	Stopping bool
	Tasks    [maxTasks]Task
	Scan     Scan

	// Of our kind.
	Owner      uint8
	Registered bool
	Suspect    bool  // a claim may have been carried out unseen
	Enrol      uint8 // steps of a registration that were done
	Recovery   Recovery
	Absent     bool // stood still, and has not caught up; invisible to processes
}

func (p *Proc) ours() bool { return !p.Python && p.Owner != 0 }

// task returns a free place for a task, nil when the process has no room.
func (p *Proc) room(most int) *Task {
	held := 0
	var free *Task
	for i := range p.Tasks {
		if p.Tasks[i].Stage != Free {
			held++
		} else if free == nil {
			free = &p.Tasks[i]
		}
	}
	if held >= most {
		return nil
	}
	return free
}

func (p *Proc) idle() bool { return p.Tasks == [maxTasks]Task{} }

func bit[T ~uint8 | ~int](i T) uint8 { return 1 << i }

func has[T ~uint8 | ~int](set uint8, i T) bool { return set&bit(i) != 0 }

// enqueue puts m into the queue: in front, where it is consumed next, or behind.
func (s *State) enqueue(m uint8, front bool) {
	s.Msgs[m].Place = Queued
	n := s.queued()
	if front {
		copy(s.Queue[1:], s.Queue[:n])
		s.Queue[0] = m + 1
		return
	}
	s.Queue[n] = m + 1
}

func (s *State) queued() int {
	n := 0
	for n < maxMsgs && s.Queue[n] != 0 {
		n++
	}
	return n
}

// pop takes the next message out of the queue.
func (s *State) pop() (m uint8, ok bool) {
	if s.Queue[0] == 0 {
		return 0, false
	}
	m = s.Queue[0] - 1
	copy(s.Queue[:], s.Queue[1:])
	s.Queue[maxMsgs-1] = 0
	return m, true
}

// enter makes m unacknowledged.
func (s *State) enter(m uint8, python bool, owner uint8) {
	msg := &s.Msgs[m]
	msg.Place, msg.Python, msg.Owner, msg.Age = Unacked, python, owner, 0
	s.Claimed, s.Scored = 0, 0
	if s.other(m) {
		s.Claimed, s.Scored = m+1, m+1
	}
}

// other reports whether the other message is unacknowledged as well.
func (s *State) other(m uint8) bool {
	for i := range s.Msgs {
		if uint8(i) != m && s.Msgs[i].Place == Unacked {
			return true
		}
	}
	return false
}

// remove takes m out of the unacked set. A process that has read the claim before finds
// another, or none. A delivery tag is the same again when the message comes back.
func (s *State) remove(m uint8) {
	msg := &s.Msgs[m]
	msg.Place, msg.Python, msg.Owner, msg.Age, msg.Counted = Nowhere, false, 0, 0, false
	s.Claimed, s.Scored = 0, 0
	for i := range s.Procs {
		p := &s.Procs[i]
		for j := range p.Tasks {
			if p.Tasks[j].Stage != Free && p.Tasks[j].Msg == m {
				p.Tasks[j].Live = false
			}
		}
		p.Recovery.Live &^= bit(m)
		p.Scan.Page &^= bit(m)
	}
}

// renewed notes that the score of m is that of now.
func (s *State) renewed(m uint8) {
	s.Msgs[m].Age = 0
	if s.other(m) {
		s.Scored = m + 1
	}
	for i := range s.Procs {
		if !s.Procs[i].Python { // Python does not look at it again
			s.Procs[i].Scan.Page &^= bit(m)
		}
	}
}

// newestFirst returns the messages of set in the order in which they go back.
func newestFirst(set, last uint8) []uint8 {
	var ms []uint8
	for m := range uint8(maxMsgs) {
		if has(set, m) {
			ms = append(ms, m)
		}
	}
	if len(ms) == 2 && last == 2 {
		ms[0], ms[1] = ms[1], ms[0]
	}
	return ms
}

// held is the set of messages that are unacknowledged and ok.
func (s *State) held(ok func(*Msg) bool) (set uint8) {
	for m := range s.Msgs {
		if s.Msgs[m].Place == Unacked && ok(&s.Msgs[m]) {
			set |= bit(m)
		}
	}
	return set
}

// over reports whether m has an outcome that clients can see.
func (m *Msg) over() bool { return m.Result != Pending || m.Dead }
