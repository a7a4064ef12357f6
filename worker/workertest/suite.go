package workertest

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/protocol"
)

// part is one test of the suite.
type part struct {
	test  func(*testing.T, Fixture)
	needs func(broker.Capabilities) bool // nil: the core alone
}

func backend(c broker.Capabilities) bool { return c.Backend != nil }

// parts returns the tests of the suite by name.
func parts() map[string]part {
	core := func(test func(*testing.T, Fixture)) part { return part{test: test} }
	return map[string]part{
		"ClaimKeepsOrderAndPriority":  core(testClaimOrder),
		"ClaimTakesNoMoreThanAsked":   core(testClaimMax),
		"ClaimSetsGarbageAside":       core(testClaimGarbage),
		"WaitSeesAMessage":            core(testWait),
		"ResetIsHarmless":             core(testReset),
		"SettleStoresAndAcknowledges": core(testSettle),
		"SettleTwiceIsHarmless":       core(testSettleTwice),
		"SuccessIsNeverReplaced":      core(testSuccessStays),
		"LostClaimStoresOnlySuccess":  core(testLostClaim),
		"RequeueGoesToTheEnd":         core(testRequeue),
		"ReturnKeepsOrder":            core(testReturn),
		"StartCountsCrashesOnly":      core(testStart),

		"ChordCompletesOnce":     {testChord, backend},
		"ChordMemberCountsOnce":  {testChordMemberTwice, backend},
		"ChordGoesOnAfterACrash": {testChordCrash, backend},
		"ChordIsAppliedAgain":    {testChordAgain, backend},
		"ChordBodyFails":         {testChordBodyFails, backend},
		"ChordWithSavedGroup":    {testChordSaved, backend},
		"ChordGrows":             {testChordJoin, backend},
		"ChordPartUnlessFailed":  {testChordUnlessFailed, backend},
		"StepIsNotRepeated":      {testStepTwice, backend},
		"SuccessOfAnEarlierRun":  {testStored, backend},
		"SuccessOfAnotherTask":   {testStoredOfAnother, backend},

		"PublishNeedsTheClaim":      {testPublishClaim, backend},
		"AwaitSeesTheResult":        {testAwait, backend},
		"ForgottenResultsAndGroups": {testForget, backend},

		"RevokedIsRemembered":            {testRevoked, func(c broker.Capabilities) bool { return c.Revoker != nil }},
		"RevokeKeepsStatesOfRunningOnes": {testRevokeStates, func(c broker.Capabilities) bool { return c.Revoker != nil && c.Backend != nil }},
		"SharedRateLimit":                {testTake, func(c broker.Capabilities) bool { return c.Limiter != nil }},
		"AdmissionOfSeveralLimits":       {testAdmit, func(c broker.Capabilities) bool { return c.Admitter != nil }},
		"ReservationsInOrder":            {testReserve, func(c broker.Capabilities) bool { return c.Admitter != nil }},
		"LaneForUrgentWork":              {testLane, func(c broker.Capabilities) bool { return c.Admitter != nil }},
		"SlowedLimit":                    {testSlow, func(c broker.Capabilities) bool { return c.Admitter != nil }},
		"SlowedLimitWithoutARate":        {testSlowWithoutARate, func(c broker.Capabilities) bool { return c.Admitter != nil }},
		"HeldTasksStay":                  {testSelect, func(c broker.Capabilities) bool { return c.Selector != nil }},
		"NamesOfHeldTasks":               {testSelectNames, func(c broker.Capabilities) bool { return c.Selector != nil }},
		"RedeliveredAmongHeld":           {testSelectRedelivered, func(c broker.Capabilities) bool { return c.Selector != nil }},
		"LeaseHasOneOwner":               {testLease, func(c broker.Capabilities) bool { return c.Leaser != nil }},
		"NoticesAreRead":                 {testBoard, func(c broker.Capabilities) bool { return c.Board != nil }},
		"SettleAllAnswersEach":           {testSettleAll, func(c broker.Capabilities) bool { return c.Batcher != nil }},
		"ClaimAfterGoesAlong":            {testClaimAfter, func(c broker.Capabilities) bool { return c.Pipeliner != nil }},
		"QueuesChange":                   {testQueueSet, func(c broker.Capabilities) bool { return c.QueueSet != nil }},
		"DepthCountsWaiting":             {testDepth, func(c broker.Capabilities) bool { return c.Depther != nil }},
		"NothingIsWrongAtFirst":          {testFaults, func(c broker.Capabilities) bool { return c.Faulter != nil }},
		"QueuesHaveTheirNames":           {testQueueFault, func(c broker.Capabilities) bool { return c.Namer != nil }},
		"SecretStays":                    {testSecret, func(c broker.Capabilities) bool { return c.Secrets != nil }},
		"InfoNamesTheTransport":          {testInfo, func(c broker.Capabilities) bool { return c.Describer != nil }},
		"MarkOutlivesTheRun":             {testMark, func(c broker.Capabilities) bool { return c.Marker != nil }},
		"SettlementEndsTheMark":          {testMarkEnds, func(c broker.Capabilities) bool { return c.Marker != nil }},
		"LostRunKeepsTheMark":            {testMarkOfALostRun, func(c broker.Capabilities) bool { return c.Marker != nil }},
		"SettledMarkStays":               {testSettledMarkStays, func(c broker.Capabilities) bool { return c.Marker != nil }},
		"MarkOfAName":                    {testMarkOfAName, func(c broker.Capabilities) bool { return c.Marker != nil }},
		"ChangesHappenOnce":              {testOnce, func(c broker.Capabilities) bool { return c.Backend != nil }},
		"SettlementRecordsEntries":       {testOutbox, func(c broker.Capabilities) bool { return c.Outbox != nil }},
		"EntriesStayUntilRemoved":        {testOutboxReading, func(c broker.Capabilities) bool { return c.Outbox != nil }},
		"ReturnedMessageRecords":         {testOutboxOfAReturn, func(c broker.Capabilities) bool { return c.Outbox != nil }},
		"LostRunRecordsOnlySuccess":      {testOutboxOfALostRun, func(c broker.Capabilities) bool { return c.Outbox != nil }},
		"RemoteControlIsAnswered":        {testRemote, func(c broker.Capabilities) bool { return c.Remote != nil }},
		"EventsReachListeners":           {testEmit, func(c broker.Capabilities) bool { return c.Remote != nil && c.Emitter != nil }},
	}
}

