package dev

import (
	"fmt"
	"strings"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
)

// startRedis starts the embedded Redis on the preferred port or one after it.
// The caller closes it.
func startRedis(preferred int) (*miniredis.Miniredis, error) {
	var m *miniredis.Miniredis
	err := bind(preferred, func(address string) error {
		m = miniredis.NewMiniRedis()
		// Results, leases and locks expire. Without this, time stands still for them.
		m.ClockTTL(true)
		return m.StartAddr(address)
	})
	if err != nil {
		return nil, fmt.Errorf("start the embedded Redis: %w", err)
	}
	m.Server().SetPreHook(answer)
	return m, nil
}

// answer adds the commands that clients send when they connect and that miniredis does not
// know. redis-py sends CLIENT SETINFO; monitors such as Flower and redis-cli read CONFIG
// GET.
func answer(c *server.Peer, cmd string, args ...string) bool {
	if len(args) == 0 {
		return false
	}
	switch sub := strings.ToUpper(args[0]); {
	case cmd == "CLIENT" && (sub == "SETINFO" || sub == "NO-EVICT" || sub == "NO-TOUCH"):
		c.WriteOK()
	case cmd == "CONFIG" && sub == "GET":
		c.WriteMapLen(0)
	default:
		return false
	}
	return true
}
