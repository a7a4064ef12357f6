package attention

import (
	"fmt"
	"strings"
	"time"

	"github.com/evently/workers/monitor/internal/segment"
)

// Spell writes a duration for people.
func Spell(d time.Duration) string {
	d = max(0, d)
	switch {
	case d < 10*time.Second && d%time.Second != 0:
		return fmt.Sprintf("%.1f s", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// Percent writes a part of a whole. It never rounds to 100 % what is less.
func Percent(part, whole int64) string {
	if whole <= 0 {
		return "–"
	}
	return percent(float64(part) / float64(whole))
}

func percent(share float64) string {
	if share >= 1 {
		return "100 %"
	}
	tenths := int(share * 1000)
	if tenths%10 == 0 {
		return fmt.Sprintf("%d %%", tenths/10)
	}
	return fmt.Sprintf("%d.%d %%", tenths/10, tenths%10)
}

func count(n int, thing string) string { return plural(int64(n), thing, thing+"s") }

func plural(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, more)
}

func wait(n int) string { return plural(int64(n), "message waits", "messages wait") }

func forOldest(d time.Duration) string {
	if d <= 0 {
		return ""
	}
	return ", the oldest for " + Spell(d)
}

// nodes names one or more workers.
func nodes(all []string) string {
	switch len(all) {
	case 0:
		return "the workers"
	case 1:
		return all[0]
	}
	return fmt.Sprintf("%s and %d more", all[0], len(all)-1)
}

// clause makes foreign words a part of a sentence.
func clause(text string) string {
	text = strings.TrimRight(strings.TrimSpace(text), ".")
	if text == "" {
		return "no reason is known"
	}
	return text
}

// sentence makes words a sentence.
func sentence(text string) string { return strings.TrimRight(text, ".") + "." }

// advice makes the advice of a health report a sentence.
func advice(text string) string {
	if text == "" {
		return ""
	}
	return strings.ToUpper(text[:1]) + sentence(text[1:])
}

func queueLink(name string) string { return "/queues/" + segment.Of(name) }
