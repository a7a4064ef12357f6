package secrets

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"log/slog"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/evently/workers/config"
)

// Times of looks at the sources.
const (
	fileEvery = 10 * time.Second
	askEvery  = 5 * time.Second // between two looks because of refused logins
	askWait   = 3 * time.Second // that a login waits for such a look
	zeroLeast = 5 * time.Second
)

// Config is what a [Keeper] needs.
type Config struct {
	Initial config.Config // as it was loaded at the start
	// Load loads the configuration with the sources in place of files and Zero. Required.
	Load   func(sources ...config.Source) (config.Config, error)
	Event  func(Event) // is told each change; nil: it is not told. It must not block
	Logger *slog.Logger

	FileEvery time.Duration    // between two looks at the files; default: 10 s
	Now       func() time.Time // default: time.Now
}

// Keeper keeps the secrets of the process up to date. Its methods may be called by several
// goroutines. A nil one keeps nothing.
type Keeper struct {
	cfg    Config
	log    *slog.Logger
	now    func() time.Time
	every  time.Duration
	key    []byte // of the fingerprints
	logins map[string]*login
	token  *login // for Zero

	asks chan struct{} // capacity 1: look at all sources now

	mu      sync.Mutex
	running bool
	asked   time.Time     // of the last look because of a refusal
	looking bool          // because of a refusal
	looked  chan struct{} // closed after the next look
	latest  config.Config // as it was loaded last
	version int           // of latest

	seen map[string][sha256.Size]byte // content of the files at the last look; of Run alone

	book   book
	hidden hidden
}

// New returns a Keeper. It does no I/O.
func New(cfg Config) *Keeper {
	k := &Keeper{
		cfg: cfg, log: cmp.Or(cfg.Logger, slog.Default()), now: cfg.Now, every: cmp.Or(cfg.FileEvery, fileEvery),
		key: []byte(rand.Text()), logins: map[string]*login{}, asks: make(chan struct{}, 1), looked: make(chan struct{}), latest: cfg.Initial,
	}
	if k.now == nil {
		k.now = time.Now
	}
	for name, p := range places(&cfg.Initial) {
		if k.replaceable(name) {
			k.logins[name] = &login{name: name, keeper: k, current: value{Login: p.login}}
		}
	}
	token, _ := config.ZeroToken(cfg.Initial)
	k.token = &login{name: "ZERO_TOKEN", keeper: k, current: value{Login: config.Login{Password: token.Reveal()}}}
	k.book.open(k, cfg.Initial)
	k.hidden.set(cfg.Initial.Passwords())
	return k
}

// replaceable reports whether the value of a secret may change while the process runs: it comes
// from a file or from Zero.
func (k *Keeper) replaceable(name string) bool {
	return slices.ContainsFunc(k.cfg.Initial.SecretsInUse(), func(s config.SecretInUse) bool {
		return s.Variable == name && (s.Source == config.SourceFile || s.Source == config.SourceZero)
	})
}

// Attach returns the configuration with the logins of the Keeper, for the parts that connect.
func (k *Keeper) Attach(cfg config.Config) config.Config {
	if k == nil {
		return cfg
	}
	cfg.Relays, cfg.Brokers = slices.Clone(cfg.Relays), slices.Clone(cfg.Brokers)
	same := sharesDatabase(&cfg)
	for name, p := range places(&cfg) {
		if l := k.logins[name]; l != nil {
			*p.at = l
		}
	}
	for i := range cfg.Brokers { // all have the same Sentinels' login
		cfg.Brokers[i].Sentinel.Logins = cfg.Redis.Sentinel.Logins
	}
	if len(cfg.Brokers) > 0 {
		cfg.Redis = cfg.Brokers[0].Redis
	}
	if same { // one login, not two of the same
		cfg.Ledger.Database = cfg.Database
	}
	return cfg
}

// Idle reports whether there is nothing to keep: no secret is in a file, and Zero is not asked.
func (k *Keeper) Idle() bool {
	return k == nil || len(config.SecretFiles(k.cfg.Initial)) == 0 && !k.asksZero()
}

func (k *Keeper) asksZero() bool {
	token, _ := config.ZeroToken(k.cfg.Initial)
	return token.IsSet() && k.cfg.Initial.Service.ZeroRefresh > 0
}

// Config returns the configuration as it was loaded last. Its secrets are the present ones.
func (k *Keeper) Config() config.Config {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.latest
}

