package conn

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"time"

	redigo "github.com/gomodule/redigo/redis"
)

// sentinelTimeout bounds one question to one Sentinel. There are others to ask.
const sentinelTimeout = time.Second

// FollowInterval is the pause between two calls of FollowMaster. A master that was replaced
// by a planned failover accepts writes for seconds, and all of them are lost. Its refusal
// comes too late.
const FollowInterval = 500 * time.Millisecond

// errNoMaster: a Sentinel does not know the master, or named a server that is not one.
var errNoMaster = errors.New("no master")

// sentinels knows the Sentinels and the master that they watch.
type sentinels struct {
	dialer     *dialer
	name       string // of the server, for errors
	master     string // its name
	login      Login  // to the Sentinels
	logins     Logins
	asking     redigo.Conn
	askingHost string // both of newMaster alone

	mu    sync.Mutex
	order []string // Sentinels, the one that answered last first
	used  string   // address of the master that connections lead to
}

func newSentinels(cfg Config, d *dialer) *sentinels {
	return &sentinels{
		dialer: d, name: cfg.Name, master: cfg.SentinelMaster,
		login: Login{cfg.SentinelUsername, cfg.SentinelPassword}, logins: cfg.SentinelLogins,
		order: slices.Clone(cfg.Sentinels),
	}
}

// dialMaster asks one Sentinel after the other for the master. It connects to the first
// answer that is a master.
func (s *sentinels) dialMaster(ctx context.Context, nd netDialer) (redigo.Conn, error) {
	var faults []error
	for _, sentinel := range s.inOrder() {
		master, err := s.askOnce(ctx, sentinel)
		if err == nil {
			var c redigo.Conn
			if c, err = s.dialNamed(ctx, master, nd); err == nil {
				s.putFirst(sentinel, master)
				return c, nil
			}
		}
		faults = append(faults, fmt.Errorf("sentinel %s: %w", sentinel, dialCause(err)))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, fmt.Errorf("connect to redis %s: %w", s.name, errors.Join(faults...))
}

// dialNamed connects to a server and checks that it is a master. Sentinels name the old
// master for a while after it has failed.
func (s *sentinels) dialNamed(ctx context.Context, addr string, nd netDialer) (redigo.Conn, error) {
	c, err := s.dialer.server(ctx, "tcp", addr, nd)
	if err != nil {
		return nil, err
	}
	role, err := redigo.Values(c.Do("ROLE"))
	name := ""
	if err == nil && len(role) > 0 {
		name, err = redigo.String(role[0], nil)
	}
	if err == nil && name != "master" {
		err = fmt.Errorf("%w: %s says that it is a %s", errNoMaster, addr, name)
	}
	if err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

func (s *sentinels) dial(ctx context.Context, sentinel string) (redigo.Conn, error) {
	opts := []redigo.DialOption{
		redigo.DialReadTimeout(sentinelTimeout),
		redigo.DialWriteTimeout(sentinelTimeout),
		redigo.DialContextFunc(s.dialer.net),
	}
	ctx, cancel := context.WithTimeout(ctx, sentinelTimeout)
	defer cancel()
	return withLogins(ctx, s.logins, s.login, func(l Login) (redigo.Conn, error) {
		opts := slices.Clip(opts)
		if l.Password != "" {
			opts = append(opts, redigo.DialUsername(l.Username), redigo.DialPassword(l.Password))
		}
		c, err := redigo.DialContext(ctx, "tcp", sentinel, opts...)
		return c, explainTLS(withoutSecrets(err, l.Password))
	})
}

func (s *sentinels) askOnce(ctx context.Context, sentinel string) (master string, err error) {
	c, err := s.dial(ctx, sentinel)
	if err != nil {
		return "", err
	}
	defer c.Close()
	return s.ask(c)
}

// ask returns the address of the master.
func (s *sentinels) ask(c redigo.Conn) (master string, err error) {
	parts, err := redigo.Strings(c.Do("SENTINEL", "get-master-addr-by-name", s.master))
	if errors.Is(err, redigo.ErrNil) || err == nil && len(parts) != 2 {
		return "", fmt.Errorf("%w of the name %q is known", errNoMaster, s.master)
	}
	if err != nil {
		return "", err
	}
	return net.JoinHostPort(parts[0], parts[1]), nil
}

// newMaster returns the address of the master when it is not the one that connections lead
// to, else "". It keeps its connection to a Sentinel open.
func (s *sentinels) newMaster(ctx context.Context) (string, error) {
	if s.asking == nil {
		s.askingHost = s.inOrder()[0]
		c, err := s.dial(ctx, s.askingHost)
		if err != nil {
			s.putLast(s.askingHost)
			return "", fmt.Errorf("sentinel %s: %w", s.askingHost, dialCause(err))
		}
		s.asking = c
	}
	master, err := s.ask(s.asking)
	if err != nil {
		s.hangUp()
		s.putLast(s.askingHost)
		return "", fmt.Errorf("sentinel %s: %w", s.askingHost, dialCause(err))
	}
	if used := s.current(); used == "" || used == master {
		return "", nil
	}
	// A Sentinel that is cut off from the others names an old master for ever.
	ctx, cancel := context.WithTimeout(ctx, DialTimeout)
	defer cancel()
	c, err := s.dialNamed(ctx, master, s.dialer.net)
	if err != nil {
		return "", fmt.Errorf("look at the new master: %w", err)
	}
	c.Close()
	s.putFirst(s.askingHost, master)
	return master, nil
}

// hangUp closes the connection of newMaster.
func (s *sentinels) hangUp() {
	if s.asking != nil {
		s.asking.Close()
		s.asking = nil
	}
}

func (s *sentinels) current() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.used
}

func (s *sentinels) inOrder() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}

// putFirst puts a Sentinel to the front because its answer was true.
func (s *sentinels) putFirst(sentinel, master string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used = master
	s.order = slices.DeleteFunc(s.order, func(o string) bool { return o == sentinel })
	s.order = slices.Insert(s.order, 0, sentinel)
}

// putLast puts a Sentinel to the end because it did not answer.
func (s *sentinels) putLast(sentinel string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.order = slices.DeleteFunc(s.order, func(o string) bool { return o == sentinel })
	s.order = append(s.order, sentinel)
}
