package mail

import (
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxRetryAfter bounds what a server may ask for.
const maxRetryAfter = time.Hour

var (
	// "come back in 00:04:59", as milter-greylist says
	clockWait = regexp.MustCompile(`(?i)\b(?:in|after|for)\s+(\d{1,2}):([0-5]\d):([0-5]\d)\b`)
	// "try again in 5 minutes", "wait 300 seconds", "Greylisted for 5 minutes"
	spokenWait = regexp.MustCompile(`(?i)\b(?:in|after|for|wait)\s+(?:about\s+|at\s+least\s+|another\s+)?(\d{1,6})\s*(sec|min|hour)`)
)

// waitIn finds in the words of a 4yz reply how long to wait, and whether they
// speak of greylisting. That is not what the words of a reply are for, but there
// are no codes for it.
func waitIn(text string) (after time.Duration, greylisted bool) {
	plain := strings.NewReplacer("-", "", "gray", "grey").Replace(strings.ToLower(text))
	greylisted = strings.Contains(plain, "greylist") || strings.Contains(plain, "grey list")
	if m := clockWait.FindStringSubmatch(text); m != nil {
		after = number(m[1])*time.Hour + number(m[2])*time.Minute + number(m[3])*time.Second
	} else if m := spokenWait.FindStringSubmatch(text); m != nil {
		unit := map[string]time.Duration{"sec": time.Second, "min": time.Minute, "hour": time.Hour}[strings.ToLower(m[2])]
		after = number(m[1]) * unit
	}
	return min(after, maxRetryAfter), greylisted
}

// number reads digits as a factor.
func number(digits string) time.Duration {
	n, _ := strconv.Atoi(digits) // at most six digits
	return time.Duration(n)
}
