package protocol

// Bodies alone, without the message around them.
var (
	UnpackYAML    = unpackYAML
	UnpackMsgpack = unpackMsgpack
	PackYAML      = packYAML
	PackMsgpack   = packMsgpack
)
