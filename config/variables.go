package config

import (
	"fmt"
	"os"
	"reflect"
	"strings"

	"github.com/kelseyhightower/envconfig"
)

// variables is the one table of everything that can be set: Load reads it, and
// the help, the config command and the table of the README are made from its
// tags. The order is the order of the papers.
//
// The defaults are the contract of the service that this one replaces, so a
// deployment that set nothing keeps working.
type variables struct {
	RedisURL           secretURL `envconfig:"REDIS_URL" group:"Redis" desc:"Broker and result backend as Celery writes it: redis://, rediss://, redis+socket:// or sentinel://host:26379;sentinel://host:26379/0; valkey://, valkeys:// and unix:// too. Wins over REDIS_HOST, REDIS_PORT, REDIS_PASSWORD and REDIS_USE_TLS."`
	RedisURLs          namedURLs `envconfig:"REDIS_URLS" group:"Redis" unset:"one broker" desc:"Several brokers for one process, instead of REDIS_URL: name=URL with spaces between them, such as eu=redis://eu:6379/0 us=rediss://us:6379/0. Each has its own consumers, limits, health and dead letters; see docs/operations.md. The other variables of Redis hold for all of them; sentinel:// URLs may have ?master_name=."`
	RedisHost          text      `envconfig:"REDIS_HOST" group:"Redis" default:"localhost" desc:"Host of Redis."`
	RedisPort          count     `envconfig:"REDIS_PORT" group:"Redis" default:"6379" min:"1" max:"65535" desc:"Port of Redis."`
	RedisPassword      secret    `envconfig:"REDIS_PASSWORD" group:"Redis" desc:"Password of Redis."`
	RedisUseTLS        presence  `envconfig:"REDIS_USE_TLS" group:"Redis" default:"false" desc:"Use TLS. Any text but false, 0, no and off turns it on."`
	RedisDB            count     `envconfig:"REDIS_DB" group:"Redis" default:"0" min:"0" max:"65535" desc:"Database number when the URL names none."`
	RedisCluster       toggle    `envconfig:"REDIS_CLUSTER" group:"Redis" default:"false" desc:"Redis is a Redis Cluster, and REDIS_URL names one of its nodes, or several: redis://a:6379,b:6379/0. Needs a REDIS_KEY_PREFIX with a hash tag, such as {celery}: and the same global_keyprefix for Celery; see docs/operations.md."`
	SentinelMaster     text      `envconfig:"REDIS_SENTINEL_MASTER" group:"Redis" desc:"Name of the master that the Sentinels watch, required with sentinel://; Celery's transport option master_name."`
	SentinelUsername   text      `envconfig:"REDIS_SENTINEL_USERNAME" group:"Redis" desc:"User of the Sentinels themselves."`
	SentinelPassword   secret    `envconfig:"REDIS_SENTINEL_PASSWORD" group:"Redis" desc:"Password of the Sentinels themselves."`
	RedisTLSCAFile     file      `envconfig:"REDIS_TLS_CA_FILE" group:"Redis" desc:"PEM file of the authorities to trust instead of the system's. It is read again when it changes."`
	RedisTLSCertFile   file      `envconfig:"REDIS_TLS_CERT_FILE" group:"Redis" desc:"PEM file of the client certificate. It is read again when it changes."`
	RedisTLSKeyFile    file      `envconfig:"REDIS_TLS_KEY_FILE" group:"Redis" desc:"PEM file of the client certificate's key."`
	RedisTLSSkipVerify toggle    `envconfig:"REDIS_TLS_SKIP_VERIFY" group:"Redis" default:"false" desc:"Accept any certificate. Anybody on the way can then read and change the queue."`
	RedisKeyPrefix     text      `envconfig:"REDIS_KEY_PREFIX" group:"Redis" desc:"Prefix of every key but those of results; global_keyprefix among Celery's broker_transport_options."`
	ResultKeyPrefix    text      `envconfig:"REDIS_RESULT_KEY_PREFIX" group:"Redis" desc:"Prefix of the keys of results; global_keyprefix among Celery's result_backend_transport_options. As in Celery a _ follows unless it ends in : _ - or a dot, and REDIS_KEY_PREFIX does not count here, unless REDIS_CLUSTER is set: it is the default then."`
	PrioritySteps      steps     `envconfig:"PRIORITY_STEPS" group:"Redis" default:"0,3,6,9" desc:"Priority steps; Celery's transport option priority_steps. Must be the same on all peers."`
	VisibilityTimeout  seconds   `envconfig:"VISIBILITY_TIMEOUT" group:"Redis" default:"3600" min:"1" max:"604800" desc:"Time after which an unacknowledged message is delivered again. Must not be longer than that of Python peers."`
	OwnerTimeout       seconds   `envconfig:"OWNER_TIMEOUT" group:"Redis" default:"15" min:"1" max:"3600" desc:"Silence after which a worker of this kind counts as dead, or frozen, and the others deliver its messages again. Python workers go by VISIBILITY_TIMEOUT."`
	ResultExpires      seconds   `envconfig:"RESULT_EXPIRES" group:"Redis" default:"3600" min:"1" max:"31536000" desc:"Time that results are kept."`
	DeadLettersMax     count     `envconfig:"DEAD_LETTERS_MAX" group:"Redis" default:"10000" min:"1" max:"10000000" desc:"Open dead letters that are kept; the oldest go first, and are counted. As many that were retried, replaced or dealt with are kept beside them."`
	DeadLetterKey      secret    `envconfig:"DEAD_LETTER_KEY" group:"Redis" unset:"dead letters are not encrypted" desc:"Secret of at least 16 characters, the same for all workers and commands: with it dead letters are encrypted in Redis. While a key is replaced write new,old: the first encrypts, both decrypt."`

	Queues             list    `envconfig:"QUEUES" group:"Worker" default:"email_notifications" desc:"Queues to consume."`
	QueueOrder         choice  `envconfig:"QUEUE_ORDER" group:"Worker" default:"round_robin" options:"round_robin,sorted,priority" desc:"Queue to take from when several have messages of the same priority: each in turn, the first in the alphabet, or the first in QUEUES; Celery's transport option queue_order_strategy."`
	QueueWeights       weights `envconfig:"QUEUE_WEIGHTS" group:"Worker" unset:"no weights" desc:"Shares of the queues that have messages, such as critical:6,default:3,low:1; a queue that is not named has 1. Overrides QUEUE_ORDER; priorities then apply within each queue only."`
	WorkerName         text    `envconfig:"WORKER_NAME" group:"Worker" default:"email-worker@%h" desc:"Node name. %h is the host with its domain, %n without, %d the domain alone."`
	Concurrency        count   `envconfig:"CONCURRENCY" group:"Worker" default:"4" min:"1" max:"10000" desc:"Tasks that run at once; not more than SMTP_MAX_CONNS, where that is set."`
	Autoscale          scale   `envconfig:"AUTOSCALE" group:"Worker" desc:"Most and fewest tasks that run at once, such as 10,3; replaces CONCURRENCY. The number follows the load; Celery's --autoscale."`
	RemoteControl      choice  `envconfig:"REMOTE_CONTROL" group:"Worker" default:"full" options:"full,harmless,off" desc:"What celery control, celery inspect and Flower may do: everything, look only, or nothing at all."`
	TaskEvents         toggle  `envconfig:"TASK_EVENTS" group:"Worker" default:"false" desc:"Send the events of tasks from the start, as celery worker -E. Flower and celery control switch them on by themselves."`
	Redact             list    `envconfig:"REDACT" group:"Worker" unset:"the usual ones alone" desc:"Names of arguments that must not be seen in events, answers and logs, beside otp, code, token, password and the like."`
	PrefetchMultiplier count   `envconfig:"PREFETCH_MULTIPLIER" group:"Worker" default:"1" min:"0" max:"1000" desc:"Messages held per task that may run at once; Celery's worker_prefetch_multiplier. 0: as many as are done within 50 ms at the recent pace."`
	TaskTimeLimit      seconds `envconfig:"TASK_TIME_LIMIT" group:"Worker" default:"300" min:"0" max:"86400" desc:"Hard limit of one task; 0 is none."`
	TaskSoftTimeLimit  seconds `envconfig:"TASK_SOFT_TIME_LIMIT" group:"Worker" default:"240" min:"0" max:"86400" desc:"Soft limit of one task; 0 is none."`
	MaxRetries         count   `envconfig:"MAX_RETRIES" group:"Worker" default:"3" min:"0" max:"1000" desc:"Retries of one task."`
	RetryDelay         seconds `envconfig:"RETRY_DELAY" group:"Worker" default:"60" min:"0.1" max:"86400" desc:"Delay of the first retry; each further one doubles it. Codes and waitlist offers wait 5, 15 and 45 seconds at most."`
	MaxRedeliveries    count   `envconfig:"MAX_REDELIVERIES" group:"Worker" default:"3" min:"1" max:"1000" desc:"Deliveries of a message that never finishes, before it becomes a dead letter."`
	UnknownTasks       choice  `envconfig:"UNKNOWN_TASKS" group:"Worker" default:"dead-letter" options:"dead-letter,requeue,reject" desc:"What to do with a task that is not ours: keep it as a dead letter, leave it to a Python worker on the same queue, or drop it as Celery does."`
	ShutdownGrace      seconds `envconfig:"SHUTDOWN_GRACE" group:"Worker" default:"25" min:"0.1" max:"86400" desc:"Time from SIGTERM to giving back what is unfinished."`
	MaxMemory          size    `envconfig:"MAX_MEMORY" group:"Worker" min:"16777216" max:"1099511627776" unset:"no limit" desc:"Memory of the process, such as 512MiB, beyond which it stops after a task and ends with 0, for a supervisor to start it afresh; Celery's worker_max_memory_per_child."`
	MessageMaxBytes    size    `envconfig:"MESSAGE_MAX_BYTES" group:"Worker" default:"16777216" min:"1024" max:"536870912" desc:"Largest message that is read; the task of a larger one fails, and it becomes a dead letter."`
	MessageMaxDepth    count   `envconfig:"MESSAGE_MAX_DEPTH" group:"Worker" default:"500" min:"8" max:"1000" desc:"Deepest nesting of a message."`
	MessageMaxElements count   `envconfig:"MESSAGE_MAX_ELEMENTS" group:"Worker" default:"16777216" min:"100" max:"536870912" desc:"Most values in a message. As many as the default fit into no message: the bytes decide."`

	SMTPURLs       relayURLs `envconfig:"SMTP_URLS" group:"Mail" unset:"from SMTP_*" desc:"Mail relays with spaces between them, the preferred one first; a mail goes to the next one while a relay takes no mails. smtp://user:password@host:587 is STARTTLS, smtps:// implicit TLS, smtp+plain:// no TLS; special characters of a password as %XX. Parameters: max_conns, hello, ca_file, token_file. Wins over SMTP_HOST, SMTP_PORT, SMTP_USERNAME, SMTP_PASSWORD, SMTP_TOKEN_FILE, SMTP_USE_TLS and SMTP_TLS_MODE."`
	SMTPHost       text      `envconfig:"SMTP_HOST" group:"Mail" default:"smtp.gmail.com" desc:"Host of the mail relay."`
	SMTPPort       count     `envconfig:"SMTP_PORT" group:"Mail" default:"587" min:"1" max:"65535" desc:"Port of the mail relay."`
	SMTPUsername   text      `envconfig:"SMTP_USERNAME" group:"Mail" desc:"User of the mail relay. There is a login only where the password or SMTP_TOKEN_FILE is set as well."`
	SMTPPassword   secret    `envconfig:"SMTP_PASSWORD" group:"Mail" desc:"Password of the mail relay."`
	SMTPTokenFile  file      `envconfig:"SMTP_TOKEN_FILE" group:"Mail" desc:"File with an OAuth 2.0 access token for the mail relay, instead of a password: XOAUTH2 or OAUTHBEARER as SMTP_USERNAME. It is read again when it changes and after a refusal."`
	SMTPUseTLS     text      `envconfig:"SMTP_USE_TLS" group:"Mail" default:"true" desc:"true is STARTTLS, required; anything else is implicit TLS (SMTPS)."`
	SMTPTLSMode    choice    `envconfig:"SMTP_TLS_MODE" group:"Mail" options:"starttls,implicit,none" unset:"from SMTP_USE_TLS" desc:"Wins over SMTP_USE_TLS. none is plain text, for a relay on the same host."`
	SMTPTLSCAFile  file      `envconfig:"SMTP_TLS_CA_FILE" group:"Mail" unset:"the system's" desc:"PEM file of the authorities to trust instead of the system's, for all relays."`
	SMTPHelloName  text      `envconfig:"SMTP_HELLO_NAME" group:"Mail" unset:"the host's name" desc:"Name given in EHLO, to all relays. A host name without a dot is not fit: the domain of FROM_ADDRESS is used then."`
	SMTPMaxConns   count     `envconfig:"SMTP_MAX_CONNS" group:"Mail" min:"1" max:"10000" unset:"as CONCURRENCY" desc:"Connections to each mail relay. At most as many tasks run at once, also where CONCURRENCY, AUTOSCALE or remote control ask for more: a mail that is taken can be sent."`
	SMTPPipelining toggle    `envconfig:"SMTP_PIPELINING" group:"Mail" default:"true" desc:"Send the commands of a mail together where the relay offers PIPELINING. A relay that cannot do it is found out without this."`
	SMTPChunking   toggle    `envconfig:"SMTP_CHUNKING" group:"Mail" default:"true" desc:"Send mails by BDAT where the relay offers PIPELINING and CHUNKING. A relay that cannot do it is found out without this."`
	FromName       words     `envconfig:"FROM_NAME" group:"Mail" default:"Evently" desc:"Name of the sender. The name in the mails is BRAND_NAME."`
	FromAddress    address   `envconfig:"FROM_ADDRESS" group:"Mail" default:"noreply@evently.com" desc:"Address of the sender."`
	ReplyTo        address   `envconfig:"REPLY_TO" group:"Mail" unset:"no header" desc:"Address for answers."`
	BounceDomain   text      `envconfig:"BOUNCE_DOMAIN" group:"Mail" unset:"bounces go to FROM_ADDRESS" desc:"Domain for bounces: each mail has a separate envelope sender there, b+id-tag@domain. The sender that people see stays the same. Many relays refuse such senders."`
	BounceKey      secret    `envconfig:"BOUNCE_KEY" group:"Mail" desc:"Secret of the tags in addresses for bounces, at least 16 characters and the same for all workers; needed with BOUNCE_DOMAIN. While a key is replaced write new,old: the first makes tags, both are accepted."`
	DKIMKeyFile    list      `envconfig:"DKIM_KEY_FILE" group:"Mail" unset:"mails are not signed" desc:"PEM file of the private key for DKIM signatures: RSA of at least 2048 bits or Ed25519; several with commas between them. It is read again when it changes."`
	DKIMSelector   list      `envconfig:"DKIM_SELECTOR" group:"Mail" desc:"Selector of the key, the name before _domainkey in DNS; one for each file of DKIM_KEY_FILE, in their order."`
	DKIMDomain     text      `envconfig:"DKIM_DOMAIN" group:"Mail" unset:"that of FROM_ADDRESS" desc:"Domain of the signatures. It must have the same registered domain as FROM_ADDRESS."`
	SiteURL        webURL    `envconfig:"SITE_URL" group:"Mail" unset:"no button" desc:"Web site that the mails link to; https."`
	SupportAddr    address   `envconfig:"SUPPORT_ADDRESS" group:"Mail" unset:"not mentioned" desc:"Address for help, shown in the mails."`
	LinkHosts      list      `envconfig:"LINK_HOSTS" group:"Mail" unset:"the host of SITE_URL" desc:"Hosts that a link given by a producer (booking_url) may lead to. Any other link is left out."`

	TemplatesDir    file  `envconfig:"TEMPLATES_DIR" group:"Templates" unset:"those of the program" desc:"Folder with templates of one's own, by the names of those of the program: they take their place, or add a language. Others are taken without a restart once they are right; see docs/templates.md and the command templates."`
	DefaultLocale   text  `envconfig:"DEFAULT_LOCALE" group:"Templates" default:"en" desc:"Language of mails whose data has no locale, lang or language, or one without templates, such as de or de-AT. English is there; others are in TEMPLATES_DIR."`
	BrandName       words `envconfig:"BRAND_NAME" group:"Templates" default:"Evently" desc:"Name of the service in subjects and mails, at most 60 characters."`
	BrandColor      words `envconfig:"BRAND_COLOR" group:"Templates" unset:"the one of Evently" desc:"Colour of buttons and accents as #4f46e5 or 4f46e5. The texts on it and the links follow from it, so that they can be read in light and dark."`
	BrandLinkColor  words `envconfig:"BRAND_LINK_COLOR" group:"Templates" unset:"from BRAND_COLOR" desc:"Colour of links and accents; a contrast of 4.5 to their backgrounds is needed."`
	BrandButtonText words `envconfig:"BRAND_BUTTON_TEXT_COLOR" group:"Templates" unset:"white or black" desc:"Colour of the text on buttons; a contrast of 4.5 to BRAND_COLOR is needed."`
	BrandLogo       text  `envconfig:"BRAND_LOGO" group:"Templates" unset:"the initial and the name" desc:"Logo in the head of the mails: the https URL of a PNG, JPEG, GIF or WebP, which mail programs load."`
	BrandLogoSize   text  `envconfig:"BRAND_LOGO_SIZE" group:"Templates" default:"120x30" desc:"Width and height of the logo as it is shown, in pixels; up to 320x96."`
	BrandAddress    words `envconfig:"BRAND_ADDRESS" group:"Templates" unset:"not mentioned" desc:"Postal address in the foot of the mails, in one line."`

	UnknownPolicy        choice    `envconfig:"UNKNOWN_POLICY" group:"Delivery" default:"hold" options:"hold,resend" desc:"Outcome of a mail that may have been delivered, because its worker died or the relay did not answer: a dead letter (hold), or one more copy with the same Message-ID (resend). Codes and waitlist offers are sent once more in any case."`
	Suppressions         choice    `envconfig:"SUPPRESSIONS" group:"Delivery" default:"on" options:"on,observe,off" desc:"Mails to addresses that refuse or return mails, see docs/suppressions.md: they are not sent (on), they are sent and the addresses are listed (observe), or nothing is recorded (off). It needs the history of mails."`
	SMTPReplyTimeout     seconds   `envconfig:"SMTP_REPLY_TIMEOUT" group:"Delivery" default:"120" min:"1" max:"600" desc:"Longest wait for the answer of the relay to the end of a mail. After that it is unknown whether the mail was delivered."`
	MailGiveUpAfter      seconds   `envconfig:"MAIL_GIVE_UP_AFTER" group:"Delivery" default:"345600" min:"1" max:"2592000" desc:"How long the relay may put one mail off by answers about it, such as 421 at RCPT, until it becomes a dead letter. Outages and refusals of all mails do not count. Codes and waitlist offers end with their lifetime."`
	MailRate             rates     `envconfig:"MAIL_RATE" group:"Delivery" unset:"no limit" desc:"Mails of all workers in a time, such as 10/s or 500/h. A fifth of it is kept for codes and waitlist offers."`
	MailRatePerDomain    rates     `envconfig:"MAIL_RATE_PER_DOMAIN" group:"Delivery" unset:"no limit" desc:"The same for each domain of recipients, such as 20/s,gmail.com=5/s: names are domains, and the rate without a name is that of all others. A domain whose server defers mails is slowed down, also if no rate is set."`
	MailRatePerRecipient rates     `envconfig:"MAIL_RATE_PER_RECIPIENT" group:"Delivery" unset:"no limit" desc:"Mails of one kind to one address, such as 20/h,otp=5/10m (five at once, then one in two minutes): names are kinds, and the rate without a name is that of all others. A code that would come too late is not sent."`
	OTPCheckRedisURL     secretURL `envconfig:"OTP_CHECK_REDIS_URL" group:"Delivery" unset:"no check" desc:"Redis of the auth service, which has each code under otp:verification:<email>. A code that is used, expired or superseded there is not sent. Codes are sent unchecked while it does not answer. In a Redis Cluster each key is looked up on its own node; the URL names one node, or several with commas between them."`

	EventChannels list    `envconfig:"EVENT_CHANNELS" group:"Delivery" unset:"no mails of events" desc:"Channels whose events become mails, with commas between them: evently:bookings:confirmed, evently:bookings:cancelled, evently:bookings:waitlist_joined, evently:bookings:waitlist_cancelled. All workers need the same. A mail is sent once, also if its producer sends the task."`
	EventDelay    seconds `envconfig:"EVENT_DELAY" group:"Delivery" default:"5" min:"0" max:"3600" desc:"Time that the mail of an event waits for the task of the producer, which has more data. Then it is sent without."`

	DatabaseURL secretURL `envconfig:"DATABASE_URL" group:"Database" unset:"from DB_*" desc:"PostgreSQL as postgres://user:password@host:port/name, with the parameters of libpq; several hosts, tried in turn, as a:5432,b:5432. Keywords such as host=db dbname=evently are read too. Wins over the DB_ variables."`
	DBHost      text      `envconfig:"DB_HOST" group:"Database" default:"localhost" desc:"Host of PostgreSQL, or several with commas between them, tried in turn; or the folder of its socket."`
	DBPort      count     `envconfig:"DB_PORT" group:"Database" default:"5432" min:"1" max:"65535" desc:"Port of PostgreSQL."`
	DBName      text      `envconfig:"DB_NAME" group:"Database" default:"evently" desc:"Database."`
	DBUser      text      `envconfig:"DB_USER" group:"Database" default:"evently" desc:"User."`
	DBPassword  secret    `envconfig:"DB_PASSWORD" group:"Database" desc:"Password."`
	DBSSLMode   choice    `envconfig:"DB_SSLMODE" group:"Database" default:"prefer" options:"disable,allow,prefer,require,verify-ca,verify-full" desc:"TLS to PostgreSQL, with the words of libpq."`

	LedgerURL       ledgerURL `envconfig:"LEDGER_DATABASE_URL" group:"Database" unset:"the service's database" desc:"Database for the history of mails, which was-it-sent and deliveries read: a PostgreSQL, written as DATABASE_URL; sqlite:/path/history.db for a single worker on this host; or off."`
	LedgerKey       secret    `envconfig:"LEDGER_KEY" group:"Database" unset:"addresses are masked" desc:"Secret of at least 16 characters, the same for all workers and commands: with it the history has the addresses, encrypted. While a key is replaced write new,old: the first encrypts, both decrypt and find."`
	LedgerRetention days      `envconfig:"LEDGER_RETENTION" group:"Database" default:"90" min:"1" max:"3650" desc:"Days that the history of mails is kept, at least."`

	AuditKey      secret `envconfig:"AUDIT_KEY" group:"Database" unset:"hashes without a key" desc:"Secret of at least 16 characters, the same for all workers and commands: it keys the hashes of the audit trail, so that a change of rows is found even if all hashes are made anew. While a key is replaced write new,old."`
	AuditRequired toggle `envconfig:"AUDIT_REQUIRED" group:"Database" default:"true" desc:"Refuse commands that change something while the audit trail cannot be written, neither in the database nor in Redis. With false they warn and go on."`

	BounceListen   mailListen `envconfig:"BOUNCE_LISTEN" group:"Bounces" default:"off" desc:"Where the worker takes bounces in by SMTP or LMTP: host:port, lmtp://host:port, lmtp+unix:///path, or off. It takes mails to signed addresses of BOUNCE_DOMAIN and no others."`
	BounceCertFile file       `envconfig:"BOUNCE_TLS_CERT_FILE" group:"Bounces" unset:"no STARTTLS" desc:"PEM file of the certificate of BOUNCE_LISTEN, with its chain. It is read again when it changes."`
	BounceKeyFile  file       `envconfig:"BOUNCE_TLS_KEY_FILE" group:"Bounces" desc:"PEM file of the key of that certificate."`
	WebhookAddr    listen     `envconfig:"WEBHOOK_ADDR" group:"Bounces" default:"off" desc:"Where the worker takes bounces in from mail services, by POST to /webhooks/bounces/<source>; off is nowhere. Put a proxy with TLS before it."`
	WebhookKey     secret     `envconfig:"WEBHOOK_KEY" group:"Bounces" desc:"Secret of the signatures and URLs of webhooks, at least 16 characters and the same for all workers. While it is replaced write new,old: both are accepted."`

	HealthAddr  listen   `envconfig:"HEALTH_ADDR" group:"Service" default:":8004" desc:"Where the health server listens; off is nowhere."`
	HealthPprof choice   `envconfig:"HEALTH_PPROF" group:"Service" default:"off" options:"off,local,all" desc:"Clients that may fetch CPU and heap profiles from the health server, below /debug/pprof/: none (off), loopback only (local), or all."`
	Monitor     choice   `envconfig:"MONITOR" group:"Service" default:"off" options:"off,embedded" desc:"Run the monitor inside of the worker (embedded), or only by the command monitor (off). One monitor is enough for all workers."`
	MetricsAddr listen   `envconfig:"CELERY_METRICS_ADDR" group:"Service" default:"off" desc:"Where the monitor serves the metrics of celery-exporter for all workers, such as :9808; off is nowhere."`
	MonitorAddr listen   `envconfig:"MONITOR_ADDR" group:"Service" default:"127.0.0.1:5555" desc:"Where the monitor listens."`
	MonBroker   text     `envconfig:"MONITOR_BROKER" group:"Service" unset:"the first" desc:"Broker of REDIS_URLS that the monitor shows; run one monitor for each."`
	LogLevel    choice   `envconfig:"LOG_LEVEL" group:"Service" default:"info" options:"debug,info,warn,error" desc:"Lowest level that is logged."`
	LogFormat   choice   `envconfig:"LOG_FORMAT" group:"Service" options:"json,text" unset:"json, but text on a terminal" desc:"Form of the log."`
	ZeroToken   secret   `envconfig:"ZERO_TOKEN" group:"Service" desc:"Token for secrets from Zero. With it, every variable that the environment does not set is looked up there by its name in lower case with hyphens: REDIS_HOST is redis-host."`
	ZeroURL     tokenURL `envconfig:"ZERO_URL" group:"Service" default:"https://core.tryzero.com/graphql" desc:"Where Zero answers."`
	ZeroRefresh seconds  `envconfig:"ZERO_REFRESH" group:"Service" default:"300" min:"0" max:"86400" desc:"Pause between two questions to Zero about replaced secrets, at least 5 s and up to a fifth longer by chance; 0 asks at the start only."`

	MonitorUsers        secret   `envconfig:"MONITOR_USERS" group:"Access to the monitor" desc:"Users of the monitor as name:role:hash with commas between them; roles are viewer, operator and admin. The command monitor-user makes one. In compose files write $$ for each $."`
	MonitorUsersFile    file     `envconfig:"MONITOR_USERS_FILE" group:"Access to the monitor" desc:"File with more of them, one a line. It is read again when it changes."`
	MonitorAnonymous    choice   `envconfig:"MONITOR_ANONYMOUS_ROLE" group:"Access to the monitor" options:"none,viewer,operator,admin" unset:"operator on a loopback address without any login, else none" desc:"Role of requests without login. Where other machines reach the monitor it may be none or viewer."`
	MonitorReadOnly     toggle   `envconfig:"MONITOR_READ_ONLY" group:"Access to the monitor" default:"false" desc:"Refuse every action of the pages and of the API, to all roles."`
	MonitorHosts        list     `envconfig:"MONITOR_HOSTS" group:"Access to the monitor" unset:"localhost on a loopback address, else any" desc:"Names by which browsers may ask for the monitor, beside localhost and addresses."`
	MonitorURL          siteURL  `envconfig:"MONITOR_URL" group:"Access to the monitor" desc:"Where browsers find the monitor; needed with an OpenID provider, which must know this with /login/oidc/callback behind it. Forms are accepted from this address, even if a proxy changes the header Host."`
	MonitorIdle         seconds  `envconfig:"MONITOR_SESSION_IDLE" group:"Access to the monitor" default:"28800" min:"60" max:"2592000" desc:"Time without a request after which a login ends."`
	MonitorLifetime     seconds  `envconfig:"MONITOR_SESSION_LIFETIME" group:"Access to the monitor" default:"604800" min:"60" max:"2592000" desc:"Time after which a login ends in any case."`
	MonitorCertFile     file     `envconfig:"MONITOR_TLS_CERT_FILE" group:"Access to the monitor" unset:"no TLS" desc:"PEM file of the certificate of the monitor, with its chain. It is read again when it changes."`
	MonitorKeyFile      file     `envconfig:"MONITOR_TLS_KEY_FILE" group:"Access to the monitor" desc:"PEM file of the key of that certificate."`
	MonitorProxies      networks `envconfig:"MONITOR_TRUSTED_PROXIES" group:"Access to the monitor" desc:"Networks of the proxies before the monitor, such as 10.0.0.0/8: their MONITOR_FORWARD_HEADER, X-Forwarded-For and X-Forwarded-Proto are believed."`
	MonitorForward      text     `envconfig:"MONITOR_FORWARD_HEADER" group:"Access to the monitor" desc:"Header in which a proxy tells the user, such as X-Forwarded-User. The proxy must remove it from the requests of clients."`
	MonitorForwardRole  text     `envconfig:"MONITOR_FORWARD_ROLE_HEADER" group:"Access to the monitor" desc:"Header with the groups of the user, such as X-Forwarded-Groups."`
	MonitorRoles        roles    `envconfig:"MONITOR_ROLES" group:"Access to the monitor" desc:"Roles of the groups that a proxy or an OpenID provider tells, such as sre=admin,support=operator. The highest one counts."`
	MonitorDefaultRole  choice   `envconfig:"MONITOR_DEFAULT_ROLE" group:"Access to the monitor" options:"none,viewer,operator,admin" unset:"none" desc:"Role of users of a proxy or an OpenID provider who are in none of these groups. A public provider has users of the whole world."`
	MonitorIssuer       text     `envconfig:"MONITOR_OIDC_ISSUER" group:"Access to the monitor" desc:"URL of an OpenID provider to log in at, as in its discovery document."`
	MonitorClientID     text     `envconfig:"MONITOR_OIDC_CLIENT_ID" group:"Access to the monitor" desc:"Client id that the provider gave the monitor."`
	MonitorClientSecret secret   `envconfig:"MONITOR_OIDC_CLIENT_SECRET" group:"Access to the monitor" desc:"Secret of that client. PKCE is used in any case. Without a secret logins end with the monitor, and hold for one monitor alone."`
	MonitorRoleClaim    text     `envconfig:"MONITOR_OIDC_ROLE_CLAIM" group:"Access to the monitor" default:"groups" desc:"Claim with the groups: a list, or names with spaces between them. It may be in the token or at the userinfo endpoint."`
	MonitorScopes       list     `envconfig:"MONITOR_OIDC_SCOPES" group:"Access to the monitor" default:"openid,profile,email" desc:"Scopes that are asked for. Many providers tell groups only with the scope groups."`
}

