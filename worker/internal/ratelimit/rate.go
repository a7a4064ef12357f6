// Package ratelimit holds back items of tasks that have a rate limit.
package ratelimit

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Parse reads a rate limit as Celery writes it: a number, which may have a fraction, and
// /s, /m or /h; seconds when there is no unit. It returns the time between two tasks, 0
// for no limit ("", "0" and less).
func Parse(s string) (every time.Duration, err error) {
	s = strings.TrimSpace(s)
	if s == "" {
		return 0, nil
	}
	number, unit, _ := strings.Cut(s, "/")
	per, ok := map[string]time.Duration{"": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	n, numErr := strconv.ParseFloat(number, 64)
	if !ok || numErr != nil {
		return 0, fmt.Errorf("rate limit %q: want a number of tasks, and /s, /m or /h, such as 10/m", s)
	}
	if !(n > 0) {
		return 0, nil
	}
	every = time.Duration(float64(per) / n)
	if every <= 0 || float64(per)/n > float64(1<<62) {
		return 0, fmt.Errorf("rate limit %q is out of range", s)
	}
	return every, nil
}
