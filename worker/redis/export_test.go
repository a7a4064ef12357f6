package redis

import (
	"time"

	"github.com/evently/workers/worker/redis/internal/examine"
	"github.com/evently/workers/worker/redis/internal/scripts"
	"github.com/evently/workers/worker/redis/internal/shape"
)

// ShapeOf is shape.Of for the tests of claim.lua.
var ShapeOf = shape.Of

// ScriptText is scripts.Text for tests that call a script.
var ScriptText = scripts.Text

// ScriptNames returns the names of all scripts.
func ScriptNames() []string { return scripts.Names() }

// SetPatience replaces the bounds of claims that build on earlier steps, before the first claim.
func SetPatience(b *Broker, look, pipeline time.Duration) {
	b.claimer.patience = patience{look: look, pipeline: pipeline}
}

// ExaminedCommands is examine.Commands.
var ExaminedCommands = examine.Commands
