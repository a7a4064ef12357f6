// Package incident makes bundles of what is known about an incident, and opens them again: a
// zip with the summary, the health of the fleet and its history, readings of the queues, tasks,
// a slice of the history of mails, the configuration, versions, and the goroutines of the
// program that made it.
//
// A bundle has no secret, no code, no body and no address in it: it is made to be handed on.
// Opening one trusts nothing in it.
package incident

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/evently/workers/monitor/fleet"
	"github.com/evently/workers/monitor/summary"
	"github.com/evently/workers/monitor/vitals"
	"github.com/evently/workers/monitor/watch"
	"github.com/evently/workers/store/ledger"
)

// Format is the version of the layout of a bundle.
const Format = 1

// Bounds of a bundle.
const (
	MostSize    = 16 << 20 // bytes of the zip
	mostFile    = 8 << 20  // bytes of one file in it
	mostTotal   = 32 << 20 // bytes of all files in it
	mostEntries = 32
	mostMails   = 2000
	mostTasks   = 2000
	mostSamples = 900 // of a queue
)

// Names of the files in a bundle.
const (
	manifestFile      = "manifest.json"
	summaryFile       = "summary.json"
	healthFile        = "health.json"
	queuesFile        = "queues.json"
	tasksFile         = "tasks.json"
	mailsFile         = "mails.json"
	countsFile        = "counts.json"
	configurationFile = "configuration.json"
	goroutinesFile    = "goroutines.txt"
)

// Bundle is an opened bundle, or one that is being made.
type Bundle struct {
	Manifest      Manifest
	Summary       *summary.Summary
	Health        Health
	Queues        map[string][]watch.Sample
	Tasks         []fleet.Task
	Mails         []ledger.Mail
	Counts        Counts
	Configuration []Setting
	Goroutines    string

	// Faults tell of files that are missing, damaged, or not understood.
	Faults []string
}

// Manifest tells what a bundle is, with the hash of each other file.
type Manifest struct {
	Format  int       `json:"format"`
	Created time.Time `json:"created"`
	Since   time.Time `json:"since"`
	Until   time.Time `json:"until"`
	Host    string    `json:"host"`
	Program string    `json:"program"` // with its version
	Files   []File    `json:"files"`
	// Missing tells of parts that could not be read when the bundle was made.
	Missing []string `json:"missing,omitempty"`
}

// File is a file of a bundle.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// Health is the health of the fleet with its history.
type Health struct {
	Processes []vitals.Process `json:"processes"`
	Changes   []vitals.Change  `json:"changes"`
}

// Counts are the counts of mails in the time of the bundle.
type Counts struct {
	States  []ledger.Count      `json:"states"`
	Classes []ledger.ClassCount `json:"classes"`
}

// Setting is a variable of the program that made the bundle. A secret has no value.
type Setting struct {
	Variable    string `json:"variable"`
	Value       string `json:"value"`
	Source      string `json:"source"`
	Secret      bool   `json:"secret,omitempty"`
	Fingerprint string `json:"fingerprint,omitempty"`
}

// ErrNoBundle says that a file is no bundle, or one that must not be opened.
var ErrNoBundle = errors.New("this cannot be opened as a bundle of an incident")

// part is a file of a bundle with the field that it is for.
type part struct {
	name  string
	value any // a pointer for json.Unmarshal, or *string for a text
}

// parts lists the files of a bundle but its manifest.
func (b *Bundle) parts() []part {
	return []part{
		{summaryFile, &b.Summary}, {healthFile, &b.Health}, {queuesFile, &b.Queues}, {tasksFile, &b.Tasks}, {mailsFile, &b.Mails},
		{countsFile, &b.Counts}, {configurationFile, &b.Configuration}, {goroutinesFile, &b.Goroutines},
	}
}

// encode returns the content of a file.
func (p part) encode(clean *scrubber) ([]byte, error) {
	if text, ok := p.value.(*string); ok {
		return []byte(clean.scrub(*text)), nil
	}
	return clean.value(p.value)
}

// decode reads the content of a file.
func (p part) decode(raw []byte) error {
	if text, ok := p.value.(*string); ok {
		*text = string(raw)
		return nil
	}
	return json.Unmarshal(raw, p.value)
}
