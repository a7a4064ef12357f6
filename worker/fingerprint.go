package worker

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"

	"github.com/evently/workers/worker/protocol"
)

// Fingerprint identifies the work of a task: it differs where the id, the name or the
// arguments differ, and is the same for every delivery and every retry of a message, also
// when a Python worker has published it again. Producers choose ids, and may choose one twice.
//
// It is keyed with a secret of the broker, so that it tells nothing of the arguments, not
// even of short ones such as codes: it may stand in logs, results and mails. Without a
// worker it is the id.
func (t *Task) Fingerprint() string {
	if t.workflow == nil || t.Message == nil {
		return t.ID
	}
	h := hmac.New(sha256.New, t.workflow.secret)
	var buf []byte
	for _, part := range [][]byte{[]byte(t.ID), []byte(t.Name), canonicalForm(t.Message.Args), canonicalForm(t.Message.Kwargs)} {
		buf = binary.AppendUvarint(buf[:0], uint64(len(part)))
		h.Write(buf) // a hash takes everything
		h.Write(part)
	}
	return hex.EncodeToString(h.Sum(nil)[:16])
}

// canonicalForm is the one form of a value, or the value as it is where that has none.
func canonicalForm(r protocol.Raw) []byte {
	b, err := protocol.AppendCanonical(make([]byte, 0, len(r)), r)
	if err != nil {
		return r
	}
	return b
}
