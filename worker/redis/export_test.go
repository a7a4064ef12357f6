package redis

import (
	"maps"
	"slices"
)

// ShapeOf is shapeOf for the tests of claim.lua.
var ShapeOf = shapeOf

// ScriptText is scriptText for tests that call a script.
var ScriptText = scriptText

// ScriptNames are the names of all scripts.
func ScriptNames() []string { return slices.Sorted(maps.Keys(new(scripts).byName())) }
