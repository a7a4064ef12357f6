// Package config makes one validated Config of the environment.
//
// Every variable stands in one table (variables.go), from which the help, the
// report of the config command and the table of the README are made. All
// mistakes are reported at once, and no secret is ever part of an error, a
// report or a log.
package config

import (
	"log/slog"
	"net"
	"os"
	"time"

	"github.com/evently/workers/internal/loopback"
)

// Config is the whole configuration, checked. Printing it shows no secret.
type Config struct {
	Redis     Redis    // the first broker
	Brokers   []Broker // all brokers; one without a name, unless REDIS_URLS is set
	Worker    Worker
	SMTP      SMTP   // the preferred mail relay
	Relays    []SMTP // all mail relays in the order of preference; MaxConns 0: no bound
	Mail      Mail
	Templates Templates
	Delivery  Delivery
	Events    Events
	Database  Database
	Ledger    Ledger
	Audit     Audit
	Bounces   Bounces
	Guard     Guard
	Service   Service

	// Warnings are about what works, but probably not as it was meant.
	Warnings []Warning

	// A pointer: printing a Config is for its fields, not for the whole table.
	variables *variables
}

// Redis says where the broker is, which is the result backend as well.
type Redis struct {
	// Network and Address are what to dial: "tcp" and host:port, "unix" and the
	// path of a socket, or "sentinel" and what Sentinel has. The nodes of a cluster are
	// separated by commas.
	Network, Address string
	Sentinel         Sentinel
	Nodes            []string // host:port of nodes of a Redis Cluster; nil: it is none
	Username         string   // of a login with a password
	Password         Secret
	UserAlone        Secret // of one without: a password that lacks its colon looks like that
	Logins           Logins // instead of both; nil: the login is fixed
	DB               int
	UseTLS           bool
	TLS              TLSFiles

	KeyPrefix         string // global_keyprefix of the broker
	ResultKeyPrefix   string // global_keyprefix of the result backend
	PrioritySteps     []int  // priority_steps, rising, 0 first
	VisibilityTimeout time.Duration
	OwnerTimeout      time.Duration
	ResultExpires     time.Duration
	DeadLettersMax    int
	DeadLetterKeys    []Secret // the one that encrypts first; none: no encryption
}

// Broker is one of the brokers of a process.
type Broker struct {
	Name string // "": the only one, without REDIS_URLS
	Redis
}

// Worker is what the engine and its tasks are told.
type Worker struct {
	Name               string // node name with %h, %n and %d filled in
	Queues             []string
	QueueOrder         string         // "round_robin", "sorted" or "priority"; "" with weights
	QueueWeights       map[string]int // nil: none
	Concurrency        int            // the largest, with Autoscale; not above MaxConcurrency
	MaxConcurrency     int            // SMTP.MaxConns if that is set; 0: no bound
	Autoscale          Autoscale
	RemoteControl      string   // "full", "harmless" or "off"
	TaskEvents         bool     // from the start
	Redact             []string // names of secrets, beside the usual ones
	PrefetchMultiplier int
	TaskTimeLimit      time.Duration // 0: none
	TaskSoftTimeLimit  time.Duration // 0: none
	MaxRetries         int           // 0: none
	RetryDelay         time.Duration // before the first retry
	MaxRedeliveries    int
	UnknownTasks       string // "dead-letter", "requeue" or "reject"
	ShutdownGrace      time.Duration
	MaxMemory          int // bytes of the process; 0: no limit
	MaxBytes           int // of a message
	MaxDepth           int
	MaxElements        int
}

// Autoscale bounds the number of tasks that run at once; zero: there is no
// scaling.
type Autoscale struct{ Min, Max int }

// SMTP says where a mail relay is.
type SMTP struct {
	URL       int // its place in SMTP_URLS, from 1; 0: it is that of the other SMTP variables
	Host      string
	Port      int
	Username  string // for a login together with Password or TokenFile
	Password  Secret
	Logins    Logins // instead of both; nil: the login is fixed
	TokenFile string // of an access token, instead of Password; "": none
	TLSMode   string // "starttls", "implicit" or "none"
	CAFile    string // "": the system's authorities
	HelloName string // "": the name of the host, or the domain of the sender
	MaxConns  int

	NoPipelining bool // not although the relay offers PIPELINING
	NoChunking   bool // not although the relay offers CHUNKING
}

// DKIM is the configuration of signatures.
type DKIM struct {
	KeyFiles  []string
	Selectors []string // as many as KeyFiles
	Domain    string   // "": that of the sender
}

// Mail is what the mails say about the sender.
type Mail struct {
	FromName       string
	FromAddress    string
	ReplyTo        string // "": no header
	DKIM           DKIM
	SiteURL        string   // "": no button
	SupportAddress string   // "": not mentioned
	LinkHosts      []string // beside the host of SiteURL
	BounceDomain   string   // "": bounces go to FromAddress
	BounceKeys     []Secret // the one in use first
}

