package dev

import (
	"context"
	"errors"
	"net"
	"time"

	"github.com/evently/workers/mail"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/worker"
	"github.com/evently/workers/worker/broker"
	"github.com/evently/workers/worker/redis"
)

// errSwitchedOff is the answer of a database that the page has switched off.
var errSwitchedOff = errors.New("connection refused")

// observed are the parts that the health of the worker is made of.
type observed struct {
	worker  *worker.Worker
	sender  *mail.Sender
	writer  *ledger.Writer
	users   chaoticUsers
	aside   *redis.Broker
	letters func() broker.LetterCounts // of the broker that runs
	address string                     // of the catcher
}

// health serves the health of the worker, and tells the monitor of it.
func (o observed) health(p parts) (*monitor.Health, *vitals.Writer, error) {
	h, err := monitor.NewHealth(monitor.HealthConfig{
		Listener: p.health, Worker: o.workerState, Database: o.ping, Every: 2 * time.Second, Mail: o.mailState, Ledger: o.ledgerState, Logger: p.logger,
		Letters:       o.letters,
		Configuration: monitor.State{OK: true, Text: "that of the development mode"},
	})
	if err != nil {
		return nil, nil, err
	}
	v, err := vitals.NewWriter(vitals.WriterConfig{
		Report: h.Report, Board: o.aside, Journal: o.aside.Journal(vitals.JournalName).Capped(vitals.JournalMax),
		Version: "development mode", VisibilityTimeout: time.Hour, Logger: p.logger,
	})
	return h, v, err
}

func (o observed) ping(ctx context.Context) error {
	if o.users.chaos.State().DatabaseAway {
		return errSwitchedOff
	}
	return o.users.Ping(ctx)
}

func (o observed) workerState() monitor.WorkerState {
	s := o.worker.Status()
	return monitor.WorkerState{
		Node: s.Node, State: s.State.String(), Consuming: s.Consuming, LastLook: s.LastLook, Faults: s.Faults,
		Concurrency: s.Concurrency, Running: s.Running, Waiting: s.Reserved + s.Scheduled,
		Received: s.Received, Succeeded: s.Succeeded, Failed: s.Failed, Retried: s.Retried, Revoked: s.Revoked, DeadLetters: s.DeadLettered,
	}
}

func (o observed) mailState() monitor.MailState {
	s := o.sender.Status()
	m := monitor.MailState{Accepted: s.Accepted, Working: 1}
	if s.Fault != nil {
		m.Working = 0
		m.Faulty = []monitor.RelayState{{Name: o.address, Fault: s.Fault.Explain(), Since: s.Since, Tried: s.Tried}}
	}
	return m
}

func (o observed) ledgerState() monitor.LedgerState {
	s := o.writer.Status()
	return monitor.LedgerState{
		Writing: s.On, Reason: s.Reason, Since: s.Since, Waiting: int64(s.Waiting), Lag: s.Lag, Dropped: s.Dropped,
		Written: s.Written, Skipped: s.Skipped, Discarded: s.Discarded, Stray: s.Stray,
	}
}

// listenHealth opens the port of the health server.
func (o Options) listenHealth() (net.Listener, error) {
	return bindTCP(or(o.HealthPort, DefaultHealthPort))
}
