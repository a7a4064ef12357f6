package events

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/worker/protocol"
)

// System returns the name of the operating system as Python has it.
func System() string {
	if runtime.GOOS == "darwin" {
		return "Darwin"
	}
	return strings.ToUpper(runtime.GOOS[:1]) + runtime.GOOS[1:]
}

// HoursWest returns the zone of an event: Python divides as floor does, so that a zone
// of a half hour counts as that below.
func HoursWest(t time.Time) int {
	_, east := t.Zone()
	hours := -east / 3600
	if -east%3600 < 0 {
		hours--
	}
	return hours
}

// loadAverage returns the load of the system over 1, 5 and 15 minutes; zeros where it is
// not known.
func loadAverage() protocol.Raw {
	none := protocol.Raw("[0.0, 0.0, 0.0]")
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return none
	}
	f := strings.Fields(string(text))
	if len(f) < 3 {
		return none
	}
	for _, n := range f[:3] {
		if _, err := strconv.ParseFloat(n, 64); err != nil {
			return none
		}
	}
	return protocol.Raw(fmt.Sprintf("[%s, %s, %s]", f[0], f[1], f[2]))
}
