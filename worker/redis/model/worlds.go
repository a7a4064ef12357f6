package model

// Worlds returns the worlds that every test run searches.
func Worlds() []World {
	return []World{
		{Name: "two of ours, a crash", Ours: 2, Messages: 1, Tasks: 1, Crashes: 1, MaxRedeliveries: 2,
			Expect: CrashAfterWork},
		{Name: "one of ours, a crash too many", Ours: 1, Messages: 1, Tasks: 1, Crashes: 1, MaxRedeliveries: 1},
		{Name: "two of ours with Task.Held, an absence", Ours: 2, Messages: 1, Tasks: 1, Absences: 1, MaxRedeliveries: 2, Fenced: true,
			Expect: AwayAfterHeld | AwayAfterWork},
		{Name: "two of ours, a lost answer, a stop", Ours: 2, Messages: 1, Tasks: 1, Losses: 1, Stops: 1, MaxRedeliveries: 2, Failures: true,
			Expect: StoppedAfterWork},
		{Name: "one of ours with two messages, a lost answer, a stop", Ours: 1, Messages: 2, Tasks: 2, Losses: 1, Stops: 1, MaxRedeliveries: 2,
			Expect: StoppedAfterWork},
		{Name: "one of ours with two messages, a crash", Ours: 1, Messages: 2, Tasks: 2, Crashes: 1, MaxRedeliveries: 2,
			Expect: CrashAfterWork},
		{Name: "one of ours, an absence, failures", Ours: 1, Messages: 1, Tasks: 1, Absences: 1, MaxRedeliveries: 2, Failures: true,
			Expect: AwayBeforeWork | AwayAfterWork},
		{Name: "two of ours, two messages, a lost answer", Ours: 2, Messages: 2, Tasks: 1, Losses: 1, MaxRedeliveries: 2},
		{Name: "three of ours, a lost answer", Ours: 3, Messages: 1, Tasks: 1, Losses: 1, MaxRedeliveries: 2},
		{Name: "ours and Python, failures", Ours: 1, Python: 1, Messages: 1, Tasks: 1, MaxRedeliveries: 2, Failures: true,
			Expect: PythonTimeout | PythonLateFailure},
		{Name: "ours and Python, an absence", Ours: 1, Python: 1, Messages: 1, Tasks: 1, Absences: 1, MaxRedeliveries: 2,
			Expect: AwayBeforeWork | AwayAfterWork | ScanBeforeRenewal | PythonTimeout},
		{Name: "ours and Python, a lost answer", Ours: 1, Python: 1, Messages: 1, Tasks: 1, Losses: 1, MaxRedeliveries: 2,
			Expect: PythonTimeout | PythonReplyLost},
		{Name: "ours and Python, two messages", Ours: 1, Python: 1, Messages: 2, Tasks: 1, MaxRedeliveries: 2,
			Expect: PythonTimeout},
		{Name: "two of ours and Python", Ours: 2, Python: 1, Messages: 1, Tasks: 1, MaxRedeliveries: 2,
			Expect: PythonTimeout},
		{Name: "two of Python, a crash", Python: 2, Messages: 1, Crashes: 1, MaxRedeliveries: 2,
			Expect: PythonCrashAfterWork | PythonTimeout | PythonTag | PythonCrashBeforeRegister},
		{Name: "two of Python, a stop", Python: 2, Messages: 1, Stops: 1, MaxRedeliveries: 2,
			Expect: PythonTimeout | PythonTag | PythonStop},
	}
}

