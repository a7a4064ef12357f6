package verdict

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxDelay bounds the delay that a server may ask for.
const maxDelay = time.Hour

var (
	// "come back in 00:04:59", as milter-greylist writes
	clockWait = regexp.MustCompile(`(?i)\b(?:in|after|for)\s+(\d{1,2}):([0-5]\d):([0-5]\d)\b`)
	// "try again in 5 minutes", "wait 300 seconds", "Greylisted for 5 minutes"
	spokenWait = regexp.MustCompile(`(?i)\b(?:in|after|for|wait)\s+(?:about\s+|at\s+least\s+|another\s+)?(\d{1,6})\s*(sec|min|hour)`)
)

// Delay returns the delay that the text of a 4yz reply asks for, 0 if it names none, and
// whether the reply is greylisting. SMTP has no codes for either.
func Delay(text string) (after time.Duration, greylisted bool) {
	plain := strings.NewReplacer("-", "", "gray", "grey").Replace(strings.ToLower(text))
	greylisted = strings.Contains(plain, "greylist") || strings.Contains(plain, "grey list")
	if m := clockWait.FindStringSubmatch(text); m != nil {
		after = number(m[1])*time.Hour + number(m[2])*time.Minute + number(m[3])*time.Second
	} else if m := spokenWait.FindStringSubmatch(text); m != nil {
		unit := map[string]time.Duration{"sec": time.Second, "min": time.Minute, "hour": time.Hour}[strings.ToLower(m[2])]
		after = number(m[1]) * unit
	}
	return min(after, maxDelay), greylisted
}

// number returns digits as a factor.
func number(digits string) time.Duration {
	n, _ := strconv.Atoi(digits) // at most six digits
	return time.Duration(n)
}