// Templates says how the mails look.
type Templates struct {
	Dir    string // "": the templates are those of the program
	Locale string // of mails whose data names none
	Brand  Brand
}

// Brand is the look of the service. Empty fields are those of Evently.
type Brand struct {
	Name                              string
	Color, LinkColor, ButtonTextColor string // #rrggbb
	Logo                              string // URL
	LogoWidth, LogoHeight             int    // in pixels
	Address                           string
}

// Delivery says what may be sent, how often and how fast.
type Delivery struct {
	UnknownPolicy string // "hold" or "resend"
	Suppressions  string // "on", "observe" or "off"
	ReplyTimeout  time.Duration
	GiveUpAfter   time.Duration
	Limits        Limits
	Codes         Codes // zero: codes are not checked
}

// Events says which events become mails.
type Events struct {
	Channels []string // none: no events do
	Delay    time.Duration
}

// Codes says where the auth service keeps its one-time codes.
type Codes struct {
	Network, Address string // "": codes are not checked
	Username         string
	Password         Secret
	Logins           Logins // instead of both; nil: the login is fixed
	DB               int
	UseTLS           bool
	TLS              TLSFiles
}

// Database says where PostgreSQL is: by URL, or by the other fields when URL is
// not set.
type Database struct {
	URL      Secret
	Host     string // or the folder of a unix socket
	Port     int
	Name     string
	User     string
	Password Secret
	Logins   Logins // instead of user and password; nil: the login is fixed
	SSLMode  string // for a URL, unless it has one
}

// Ledger is where the history of mails is: in a PostgreSQL, or in a file of SQLite.
type Ledger struct {
	Off       bool
	SQLite    string   // path; "": PostgreSQL
	Database  Database // of PostgreSQL; a copy of Config.Database if there is no other
	Keys      []Secret // of the addresses; the one in use first
	Retention time.Duration
}

// Service is about the process.
type Service struct {
	HealthAddr  string // "": no health server
	HealthPprof string // "off", "local" or "all"
	MonitorAddr string // "": no monitor
	Broker      string // that the monitor shows; "": the first
	MetricsAddr string // of the metrics of celery-exporter; "": nowhere
	Embedded    bool   // the monitor runs inside of the worker
	LogLevel    slog.Level
	LogFormat   string        // "json" or "text"; "": text on a terminal, else json
	ZeroRefresh time.Duration // between two questions to Zero; 0: at the start only
}

// Lookup answers for one variable, as [os.LookupEnv] does.
type Lookup = func(name string) (value string, ok bool)

// Source is a further place that variables may come from.
type Source struct {
	Name   string // shown in the report
	Lookup Lookup

	note string // about the place itself, for a warning
}

// Names of sources in the report.
const (
	SourceDefault = "default"
	SourceEnv     = "env"
)

// Load reads and checks the configuration. lookup takes the place of the
// environment; nil means the environment itself. A variable that it does not
// know, or knows as empty, is asked of more, one after the other, and has its
// default at last. See [Secrets] for a further source.
//
// The error is an [*Error] with every mistake.
func Load(lookup Lookup, more ...Source) (Config, error) {
	var v variables
	if err := v.read(lookup, more); err != nil {
		return Config{}, err
	}
	var c Config
	c.redis(&v)
	c.worker(&v)
	c.smtp(&v)
	c.delivery(&v)
	c.database(&v)
	c.ledger(&v)
	c.audit(&v)
	c.intake(&v)
	c.service(&v)
	c.guard(&v)

	fields := v.fields()
	for _, f := range fields {
		if s := f.base(); s.note != "" {
			c.warn(s.name, s.note)
		}
	}
	for _, source := range more {
		if source.note != "" {
			c.warn(v.ZeroURL.name, source.note)
		}
	}
	if lookup == nil {
		c.misspelt(os.Environ(), fields)
	}
	var problems []Problem
	for _, f := range fields {
		if s := f.base(); s.wrong != "" {
			problems = append(problems, Problem{Variable: s.blame(), Wrong: s.wrong, Right: s.right})
		}
	}
	c.variables = &v
	if len(problems) > 0 {
		return Config{}, &Error{Problems: problems, read: func() Config { return c }}
	}
	return c, nil
}

// HealthAddr returns where the health server listens, "" for nowhere, by the
// environment alone: a probe asks often, and must not ask Zero each time.
func HealthAddr(lookup Lookup) (string, error) {
	var v variables
	if err := v.read(lookup, nil); err != nil {
		return "", err
	}
	if s := &v.HealthAddr; s.wrong != "" {
		return "", &Error{Problems: []Problem{{Variable: s.name, Wrong: s.wrong, Right: s.right}}}
	}
	return v.HealthAddr.value(), nil
}