// field is one variable, whatever its kind.
type field interface {
	envconfig.Decoder
	base() *setting
	kind() string // for people, as in "whole number"
}

// fields returns the variables in order, each with its tags filled in. A first call has to come
// before calls by several goroutines.
func (v *variables) fields() []field {
	s := reflect.ValueOf(v).Elem()
	all := make([]field, 0, s.NumField())
	for i := range s.NumField() {
		f := s.Field(i).Addr().Interface().(field)
		b, tag := f.base(), s.Type().Field(i).Tag
		all = append(all, f)
		if b.name != "" {
			continue
		}
		b.name, b.group, b.desc = tag.Get("envconfig"), tag.Get("group"), tag.Get("desc")
		b.def, b.unset, b.options = tag.Get("default"), tag.Get("unset"), tag.Get("options")
		b.min, b.max = tag.Get("min"), tag.Get("max")
	}
	return all
}

// read fills the table. The environment is envconfig's work; a lookup that is
// given takes its place. The further sources answer for what is still missing.
func (v *variables) read(lookup Lookup, more []Source) error {
	fields := v.fields()
	sources := more
	environ := lookup
	if lookup == nil {
		// No Decoder of ours returns an error: each keeps its problem, or the
		// first one would hide all others, and envconfig would print the value.
		if err := envconfig.Process("", v); err != nil {
			return fmt.Errorf("read the environment: %w", err)
		}
		environ = os.LookupEnv
	} else {
		sources = append([]Source{{Name: SourceEnv, Lookup: lookup}}, more...)
	}
	for _, f := range fields {
		text, _ := environ(f.base().name)
		if path := secretPath(f, environ); path != "" {
			readFile(f, path, !blank(text), more)
			continue
		}
		if lookup == nil && !blank(text) {
			f.base().source = SourceEnv // and not the default
			continue
		}
		f.base().note = ""
		if err := ask(f, sources); err != nil {
			return fmt.Errorf("read %s: %w", f.base().name, err)
		}
		f.base().remark(noteBlank(text))
	}
	return nil
}

// ask takes the value of f from the first source that has one, else from its default. An
// empty value counts as none, because compose files pass unset variables so.
func ask(f field, sources []Source) error {
	s := f.base()
	for _, source := range sources {
		if text, ok := source.Lookup(s.name); ok && !blank(text) {
			s.source, s.raw = source.Name, NewSecret(text)
			return f.Decode(text)
		}
	}
	s.source = SourceDefault
	if s.def == "" {
		return nil
	}
	return f.Decode(s.def)
}

// blank reports whether a value is none: empty, a pair of quotes with nothing in
// it, or a comment alone.
func blank(text string) bool {
	if strings.TrimSpace(text) == "" {
		return true
	}
	rest, _ := clean(text, plain)
	return rest == ""
}

// noteBlank tells of a value that is none, but is not empty either.
func noteBlank(text string) string {
	if strings.TrimSpace(text) == "" || !blank(text) {
		return ""
	}
	return "is a pair of quotes or a comment alone, and counts as not set"
}