// TestBroker runs the suite that every Broker must pass: the tests of the core, and the
// tests of the optional interfaces that the Broker implements. fresh makes an empty
// Broker that consumes nothing yet. It is called for each test.
func TestBroker(t *testing.T, fresh func(t *testing.T) Fixture) {
	for name, p := range parts() {
		if p.needs != nil && !p.needs(broker.CapabilitiesOf(fresh(t).Broker)) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			f := fresh(t)
			f.can = broker.CapabilitiesOf(f.Broker)
			if err := f.Broker.Consume(broker.Session{Node: "w@test", Queues: []string{"a", "b"}}); err != nil {
				t.Fatalf("Consume: %v", err)
			}
			p.test(t, f)
		})
	}
}

func testClaimOrder(t *testing.T, f Fixture) {
	var want []string
	for _, priority := range []int{9, 6, 3, 0} {
		var step []string
		for range 3 {
			id, raw := message(t, func(m *protocol.Message) { m.Priority = priority })
			f.Push("a", priority, raw)
			step = append(step, id)
		}
		want = append(step, want...)
	}
	ds := claim(t, f, 100)
	if got := delivered(t, ds); !slices.Equal(got, want) {
		t.Errorf("claimed %v, want %v", got, want)
	}
	for _, d := range ds {
		if d.Queue != "a" || d.Claim == "" {
			t.Errorf("delivery %q of queue %q, want a claim of queue a", d.Claim, d.Queue)
		}
	}
	if n := f.Unacked(); n != len(want) {
		t.Errorf("%d unacknowledged, want %d", n, len(want))
	}
}

func testClaimMax(t *testing.T, f Fixture) {
	for range 5 {
		_, raw := message(t)
		f.Push("b", 0, raw)
	}
	if n := len(claim(t, f, 3)); n != 3 {
		t.Errorf("claimed %d, want 3", n)
	}
	if n := len(claim(t, f, 100)); n != 2 {
		t.Errorf("claimed %d, want the 2 that were left", n)
	}
}

