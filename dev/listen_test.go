package dev

import (
	"net"
	"strconv"
	"testing"
)

func TestBindStepsOverTakenPorts(t *testing.T) {
	first, err := bindTCP(-1)
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	taken := first.Addr().(*net.TCPAddr).Port

	second, err := bindTCP(taken)
	if err != nil {
		t.Fatalf("port %d is taken, and bind gave up: %v", taken, err)
	}
	defer second.Close()
	got := second.Addr().(*net.TCPAddr)
	if got.Port == taken {
		t.Errorf("two listeners on port %d", taken)
	}
	if !got.IP.IsLoopback() {
		t.Errorf("listens on %v, which others can reach", got.IP)
	}
}

func TestBindTriesTheWishFirstAndAnyPortLast(t *testing.T) {
	var tried []string
	err := bind(65530, func(address string) error {
		tried = append(tried, address)
		return net.ErrClosed
	})
	if err == nil {
		t.Fatal("no port was free, and bind did not say so")
	}
	if want := net.JoinHostPort(loopback, "65530"); tried[0] != want {
		t.Errorf("first try %s, want %s", tried[0], want)
	}
	if want := net.JoinHostPort(loopback, "0"); tried[len(tried)-1] != want {
		t.Errorf("last try %s, want %s", tried[len(tried)-1], want)
	}
	for _, address := range tried {
		_, port, _ := net.SplitHostPort(address)
		if n, err := strconv.Atoi(port); err != nil || n > 65535 {
			t.Errorf("tried %s, which is no address", address)
		}
	}
}

func TestRedisStepsOverATakenPort(t *testing.T) {
	l, err := bindTCP(-1)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	taken := l.Addr().(*net.TCPAddr).Port
	m, err := startRedis(taken)
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if m.Port() == strconv.Itoa(taken) {
		t.Errorf("Redis claims to have port %d, which is taken", taken)
	}
}
