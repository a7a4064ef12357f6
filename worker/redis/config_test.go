package redis

import (
	"os"
	"os/exec"
	"reflect"
	"strings"
	"testing"
	"time"
)

func TestParseURL(t *testing.T) {
	for raw, want := range map[string]address{
		"redis://":                   {network: "tcp", host: "localhost:6379", db: 5},
		"redis://h":                  {network: "tcp", host: "h:6379", db: 5},
		"redis://h:1/":               {network: "tcp", host: "h:1", db: 5},
		"redis://h:1/0":              {network: "tcp", host: "h:1", db: 0},
		"redis://:p%40ss@h:1/2":      {network: "tcp", host: "h:1", db: 2, password: "p@ss"},
		"redis://user:pass@h":        {network: "tcp", host: "h:6379", db: 5, username: "user", password: "pass"},
		"rediss://[::1]:1/3":         {network: "tcp", host: "[::1]:1", tls: true, db: 3},
		"redis+socket:///run/r.sock": {network: "unix", host: "/run/r.sock", db: 5},
		"redis+socket:///run/r.sock?virtual_host=7": {network: "unix", host: "/run/r.sock", db: 7},
		"sentinel://a;sentinel://b:1/3":             {network: "tcp", sentinels: []string{"a:26379", "b:1"}, db: 3},
		"sentinel://:secret@[::1]:1;b:2":            {network: "tcp", sentinels: []string{"[::1]:1", "b:2"}, db: 5, password: "secret"},
	} {
		got, err := parseURL(raw, 5)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("parseURL(%q) = %+v, %v; want %+v", raw, got, err, want)
		}
	}
	for _, raw := range []string{"amqp://h", "redis://h/db", "redis://h/-1", "redis+socket://", "sentinel://", "sentinel://h;redis://i", "sentinel://h/x", "sentinel://h;;i", "redis://:secret-493817@h:port/0", "://"} {
		_, err := parseURL(raw, 0)
		if err == nil {
			t.Errorf("parseURL(%q) succeeded", raw)
		} else if strings.Contains(err.Error(), "493817") {
			t.Errorf("the error tells the password: %v", err)
		}
	}
}

func TestConfigReportsEveryFault(t *testing.T) {
	_, err := New(Config{
		URL: "amqp://h", PrioritySteps: []int{3, 1}, DeadLettersMax: -1, VisibilityTimeout: time.Millisecond,
		OwnerTimeout: time.Second - 1, PollInterval: 10*time.Millisecond - 1, DeadLettersAge: -time.Hour,
	})
	for _, want := range []string{
		"amqp", "PrioritySteps", "DeadLettersMax", "VisibilityTimeout is 1ms: want at least 1s",
		"OwnerTimeout is 999.999999ms: want at least 1s", "PollInterval is 9.999999ms: want at least 10ms", "DeadLettersAge is -1h0m0s: want at least 1s",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error does not mention %s: %v", want, err)
		}
	}
}

func TestDeathIsProven(t *testing.T) {
	self := thisProcess()
	if self.Boot == "" {
		t.Fatal("this system does not tell processes apart")
	}
	if self.dead(self) {
		t.Error("this process is taken for dead")
	}
	other := self
	other.Start = "1" // the number was given to another process since
	if !self.dead(other) {
		t.Error("a process whose number another has now is taken for alive")
	}
	elsewhere := other
	elsewhere.Boot = "another machine"
	if self.dead(elsewhere) {
		t.Error("a process of another machine is taken for dead without proof")
	}

	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	start, _, ok := processStat(cmd.Process.Pid)
	if !ok {
		t.Fatal("no entry of the child")
	}
	child := self
	child.PID, child.Start = cmd.Process.Pid, start
	if self.dead(child) {
		t.Error("a running child is taken for dead")
	}
	if err := cmd.Process.Signal(os.Kill); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(10 * time.Second); !self.dead(child); { // a zombie: nobody waited for it yet
		if time.Now().After(deadline) {
			t.Fatal("a killed child is taken for alive")
		}
		time.Sleep(time.Millisecond)
	}
	_ = cmd.Wait()
	if !self.dead(child) {
		t.Error("a child that was waited for is taken for alive")
	}
}

func TestWarnings(t *testing.T) {
	bad := parseInfo("# Memory\r\nmaxmemory:100\r\nmaxmemory_policy:allkeys-lru\r\nrole:slave\r\naof_enabled:0\r\n")
	if got := warnings(bad); len(got) != 3 {
		t.Errorf("warnings %q, want three", got)
	}
	good := parseInfo("maxmemory:0\r\nmaxmemory_policy:allkeys-lru\r\nrole:master\r\naof_enabled:1\r\n")
	if got := warnings(good); len(got) != 0 {
		t.Errorf("warnings %q for a server in order", got)
	}
}
