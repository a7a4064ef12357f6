package attention

import "time"

// Facts are what the rules look at. A part that is not known is left zero, and its rules find
// nothing.
type Facts struct {
	Now time.Time

	Queues     []Queue
	QueueFault string // why the queues cannot be looked at; "" when they can
	Refusal    string // reply of a Redis that can be read and refuses writes
	Remedy     string // cause of either in a clause, and what to do; "": not known

	Codes    Codes
	Letters  Letters
	Failures []Failure // of the last hour
	Outcomes Outcomes
	Breakers []Breaker
	Workers  []Worker
	Lost     []Lost
	History  History

	// WorkersKnown says that Workers lists all live workers: none is then a finding.
	WorkersKnown bool
	// Differences are the variables in which workers of this kind differ.
	Differences []string
	Secrets     []Secret
}

// Queue is a queue.
type Queue struct {
	Name      string
	Messages  int
	Oldest    time.Duration // of the oldest message; 0: not known
	Growing   bool          // more messages came than went, for a minute
	Consumers int           // workers that consume it; -1: not known
	Paused    bool
	PausedBy  string
	Since     time.Time // of the pause
	Broken    bool      // a key of it has another type
}

// Codes tells of the mails with codes.
type Codes struct {
	Waiting time.Duration // age of the oldest one that is not accepted yet; 0: none, or not known
	Number  int           // codes that wait

	// Of the last 24 hours.
	Ended   int64 // accepted, expired, given up or left unknown
	InTime  int64 // accepted within ten seconds
	Expired int64 // not sent: too late
	// Objective is the share that must be in time; 0: not known.
	Objective float64
}

// Letters tells of dead letters.
type Letters struct {
	Known   bool
	Open    int
	Grown   int // since GrownIn ago
	GrownIn time.Duration
	Since   time.Time // when the growth began; zero: not known
	Lost    int64     // dropped because there were too many
}

// Outcomes counts the tasks of all workers that ended lately.
type Outcomes struct {
	Ended  int // succeeded or failed
	Failed int
	Over   time.Duration
}

// Failure counts failures of one class.
type Failure struct {
	Class string
	N     int64
}

// Breaker is a circuit breaker that is not closed, of one or more processes.
type Breaker struct {
	Name    string // such as "relay smtp.example.com:587" or "database"
	Phase   string // "open", "probing" or "half-open"
	Reason  string
	Since   time.Time
	Nodes   []string
	Refused bool // the server refuses the worker, for example its login
}

// Worker is a live worker, of this kind or Python's.
type Worker struct {
	Node              string
	Process           string // tells two processes of one node name apart
	Python            bool
	Status            string        // "healthy", "degraded", "unhealthy" or "" for not known
	Faults            []string      // sentences about what only a person can mend
	Parts             []Part        // parts of its health that are not well
	VisibilityTimeout time.Duration // 0: not known
	Skew              time.Duration // its clock minus ours
}

// Lost is a worker that was heard, is silent, and has not said that it stops.
type Lost struct {
	Node   string
	Python bool
	Silent time.Duration // since its last event
	Active int           // tasks that ran then
}

// Part is a part of the health of a worker that is not well.
type Part struct {
	Name   string // such as "mail" or "database"
	Text   string
	Advice string
	Since  time.Time
}

// History tells of the history of mails.
type History struct {
	Off    bool
	Fault  string // why it is not written, or behind
	Since  time.Time
	Fleet  bool // a worker tells of it; false: nothing is known
	Absent bool // this monitor cannot read it, although it is written
}

// Secret is a secret of the configuration.
type Secret struct {
	Variable string
	Since    time.Time // when the fleet saw this value first
}