func testClaimGarbage(t *testing.T, f Fixture) {
	id, raw := message(t)
	f.Push("a", 0, []byte("hello"))
	f.Push("a", 0, raw)
	if got := delivered(t, claim(t, f, 100)); !slices.Equal(got, []string{id}) {
		t.Errorf("claimed %v, want only %s", got, id)
	}
	if got := f.DeadLetters(); len(got) != 1 || got[0] != "not-json" {
		t.Errorf("dead letters %q, want one not-json", got)
	}
}

func testWait(t *testing.T, f Fixture) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Broker.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}()
	go func() { _, raw := message(t); f.Push("b", 9, raw) }()
	for len(claim(t, f, 1)) == 0 {
		if err := f.Broker.Wait(ctx); err != nil {
			t.Fatalf("Wait: %v", err)
		}
	}
}

func testSettle(t *testing.T, f Fixture) {
	id, raw := message(t)
	f.Push("a", 0, raw)
	d := claim(t, f, 1)[0]
	next, publication := message(t)
	err := settle(t, f, broker.Settlement{
		Delivery: d, Result: success(id), DeadLetter: "why",
		Changes: broker.Changes{Publish: []broker.Publication{{Queue: "b", Priority: 6, Raw: publication}}},
	})
	if err != nil {
		t.Fatalf("Settle: %v", err)
	}
	if got := f.Stored(id); got != protocol.StateSuccess {
		t.Errorf("stored %q, want SUCCESS", got)
	}
	if n := f.Unacked(); n != 0 {
		t.Errorf("%d unacknowledged, want 0", n)
	}
	if got := ids(t, f.Queued("b")); !slices.Equal(got, []string{next}) {
		t.Errorf("published %v, want %s", got, next)
	}
	if got := f.DeadLetters(); !slices.Equal(got, []string{"why"}) {
		t.Errorf("dead letters %q, want \"why\"", got)
	}
	if held, err := f.Broker.Held(context.Background(), d.Claim); err != nil || held {
		t.Errorf("Held = %v, %v after Settle, want false", held, err)
	}
}

func testSettleTwice(t *testing.T, f Fixture) {
	id, raw := message(t)
	f.Push("a", 0, raw)
	_, publication := message(t)
	s := broker.Settlement{Delivery: claim(t, f, 1)[0], Result: success(id),
		Changes: broker.Changes{Publish: []broker.Publication{{Queue: "b", Raw: publication}}}}
	if err := settle(t, f, s); err != nil {
		t.Fatalf("Settle: %v", err)
	}
	if err := settle(t, f, s); !errors.Is(err, broker.ErrLost) {
		t.Errorf("second Settle: %v, want ErrLost", err)
	}
	if n := len(f.Queued("b")); n != 1 {
		t.Errorf("published %d times, want once", n)
	}
}

func testSuccessStays(t *testing.T, f Fixture) {
	id, raw := message(t)
	f.Push("a", 0, raw)
	f.Push("a", 0, raw) // a copy under the same id and delivery tag
	ds := claim(t, f, 2)
	for i, r := range []*protocol.Result{success(id), failed(id)} {
		if err := settle(t, f, broker.Settlement{Delivery: ds[i], Result: r}); err != nil {
			t.Fatalf("Settle %s: %v", r.Status, err)
		}
	}
	if got := f.Stored(id); got != protocol.StateSuccess {
		t.Errorf("stored %q, want SUCCESS", got)
	}
}

func testLostClaim(t *testing.T, f Fixture) {
	for _, r := range []func(string) *protocol.Result{failed, success} {
		id, raw := message(t)
		f.Push("a", 0, raw)
		d := claim(t, f, 1)[0]
		if err := f.Broker.Return(context.Background(), []broker.Delivery{d}); err != nil {
			t.Fatalf("Return: %v", err)
		}
		again := claim(t, f, 1)
		if len(again) != 1 || again[0].Claim == d.Claim {
			t.Fatalf("a second delivery must be a new claim, got %v", again)
		}
		res := r(id)
		if err := settle(t, f, broker.Settlement{Delivery: d, Result: res}); !errors.Is(err, broker.ErrLost) {
			t.Errorf("Settle %s of a lost claim: %v, want ErrLost", res.Status, err)
		}
		want := ""
		if res.Status == protocol.StateSuccess {
			want = protocol.StateSuccess
		}
		if got := f.Stored(id); got != want {
			t.Errorf("stored %q, want %q", got, want)
		}
		if held, err := f.Broker.Held(context.Background(), again[0].Claim); err != nil || !held {
			t.Errorf("the successor's claim is gone: Held = %v, %v", held, err)
		}
	}
}

