//go:build unix

package process

import (
	"runtime"
	"syscall"
)

// usage is the resource usage of the process (getrusage).
type usage struct {
	UserTime      float64 `json:"utime"`
	SystemTime    float64 `json:"stime"`
	MaxResident   int64   `json:"maxrss"` // KiB
	Ixrss         int64   `json:"ixrss"`
	Idrss         int64   `json:"idrss"`
	Isrss         int64   `json:"isrss"`
	MinorFaults   int64   `json:"minflt"`
	MajorFaults   int64   `json:"majflt"`
	Swaps         int64   `json:"nswap"`
	BlocksIn      int64   `json:"inblock"`
	BlocksOut     int64   `json:"oublock"`
	MessagesSent  int64   `json:"msgsnd"`
	MessagesRead  int64   `json:"msgrcv"`
	Signals       int64   `json:"nsignals"`
	VoluntarySw   int64   `json:"nvcsw"`
	InvoluntarySw int64   `json:"nivcsw"`
}

// Usage returns the resource usage of the process by the names of getrusage, or "N/A".
func Usage() any {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return "N/A"
	}
	seconds := func(t syscall.Timeval) float64 { return float64(t.Nano()) / 1e9 }
	resident := int64(u.Maxrss)
	if runtime.GOOS == "darwin" {
		resident /= 1024 // bytes there
	}
	return usage{
		UserTime: seconds(u.Utime), SystemTime: seconds(u.Stime), MaxResident: resident,
		Ixrss: int64(u.Ixrss), Idrss: int64(u.Idrss), Isrss: int64(u.Isrss),
		MinorFaults: int64(u.Minflt), MajorFaults: int64(u.Majflt), Swaps: int64(u.Nswap),
		BlocksIn: int64(u.Inblock), BlocksOut: int64(u.Oublock),
		MessagesSent: int64(u.Msgsnd), MessagesRead: int64(u.Msgrcv), Signals: int64(u.Nsignals),
		VoluntarySw: int64(u.Nvcsw), InvoluntarySw: int64(u.Nivcsw),
	}
}