// LargeWorlds take minutes.
func LargeWorlds() []World {
	return []World{
		{Name: "one of ours, a crash and an absence", Ours: 1, Messages: 1, Tasks: 1, Crashes: 1, Absences: 1, MaxRedeliveries: 2,
			Expect: CrashAfterWork | AwayBeforeWork | AwayAfterWork},
		{Name: "two of ours, two crashes", Ours: 2, Messages: 1, Tasks: 1, Crashes: 2, MaxRedeliveries: 2,
			Expect: CrashAfterWork},
		{Name: "two of ours, an absence and a lost answer", Ours: 2, Messages: 1, Tasks: 1, Absences: 1, Losses: 1, MaxRedeliveries: 2,
			Expect: AwayBeforeWork | AwayAfterWork},
		{Name: "two of ours with two slots, an absence", Ours: 2, Messages: 1, Tasks: 2, Absences: 1, MaxRedeliveries: 2, Failures: true,
			Expect: AwayBeforeWork | AwayAfterWork},
		{Name: "two of ours, a crash, a lost answer", Ours: 2, Messages: 1, Tasks: 1, Crashes: 1, Losses: 1, MaxRedeliveries: 2, Failures: true,
			Expect: CrashAfterWork},
		{Name: "two of ours, two messages, a crash", Ours: 2, Messages: 2, Tasks: 1, Crashes: 1, MaxRedeliveries: 2,
			Expect: CrashAfterWork},
		{Name: "two of ours, two messages, an absence", Ours: 2, Messages: 2, Tasks: 1, Absences: 1, MaxRedeliveries: 2,
			Expect: AwayBeforeWork | AwayAfterWork},
		{Name: "ours and Python, a crash", Ours: 1, Python: 1, Messages: 1, Tasks: 1, Crashes: 1, MaxRedeliveries: 2,
			Expect: CrashAfterWork | PythonCrashAfterWork | PythonTimeout | PythonTag | PythonCrashBeforeRegister},
		{Name: "ours and Python, an absence, failures", Ours: 1, Python: 1, Messages: 1, Tasks: 1, Absences: 1, MaxRedeliveries: 2, Failures: true,
			Expect: AwayBeforeWork | AwayAfterWork | ScanBeforeRenewal | PythonTimeout | PythonLateFailure},
		{Name: "ours and Python, a lost answer, a stop", Ours: 1, Python: 1, Messages: 1, Tasks: 1, Losses: 1, Stops: 1, MaxRedeliveries: 2,
			Expect: StoppedAfterWork | PythonTimeout | PythonReplyLost},
		{Name: "three of ours, a crash", Ours: 3, Messages: 1, Tasks: 1, Crashes: 1, MaxRedeliveries: 2,
			Expect: CrashAfterWork},
	}
}

// Worse is a world in which a mutant breaks invariants.
type Worse struct {
	World
	Breaks []string // at least these
}

// Mutants are worlds whose protocol is made worse.
func Mutants() []Worse {
	return []Worse{
		{World{Name: "no renewal", Ours: 2, Messages: 1, Tasks: 1, MaxRedeliveries: 2, Mutant: NoRenewal},
			[]string{LeaseKept, RunsOnce}},
		{World{Name: "acknowledged before the result is stored", Ours: 1, Messages: 1, Tasks: 1, Crashes: 1, MaxRedeliveries: 2, Mutant: AckBeforeResult},
			[]string{NothingLost}},
		{World{Name: "popped without registration", Ours: 1, Messages: 1, Tasks: 1, Crashes: 1, MaxRedeliveries: 2, Mutant: PopThenRegister},
			[]string{NothingLost}},
		{World{Name: "a result replaces SUCCESS", Ours: 2, Messages: 1, Tasks: 1, Absences: 1, MaxRedeliveries: 2, Failures: true, Mutant: StoreBlindly},
			[]string{SuccessStays}},
		{World{Name: "nothing is given back", Ours: 1, Messages: 1, Tasks: 1, Crashes: 1, MaxRedeliveries: 2, Mutant: NoRecovery},
			[]string{EndsSomewhere}},
		{World{Name: "an unknown owner, or another epoch, is not renewed", Ours: 2, Messages: 1, Tasks: 1, Absences: 1, MaxRedeliveries: 2, Mutant: RenewalRefused},
			[]string{LossIsTold, LeaseKept, RunsOnce}},
		{World{Name: "what is known of a silent owner is deleted", Ours: 2, Messages: 1, Tasks: 1, Absences: 1, MaxRedeliveries: 2, Mutant: OwnerForgotten},
			[]string{LossIsTold}},
	}
}