// MonitorAddr returns where the monitor listens, "" for nowhere, and whether it uses TLS, by the
// environment alone as [HealthAddr].
func MonitorAddr(lookup Lookup) (addr string, encrypted bool, err error) {
	var v variables
	if err := v.read(lookup, nil); err != nil {
		return "", false, err
	}
	if s := &v.MonitorAddr; s.wrong != "" {
		return "", false, &Error{Problems: []Problem{{Variable: s.name, Wrong: s.wrong, Right: s.right}}}
	}
	return v.MonitorAddr.value(), v.MonitorCertFile.text != "", nil
}

func (c *Config) warn(variable, text string) {
	c.Warnings = append(c.Warnings, Warning{Variable: variable, Text: text})
}

func (c *Config) worker(v *variables) {
	c.Worker = Worker{
		Name:               v.nodeName(),
		Queues:             v.Queues.value,
		QueueOrder:         v.QueueOrder.text,
		QueueWeights:       v.QueueWeights.value,
		Concurrency:        v.Concurrency.value,
		RemoteControl:      v.RemoteControl.text,
		TaskEvents:         v.TaskEvents.value,
		Redact:             v.Redact.value,
		PrefetchMultiplier: v.PrefetchMultiplier.value,
		TaskTimeLimit:      v.TaskTimeLimit.value,
		TaskSoftTimeLimit:  v.TaskSoftTimeLimit.value,
		MaxRetries:         v.MaxRetries.value,
		RetryDelay:         v.RetryDelay.value,
		MaxRedeliveries:    v.MaxRedeliveries.value,
		UnknownTasks:       v.UnknownTasks.text,
		ShutdownGrace:      v.ShutdownGrace.value,
		MaxMemory:          v.MaxMemory.value,
		MaxBytes:           v.MessageMaxBytes.value,
		MaxDepth:           v.MessageMaxDepth.value,
		MaxElements:        v.MessageMaxElements.value,
	}
	v.Queues.queueNames()
	c.queueWeights(v)
	hard, soft := &v.TaskTimeLimit, &v.TaskSoftTimeLimit
	if hard.value > 0 && soft.value > hard.value {
		later := soft // complain about what was set, not about a default
		if !soft.given() {
			later = hard
		}
		later.mistake("the soft limit "+soft.text+" is above the hard limit "+hard.text,
			"write a TASK_SOFT_TIME_LIMIT that is not above TASK_TIME_LIMIT")
	}
	v.WorkerName.inForce(c.Worker.Name, v.WorkerName.source)
	if v.Autoscale.given() {
		// Celery may go down to none; here one task can always run.
		c.Worker.Autoscale = Autoscale{Min: max(v.Autoscale.fewest, 1), Max: v.Autoscale.most}
		c.Worker.Concurrency = v.Autoscale.most
		v.Concurrency.inForce(v.Autoscale.text, v.Autoscale.name)
	}
}

func (c *Config) service(v *variables) {
	c.Service = Service{
		HealthAddr:  v.HealthAddr.value(),
		HealthPprof: v.HealthPprof.text,
		MonitorAddr: v.MonitorAddr.value(),
		MetricsAddr: v.MetricsAddr.value(),
		Broker:      v.MonBroker.text,
		Embedded:    v.Monitor.text == "embedded",
		LogFormat:   v.LogFormat.text,
		ZeroRefresh: v.ZeroRefresh.value,
	}
	// The words that are allowed are those of slog.
	_ = c.Service.LogLevel.UnmarshalText([]byte(v.LogLevel.text))
	if c.Service.Embedded && c.Service.MonitorAddr == "" {
		v.MonitorAddr.mistake("it is off, and MONITOR=embedded needs it", "write an address, such as 127.0.0.1:5555, or MONITOR=off")
	}
	if _, err := c.WithBroker(v.MonBroker.text); err != nil && len(c.Brokers) > 0 {
		v.MonBroker.mistake(err.Error(), "write a name of REDIS_URLS, or leave it out")
	}
	if host, _, _ := net.SplitHostPort(c.Service.HealthAddr); c.Service.HealthPprof == "all" && c.Service.HealthAddr != "" && !loopback.Is(host) {
		c.warn("HEALTH_PPROF", "every client that reaches HEALTH_ADDR may record profiles")
	}
	if a := c.Service.HealthAddr; a != "" && a == c.Service.MonitorAddr {
		v.MonitorAddr.mistake("it is the same as HEALTH_ADDR", "write two different addresses")
	}
	if a := c.Service.MetricsAddr; a != "" && (a == c.Service.MonitorAddr || a == c.Service.HealthAddr) {
		v.MetricsAddr.mistake("it is the same as MONITOR_ADDR or HEALTH_ADDR", "write another address, such as :9808")
	}
}
