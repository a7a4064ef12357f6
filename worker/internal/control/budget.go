package control

import "time"

// Bounds of the answers. Any client that can publish may ask, and each answer is kept in the
// broker until its reader takes it.
const (
	answerMost   = 16 << 20 // bytes of one answer
	infoBytes    = 2 << 20  // bytes of arguments in one answer; later tasks show their reprs, shortened
	reprMost     = 60       // bytes of such a repr
	answersBurst = 1000     // answers at once
	answersRate  = 100      // answers a second, later on
	bytesBurst   = 64 << 20 // bytes of answers at once
	bytesRate    = 8 << 20  // bytes a second, later on
)

// budget bounds the answers of a worker in number and size. Commands that change something
// are carried out in any case. It is used by the goroutine of attend only.
type budget struct {
	at             time.Time
	answers, bytes float64 // that are left
	dropped        int     // answers that were not given since the last that was
}

// spent reports whether nothing is left. A small answer takes no bytes.
func (b *budget) spent(now time.Time, small bool) bool {
	b.fill(now)
	if b.answers >= 1 && (small || b.bytes > 0) {
		return false
	}
	b.dropped++
	return true
}

// take takes an answer with some bytes. It may take more than there is.
func (b *budget) take(bytes int) (dropped int) {
	b.answers--
	b.bytes -= float64(bytes)
	dropped, b.dropped = b.dropped, 0
	return dropped
}

func (b *budget) fill(now time.Time) {
	if b.at.IsZero() {
		b.answers, b.bytes = answersBurst, bytesBurst
	}
	passed := max(0, now.Sub(b.at).Seconds())
	b.at = now
	b.answers = min(answersBurst, b.answers+passed*answersRate)
	b.bytes = min(bytesBurst, b.bytes+passed*bytesRate)
}
