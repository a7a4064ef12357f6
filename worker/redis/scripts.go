package redis

import (
	"embed"
	"fmt"
	"strings"
	"sync"

	redigo "github.com/gomodule/redigo/redis"
)

//go:embed scripts/*.lua
var scriptFiles embed.FS

// scripts are the steps that must happen as one. They are files of their own
// so that they can be read, and tried with redis-cli, as what they are.
type scripts struct {
	claim, claimSeen, start, starts, settle, finish, carry, giveBack, renew, restore, heartbeat, fence, dismiss, revive, unlock, take, revoke, reply, letters, spare, reindex script
}

// script is put together when it is called first: of many a worker never needs one.
type script func() *redigo.Script

// libraries are the files that stand in front of a script: Redis makes their functions
// anew at every call.
func libraries(name string) []string {
	switch name {
	case "finish", "starts", "letters", "reply", "revive", "unlock", "reindex":
		return []string{"lib"}
	case "claimseen":
		return []string{"lib", "claims"}
	case "claim":
		return []string{"lib", "claims", "undo"}
	case "settle", "carry", "start", "giveback":
		return []string{"lib", "undo", "steps"}
	case "restore":
		return []string{"lib", "undo", "steps", "owners"}
	case "fence", "dismiss":
		return []string{"lib", "undo", "owners"}
	}
	return []string{"lib", "undo"}
}

// scriptText returns a script with its libraries.
func scriptText(name string) (string, error) {
	var text strings.Builder
	for _, file := range append(libraries(name), name) {
		src, err := scriptFiles.ReadFile("scripts/" + file + ".lua")
		if err != nil {
			return "", fmt.Errorf("read embedded script: %w", err)
		}
		text.Write(src)
	}
	return text.String(), nil
}

// byName returns the scripts by the names of their files.
func (s *scripts) byName() map[string]*script {
	return map[string]*script{
		"claim": &s.claim, "claimseen": &s.claimSeen, "start": &s.start, "starts": &s.starts, "settle": &s.settle, "finish": &s.finish, "carry": &s.carry,
		"reply": &s.reply, "letters": &s.letters, "take": &s.take, "revoke": &s.revoke, "giveback": &s.giveBack,
		"renew": &s.renew, "restore": &s.restore, "heartbeat": &s.heartbeat,
		"fence": &s.fence, "spare": &s.spare, "reindex": &s.reindex, "dismiss": &s.dismiss, "revive": &s.revive, "unlock": &s.unlock,
	}
}

func loadScripts() (*scripts, error) {
	s := &scripts{}
	for name, dst := range s.byName() {
		text, err := scriptText(name)
		if err != nil {
			return nil, err
		}
		*dst = sync.OnceValue(func() *redigo.Script { return redigo.NewScript(-1, text) }) // the number of keys comes with the call
	}
	return s, nil
}
