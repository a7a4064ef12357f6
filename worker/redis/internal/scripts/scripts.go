// Package scripts holds the Lua scripts: the steps that Redis carries out atomically.
// Each is a file of its own, which can also be tried with redis-cli.
package scripts

import (
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"sync"

	redigo "github.com/gomodule/redigo/redis"

	"github.com/evently/workers/internal/sorting"
)

//go:embed *.lua
var files embed.FS

// Scripts are all scripts, by their fields.
type Scripts struct {
	Claim, ClaimSeen, Pick, Start, Starts, Mark, Settle, Finish, Carry, GiveBack, Renew, Restore,
	Heartbeat, Fence, Dismiss, Revive, Unlock, Lease, Admit, Slow, Take, Revoke, Reply, Letters, Spare, Reindex,
	LetterRead, LetterPage, LetterMove, LetterDrop, LetterCount, Journal, Look, Peek, Purge, Heard, Learn Script
}

// Script returns a script. It is put together at the first call, because most workers never
// need some of them.
type Script func() *redigo.Script

// libraries returns the files that precede a script. Redis creates their functions anew at
// every call.
func libraries(name string) []string {
	switch name {
	case "finish", "mark":
		return []string{"lib", "record"}
	case "starts", "letters", "letterread", "letterpage", "reply", "unlock", "reindex", "journal", "look", "peek", "purge", "heard", "learn":
		return []string{"lib"}
	case "revive", "lettermove", "letterdrop":
		return []string{"lib", "undo", "closing"}
	case "claimseen":
		return []string{"lib", "claims"}
	case "claim":
		return []string{"lib", "claims", "undo"}
	case "settle", "carry", "giveback":
		return []string{"lib", "undo", "steps", "record"}
	case "start":
		return []string{"lib", "undo", "steps"}
	case "restore":
		return []string{"lib", "undo", "steps", "owners"}
	case "pick":
		return []string{"lib", "claims", "undo", "steps"}
	case "admit", "slow":
		return []string{"lib", "undo", "pace"}
	case "fence", "dismiss":
		return []string{"lib", "undo", "owners"}
	}
	return []string{"lib", "undo"}
}

// Text returns a script with its libraries.
func Text(name string) (string, error) {
	var text strings.Builder
	for _, file := range append(libraries(name), name) {
		src, err := files.ReadFile(file + ".lua")
		if err != nil {
			return "", fmt.Errorf("read embedded script: %w", err)
		}
		text.Write(src)
	}
	return text.String(), nil
}

// Source returns the file of a script or library, without libraries.
func Source(name string) (string, error) {
	src, err := files.ReadFile(name + ".lua")
	if err != nil {
		return "", fmt.Errorf("read embedded script: %w", err)
	}
	return string(src), nil
}

// Names returns the names of all scripts, sorted.
func Names() []string { return sorting.Keys(new(Scripts).byName()) }

// byName returns the scripts by the names of their files.
func (s *Scripts) byName() map[string]*Script {
	return map[string]*Script{
		"claim": &s.Claim, "claimseen": &s.ClaimSeen, "pick": &s.Pick, "start": &s.Start, "starts": &s.Starts, "mark": &s.Mark, "settle": &s.Settle, "finish": &s.Finish, "carry": &s.Carry,
		"reply": &s.Reply, "letters": &s.Letters, "lease": &s.Lease, "admit": &s.Admit, "slow": &s.Slow, "take": &s.Take, "revoke": &s.Revoke, "giveback": &s.GiveBack,
		"renew": &s.Renew, "restore": &s.Restore, "heartbeat": &s.Heartbeat,
		"fence": &s.Fence, "spare": &s.Spare, "reindex": &s.Reindex, "dismiss": &s.Dismiss, "revive": &s.Revive, "unlock": &s.Unlock,
		"letterread": &s.LetterRead, "letterpage": &s.LetterPage, "lettermove": &s.LetterMove, "letterdrop": &s.LetterDrop, "lettercount": &s.LetterCount, "journal": &s.Journal,
		"look": &s.Look, "peek": &s.Peek, "purge": &s.Purge, "heard": &s.Heard, "learn": &s.Learn,
	}
}

// unguard takes away the last key, which connections to a cluster add to every call. See
// guard.go of package conn.
const unguard = "KEYS[#KEYS] = nil\n"

// Load returns the scripts. Those of a cluster expect one more key.
func Load(cluster bool) (*Scripts, error) {
	s := &Scripts{}
	for name, dst := range s.byName() {
		for _, file := range append(libraries(name), name) {
			if _, err := fs.Stat(files, file+".lua"); err != nil {
				return nil, fmt.Errorf("find embedded script: %w", err)
			}
		}
		*dst = sync.OnceValue(func() *redigo.Script {
			text, _ := Text(name) // its files exist
			if cluster {
				text = unguard + text
			}
			return redigo.NewScript(-1, text) // the number of keys comes with the call
		})
	}
	return s, nil
}
