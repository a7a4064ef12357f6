package redis

import (
	"embed"
	"fmt"
	"sync"

	redigo "github.com/gomodule/redigo/redis"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// scripts are the steps that must happen as one. They are files of their own
// so that they can be read, and tried with redis-cli, as what they are.
type scripts struct {
	claim, claimSeen, start, starts, settle, finish, carry, giveBack, renew, restore, heartbeat, fence, dismiss, revive, unlock, take, revoke, reply, letters script
}

// script is put together when it is called first: of many a worker never needs one.
type script func() *redigo.Script

func loadScripts() (*scripts, error) {
	lib, err := scriptFiles.ReadFile("scripts/lib.lua")
	if err != nil {
		return nil, fmt.Errorf("read embedded script: %w", err)
	}
	s := &scripts{}
	for name, dst := range map[string]*script{
		"claim": &s.claim, "claimseen": &s.claimSeen, "start": &s.start, "starts": &s.starts, "settle": &s.settle, "finish": &s.finish, "carry": &s.carry,
		"reply": &s.reply, "letters": &s.letters, "take": &s.take, "revoke": &s.revoke, "giveback": &s.giveBack,
		"renew": &s.renew, "restore": &s.restore, "heartbeat": &s.heartbeat,
		"fence": &s.fence, "dismiss": &s.dismiss, "revive": &s.revive, "unlock": &s.unlock,
	} {
		src, err := scriptFiles.ReadFile("scripts/" + name + ".lua")
		if err != nil {
			return nil, fmt.Errorf("read embedded script: %w", err)
		}
		*dst = sync.OnceValue(func() *redigo.Script {
			return redigo.NewScript(-1, string(lib)+string(src)) // the number of keys comes with the call
		})
	}
	return s, nil
}
