package overview

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/evently/workers/internal/words"
)

// figure writes a number with about three digits.
func figure(v float64) string {
	switch {
	case v >= 100 || v == math.Trunc(v):
		return grouped(int(math.Round(v)))
	case v >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	}
	return strings.TrimSuffix(strconv.FormatFloat(v, 'f', 1, 64), ".0")
}

func grouped(n int) string { return words.Grouped(int64(n)) }

// seconds writes a duration with about three digits.
func seconds(s float64) string {
	switch {
	case s <= 0:
		return "0 s"
	case s < 1:
		return fmt.Sprintf("%.0f ms", math.Max(1, s*1000))
	case s < 10:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", s), ".0") + " s"
	case s < 120:
		return fmt.Sprintf("%.0f s", s)
	case s < 7200:
		return fmt.Sprintf("%d min", int(s)/60)
	case s < 48*3600:
		return fmt.Sprintf("%d h", int(s)/3600)
	}
	return fmt.Sprintf("%d days", int(s)/86400)
}
