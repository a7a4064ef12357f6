package redis_test

import (
	"path/filepath"
	"strings"
	"testing"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/redis"
	"github.com/evently/workers/worker/redis/redistest"
)

// TestUnixSocket consumes through a socket, by all spellings of Celery and redis-py.
func TestUnixSocket(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "r.sock")
	s := redistest.Start(t, "--unixsocket", path, "--unixsocketperm", "700")
	do(t, s.Conn(0), "CONFIG", "SET", "requirepass", "p@ss/w:rd")
	admin, err := redigo.Dial("unix", path, redigo.DialPassword("p@ss/w:rd"), redigo.DialDatabase(3))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { admin.Close() })
	for _, url := range []string{
		"redis+socket://:p%40ss%2Fw%3Ard@" + path + "?virtual_host=3",
		"socket://:p%40ss%2Fw%3Ard@" + path + "?virtual_host=/3",
		"unix://:p%40ss%2Fw%3Ard@" + path + "?db=3",
		"unix://default:p%40ss%2Fw%3Ard@" + path + "?db=3",
		"unix://" + path + "?db=3&password=p%40ss%2Fw%3Ard",
	} {
		if err := tryURL(t, url); err != nil {
			t.Errorf("%s: %v", url, err)
			continue
		}
		_, stop := runWorker(t, redis.Config{URL: url}, worker.Config{Tasks: nothing()})
		id := send(t, admin, "q", "nothing", "[]")
		eventually(t, "a task is done through "+url, func() bool { return result(t, admin, id).Status == "SUCCESS" })
		stop()
	}
	for url, want := range map[string]string{
		"unix://" + path + "?db=3":                          "NOAUTH",
		"unix://:wrong@" + path:                             "WRONGPASS",
		"unix://" + path + ".missing":                       "no such file or directory",
		"redis+socket://" + strings.TrimPrefix(path, "/"):   "three slashes",
		"unix://" + path + "?db=3&virtual_host=4":           "two databases",
		"redis+socket://" + path + "?virtual_host=everyone": "not a number",
	} {
		if err := tryURL(t, url); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", url, err, want)
		}
	}
}
