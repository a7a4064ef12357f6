package term

import (
	"fmt"
	"os"
	"strings"
	"time"

	"golang.org/x/term"
)

// Progress shows what a long action does and how far it is: a bar on a terminal, and a line each ten
// seconds otherwise. The zero value of its fields but Out and Doing will do; with the Total 0 it shows
// what is done.
type Progress struct {
	Out   *os.File
	Doing string // such as "importing rows"; Does changes it
	Total int
	Now   func() time.Time // nil: time.Now

	done, failed int
	began, shown time.Time
	bar          bool
}

const (
	barEvery  = 100 * time.Millisecond
	lineEvery = 10 * time.Second
)

// Start shows the first state of the progress on a terminal.
func (p *Progress) Start() {
	if p.Now == nil {
		p.Now = time.Now
	}
	p.began = p.Now()
	p.shown = p.began
	p.bar = term.IsTerminal(int(p.Out.Fd())) && os.Getenv("TERM") != "dumb"
	if p.bar {
		p.draw()
	}
}

// Add counts things that are done, and failures.
func (p *Progress) Add(done, failed int) {
	p.done, p.failed = p.done+done, p.failed+failed
	now := p.Now()
	switch since := now.Sub(p.shown); {
	case p.bar && since >= barEvery:
		p.shown = now
		p.draw()
	case !p.bar && since >= lineEvery:
		p.shown = now
		fmt.Fprintln(p.Out, p.text())
	}
}

// Does tells what the action does from now on.
func (p *Progress) Does(doing string) {
	p.Doing = doing
	if p.bar {
		p.shown = p.Now()
		p.draw()
	}
}

// Next begins another step of the action, with another Total.
func (p *Progress) Next(total int) {
	p.Total, p.done, p.failed, p.began = total, 0, 0, p.Now()
}

// Done sets the number of things that are done.
func (p *Progress) Done(n int) { p.Add(n-p.done, 0) }

// Print writes a line above the bar.
func (p *Progress) Print(text string) {
	p.clear()
	fmt.Fprintln(p.Out, text)
	if p.bar {
		p.draw()
	}
}

// Stop removes the bar.
func (p *Progress) Stop() {
	p.clear()
	p.bar = false
}

func (p *Progress) clear() {
	if p.bar {
		fmt.Fprint(p.Out, "\r\x1b[K")
	}
}

// draw writes the bar over the one before. It leaves the last column free, because some
// terminals go to the next line there.
func (p *Progress) draw() {
	text, width := p.text(), Columns(p.Out)
	if width <= 0 {
		width = defaultWidth
	}
	if room := min(width-Cells(text)-4, 40); room >= 10 && p.Total > 0 {
		full := min(room*(p.done+p.failed)/p.Total, room)
		text = "[" + strings.Repeat("#", full) + strings.Repeat(".", room-full) + "] " + text
	}
	fmt.Fprint(p.Out, "\r"+Cut(text, max(width-1, 1))+"\x1b[K")
}

// text tells what is done, how many are done, and how long the rest may take.
func (p *Progress) text() string {
	text := fmt.Sprintf("%s: %d of %d", p.Doing, p.done+p.failed, p.Total)
	if p.Total == 0 {
		text = fmt.Sprintf("%s: %d so far", p.Doing, p.done+p.failed)
	}
	if p.failed > 0 {
		text += fmt.Sprintf(", %d failed", p.failed)
	}
	passed := p.done + p.failed
	if spent := p.Now().Sub(p.began); passed > 0 && spent >= time.Second && passed < p.Total {
		rest := time.Duration(float64(spent) / float64(passed) * float64(p.Total-passed))
		text += ", " + whole(rest) + " left"
	}
	return text
}

// whole writes a duration in whole seconds or more.
func whole(d time.Duration) string {
	if d < 10*time.Second {
		return fmt.Sprintf("%d s", max(1, int(d.Round(time.Second).Seconds())))
	}
	return Spell(d)
}
