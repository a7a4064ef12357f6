package worker

import "github.com/evently/workers/worker/internal/control"

// ControlMode says what remote control (pidbox) may do.
type ControlMode int

const (
	// ControlFull carries out all commands, as Celery does (worker_enable_remote_control).
	ControlFull = ControlMode(control.Full)
	// ControlHarmless answers the inspect commands and those that change only what is
	// shown, such as enable_events. All others are refused with an error that says so.
	ControlHarmless = ControlMode(control.Harmless)
	// ControlOff listens to no requests. Flower and "celery inspect" do not see the
	// worker then.
	ControlOff = ControlMode(control.Off)
)
