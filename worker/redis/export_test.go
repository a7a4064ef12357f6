package redis

import (
	"github.com/evently/workers/worker/redis/internal/scripts"
	"github.com/evently/workers/worker/redis/internal/shape"
)

// ShapeOf is shape.Of for the tests of claim.lua.
var ShapeOf = shape.Of

// ScriptText is scripts.Text for tests that call a script.
var ScriptText = scripts.Text

// ScriptNames returns the names of all scripts.
func ScriptNames() []string { return scripts.Names() }