// Version changes when Config returns another configuration.
func (k *Keeper) Version() int {
	if k == nil {
		return 0
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.version
}

// Run looks at the sources until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	if k.Idle() {
		return nil
	}
	k.setRunning(true)
	defer k.setRunning(false)
	files := time.NewTicker(k.every)
	defer files.Stop()
	zero := time.NewTimer(k.zeroPause())
	defer zero.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-files.C:
			k.lookAtFiles()
			k.book.settle(k)
		case <-zero.C:
			k.lookAtZero(ctx)
			zero.Reset(k.zeroPause())
		case <-k.asks:
			if k.lookAtFiles() {
				k.release() // Zero may take long
			}
			k.lookAtZero(ctx)
			k.release()
		}
	}
}

// zeroPause returns the pause before the next question to Zero.
func (k *Keeper) zeroPause() time.Duration {
	if !k.asksZero() {
		return 1000 * time.Hour
	}
	every := max(k.cfg.Initial.Service.ZeroRefresh, zeroLeast)
	return every + time.Duration(mathrand.Float64()*0.2*float64(every))
}

func (k *Keeper) setRunning(on bool) {
	k.mu.Lock()
	k.running = on
	k.mu.Unlock()
	if !on {
		k.release()
	}
}

// release ends the waits of Ask.
func (k *Keeper) release() {
	k.mu.Lock()
	defer k.mu.Unlock()
	close(k.looked)
	k.looked, k.looking = make(chan struct{}), false
}

// Look has Run look at all sources now. It does not wait.
func (k *Keeper) Look() {
	if k == nil {
		return
	}
	select {
	case k.asks <- struct{}{}:
	default: // it will
	}
}

// Ask has Run look at all sources because a login was refused, at most once in five seconds. It
// waits for the outcome, for at most three seconds.
func (k *Keeper) Ask(ctx context.Context) {
	k.mu.Lock()
	now := k.now()
	again := !k.looking && now.Sub(k.asked) >= askEvery
	if !k.running || !again && !k.looking {
		k.mu.Unlock()
		return
	}
	if again {
		k.asked, k.looking = now, true
	}
	looked := k.looked
	k.mu.Unlock()
	if again {
		k.Look()
	}
	ctx, cancel := context.WithTimeout(ctx, askWait)
	defer cancel()
	select {
	case <-ctx.Done():
	case <-looked:
	}
}

// lookAtFiles takes what the files hold now. It reports whether that is something else than
// before. Links are followed and contents compared: a watcher of files would miss how Kubernetes
// replaces them.
func (k *Keeper) lookAtFiles() (changed bool) {
	texts, faults := k.book.readFiles(config.SecretFiles(k.cfg.Initial))
	seen := map[string][sha256.Size]byte{}
	for variable, text := range texts {
		seen[variable] = sha256.Sum256([]byte(text))
	}
	for variable, f := range faults {
		seen[variable] = sha256.Sum256([]byte("\x00" + f.text)) // no secret has a NUL
	}
	if maps.Equal(seen, k.seen) {
		return false
	}
	k.seen = seen
	k.take(config.SourceFile, config.Source{Name: config.SourceFile, Lookup: func(name string) (string, bool) {
		text, ok := texts[name]
		return text, ok
	}}, faults)
	return true
}

// lookAtZero takes what Zero has now.
func (k *Keeper) lookAtZero(ctx context.Context) {
	if !k.asksZero() {
		return
	}
	source, err := k.fetchZero(ctx)
	if ctx.Err() != nil {
		return
	}
	if err == nil {
		k.take(config.SourceZero, source, nil)
		return
	}
	text, advice := "no answer", "none is needed while the secrets work; check Zero and ZERO_URL if this takes long"
	if e, ok := errors.AsType[*config.ZeroError](err); ok {
		text = e.Summary // for all readers, while the error has addresses
	}
	if errors.Is(err, config.ErrZeroRefused) {
		text, advice = "it refuses the token", "put a valid token into the file of ZERO_TOKEN_FILE, or start the process again with another ZERO_TOKEN"
	}
	k.log.Debug("Zero asked", "error", err)
	k.book.fail(k, config.SourceZero, map[string]fault{"ZERO_TOKEN": {"Zero gives no secrets, the ones that it gave last stay in use: " + text, advice}})
}

// fetchZero asks Zero with the present token, and with the previous one if it is refused.
func (k *Keeper) fetchZero(ctx context.Context) (config.Source, error) {
	_, address := config.ZeroToken(k.cfg.Initial)
	var refused []config.Login
	for {
		token := k.token.first()
		if len(refused) > 0 {
			token = k.token.untried(refused)
		}
		source, err := config.FetchZero(ctx, address, config.NewSecret(token.Password))
		if err == nil {
			k.token.Accepted(token)
		}
		if !errors.Is(err, config.ErrZeroRefused) || slices.Contains(refused, token) {
			return source, err
		}
		refused = append(refused, token)
		k.token.noteRefused(refused)
		if slices.Contains(refused, k.token.untried(refused)) {
			return source, err
		}
	}
}
