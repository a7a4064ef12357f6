package redis

// ShapeOf is shapeOf for the tests of claim.lua.
var ShapeOf = shapeOf