func testRequeue(t *testing.T, f Fixture) {
	first, raw1 := message(t)
	second, raw2 := message(t)
	f.Push("a", 0, raw1)
	f.Push("a", 0, raw2)
	if err := settle(t, f, broker.Settlement{Delivery: claim(t, f, 1)[0], Requeue: broker.RequeueRedelivered}); err != nil {
		t.Fatalf("Settle: %v", err)
	}
	if got := ids(t, f.Queued("a")); !slices.Equal(got, []string{second, first}) {
		t.Errorf("queue is %v, want %v", got, []string{second, first})
	}
}

func testReturn(t *testing.T, f Fixture) {
	var want []string
	for range 5 {
		id, raw := message(t)
		f.Push("a", 0, raw)
		want = append(want, id)
	}
	ds := claim(t, f, 3)
	slices.Reverse(ds) // the order of the argument must not matter
	if err := f.Broker.Return(context.Background(), ds); err != nil {
		t.Fatalf("Return: %v", err)
	}
	if got := ids(t, f.Queued("a")); !slices.Equal(got, want) {
		t.Errorf("queue is %v, want %v", got, want)
	}
	for i, raw := range f.Queued("a") {
		m, err := protocol.Decode(raw, protocol.Limits{})
		if err != nil {
			t.Fatalf("decode: %v", err)
		}
		if m.Redelivered != (i < 3) {
			t.Errorf("message %d: redelivered is %v", i, m.Redelivered)
		}
		if string(m.Args) != "[1.0, 100000000000000000000]" {
			t.Errorf("message %d: args became %s", i, m.Args)
		}
	}
	if n := f.Unacked(); n != 0 {
		t.Errorf("%d unacknowledged, want 0", n)
	}
}

func testStart(t *testing.T, f Fixture) {
	ctx := context.Background()
	id, raw := message(t)
	f.Push("a", 0, raw)
	d := claim(t, f, 1)[0]
	st := broker.Start{Result: &protocol.Result{Status: protocol.StateStarted, TaskID: id, Result: map[string]any{"pid": 1}}}
	if s, err := f.Broker.Start(ctx, d, st); s.Crashed != 0 || err != nil {
		t.Errorf("Start = %+v, %v, want no crash", s, err)
	}
	if got := f.Stored(id); got != protocol.StateStarted {
		t.Errorf("stored %q, want STARTED", got)
	}
	// An orderly return is no crash.
	if err := f.Broker.Return(ctx, []broker.Delivery{d}); err != nil {
		t.Fatalf("Return: %v", err)
	}
	d = claim(t, f, 1)[0]
	if s, err := f.Broker.Start(ctx, d, broker.Start{}); s.Crashed != 0 || err != nil {
		t.Errorf("Start after Return = %+v, %v, want no crash", s, err)
	}
	if _, err := f.Broker.Start(ctx, broker.Delivery{Claim: "unknown", Queue: "a", Raw: raw}, broker.Start{}); !errors.Is(err, broker.ErrLost) {
		t.Errorf("Start of a claim that is not ours: %v, want ErrLost", err)
	}
	if err := settle(t, f, broker.Settlement{Delivery: d}); err != nil {
		t.Fatalf("Settle: %v", err)
	}
	// A message that comes back without a return was dropped by a crash.
	marked, err := protocol.MarkRedelivered(raw)
	if err != nil {
		t.Fatalf("MarkRedelivered: %v", err)
	}
	for want := 1; want <= 3; want++ {
		f.Push("a", 0, marked)
		d := claim(t, f, 1)[0]
		if s, err := f.Broker.Start(ctx, d, broker.Start{}); s.Crashed != want || err != nil {
			t.Errorf("Start = %+v, %v, want %d crashes", s, err, want)
		}
	}
}
