package secrets

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/evently/workers/config"
	"github.com/evently/workers/internal/secretfile"
	"github.com/evently/workers/internal/sorting"
)

// fault says why a new value is not in use, and what to do.
type fault struct{ text, advice string }

const adviceInvalid = "correct the value; it is looked at again by itself"

// Results of looks, for the metric and the audit trail.
const (
	Changed  = "changed"  // there is a new value
	Accepted = "accepted" // a server has accepted it
	Failed   = "failed"   // a new value cannot be used
	Behind   = "behind"   // a server refuses the new value and accepts the previous one
)

// Event is a change of one secret.
type Event struct {
	Variable, Result, Source, Fingerprint string
}

// State describes a secret without the secret.
type State struct {
	Variable, Source, Fingerprint string
	Changed                       time.Time // when the process has taken its value over; zero: at the start
	Fault, Advice                 string    // of the last look; "": none
	Results                       map[string]int64
}

// entry is what is known of one secret.
type entry struct {
	source, print string
	changed       time.Time
	behind        bool
	restart       bool // the new value needs a restart
	results       map[string]int64
}

// book has what is known of all secrets, for people.
type book struct {
	mu      sync.Mutex
	entries map[string]*entry           // by the names of SecretsInUse
	faults  map[string]map[string]fault // by source and variable
	others  []setting                   // that are no secrets and need a restart
	again   []string                    // logins whose connections are renewed once more
}

// open fills the book at the start.
func (b *book) open(k *Keeper, cfg config.Config) {
	b.entries, b.faults = map[string]*entry{}, map[string]map[string]fault{}
	for _, s := range cfg.SecretsInUse() {
		if s.File == "" {
			b.entries[s.Variable] = &entry{source: s.Source, print: s.Digest(k.key), results: map[string]int64{}}
		}
	}
}

// readFiles reads the files of secrets. Files that cannot be read are faults.
func (b *book) readFiles(files map[string]string) (texts map[string]string, faults map[string]fault) {
	texts, faults = map[string]string{}, map[string]fault{}
	for variable, path := range files {
		text, err := secretfile.Read(path)
		if err != nil {
			faults[variable] = fault{fmt.Sprintf("%s cannot be used, the value before stays in use: %v", path, err), "write the secret into the file, readable for the user of the worker"}
			continue
		}
		texts[variable] = text
	}
	return texts, faults
}

// fail replaces the faults of a source. New ones are logged.
func (b *book) fail(k *Keeper, source string, faults map[string]fault) {
	b.mu.Lock()
	before := b.faults[source]
	b.faults[source] = faults
	b.mu.Unlock()
	for _, variable := range sorting.Keys(faults) {
		if f := faults[variable]; before[variable] != f {
			k.log.Warn("secret not replaced", "secret", variable, "source", source, "reason", f.text, "advice", f.advice)
			b.note(k, variable, Failed)
		}
	}
	for _, variable := range sorting.Keys(before) {
		if faults[variable] == (fault{}) {
			k.log.Info("secret can be read again", "secret", variable, "source", source)
		}
	}
}

// note counts a result and tells it. A variable with several logins, such as REDIS_URLS, counts for
// each of them.
func (b *book) note(k *Keeper, name, result string) {
	b.mu.Lock()
	event := Event{Variable: name, Result: result}
	for _, e := range b.of(name) {
		e.results[result]++
		event.Source = e.source
		if b.entries[name] == e { // else there are several
			event.Fingerprint = e.print
		}
	}
	b.mu.Unlock()
	if k.cfg.Event != nil {
		k.cfg.Event(event)
	}
}

// of returns the entry of a name, or those of the logins of a variable. b.mu must be held.
func (b *book) of(name string) (all []*entry) {
	if e := b.entries[name]; e != nil {
		return []*entry{e}
	}
	for other, e := range b.entries {
		if isIn(other, name) {
			all = append(all, e)
		}
	}
	if all == nil {
		b.entries[name] = &entry{results: map[string]int64{}}
		all = append(all, b.entries[name])
	}
	return all
}

// changed notes a new value of a login.
func (b *book) changed(k *Keeper, name string) {
	now := k.now()
	latest := k.Config()
	b.mu.Lock()
	e := b.entries[name]
	before := e.print
	for _, s := range latest.SecretsInUse() {
		if s.Variable == name {
			e.source, e.print = s.Source, s.Digest(k.key)
		}
	}
	e.changed, e.behind = now, false
	print, source := e.print, e.source
	b.again = append(b.again, name)
	b.mu.Unlock()
	k.log.Info("secret replaced, new connections use it", "secret", name, "source", source, "fingerprint", print, "before", before)
	b.note(k, name, Changed)
}

// settle renews connections that were in use when a secret changed.
func (b *book) settle(k *Keeper) {
	b.mu.Lock()
	again := b.again
	b.again = nil
	b.mu.Unlock()
	for _, name := range slices.Compact(sorting.Copy(again)) {
		if l := k.logins[name]; l != nil {
			l.renewed()
		}
	}
}

// accepted notes that a server has accepted a new value.
func (k *Keeper) accepted(name string) {
	k.working(name)
	k.log.Info("replaced secret accepted by the server", "secret", name)
	k.book.note(k, name, Accepted)
}

// working notes that a server accepts the present value.
func (k *Keeper) working(name string) {
	k.book.mu.Lock()
	defer k.book.mu.Unlock()
	if e := k.book.entries[name]; e != nil {
		e.behind = false
	}
}

// behind notes that a server refuses the new value and accepts the previous one.
func (k *Keeper) behind(name string) {
	k.book.mu.Lock()
	e := k.book.entries[name]
	first := e != nil && !e.behind
	if first {
		e.behind = true
	}
	k.book.mu.Unlock()
	if first {
		k.log.Warn("replaced secret refused by the server, the previous one is used", "secret", name)
		k.book.note(k, name, Behind)
	}
}

// compare finds what has changed and needs a restart.
func (b *book) compare(k *Keeper, cfg config.Config) {
	restart := b.restarts(k, cfg)
	others := changedSettings(k.cfg.Initial, cfg)
	b.mu.Lock()
	var fresh []string
	for name, e := range b.entries {
		if restart[name] && !e.restart {
			fresh = append(fresh, name)
		}
		e.restart = restart[name]
	}
	if !slices.Equal(others, b.others) {
		for _, s := range others {
			fresh = append(fresh, s.variable)
		}
	}
	b.others = others
	b.mu.Unlock()
	for _, name := range sorting.Copy(fresh) {
		k.log.Warn("variable changed, a restart takes it over", "variable", name)
	}
}

// restarts returns the secrets whose new value needs a restart: logins at another server, and
// secrets that are no logins.
func (b *book) restarts(k *Keeper, cfg config.Config) map[string]bool {
	restart := map[string]bool{}
	now := places(&cfg)
	for name, p := range places(&k.cfg.Initial) {
		if other, ok := now[name]; !ok || other.target != p.target {
			restart[name] = true
		}
	}
	before := map[string]config.Secret{}
	for _, s := range k.cfg.Initial.SecretsInUse() {
		before[s.Variable] = s.Value
	}
	for _, s := range cfg.SecretsInUse() {
		switch {
		case s.Variable == "LEDGER_DATABASE_URL" && sharesDatabase(&cfg):
			b.follow(s.Variable, "DB_PASSWORD", s.Digest(k.key))
		case k.logins[s.Variable] == nil && s.Variable != "ZERO_TOKEN" && s.File == "" && !s.Value.Equal(before[s.Variable]):
			restart[s.Variable] = true
		}
	}
	return restart
}

// setting is a variable without a secret, and where its present value is from.
type setting struct{ variable, source string }

// changedSettings returns the variables without secrets that have changed.
func changedSettings(initial, cfg config.Config) (all []setting) {
	report := cfg.Report()
	for i, s := range initial.Report() {
		if i < len(report) && report[i].Value != s.Value && !slices.Contains(loginVariables, s.Variable) && config.FileVariable(s.Variable) == "" {
			all = append(all, setting{s.Variable, report[i].Source})
		}
	}
	return all
}

// follow gives one secret the state of another one with the same value.
func (b *book) follow(name, other, print string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if e, o := b.entries[name], b.entries[other]; e != nil && o != nil {
		e.source, e.print, e.changed = o.source, print, o.changed
	}
}

// States returns the states of all secrets, without I/O. Faults of a whole source come last, with
// the name of its variable.
func (k *Keeper) States() (all []State) {
	if k == nil {
		return nil
	}
	b := &k.book
	b.mu.Lock()
	defer b.mu.Unlock()
	faults := map[string]fault{}
	for _, of := range b.faults {
		maps.Copy(faults, of)
	}
	for _, name := range sorting.Keys(b.entries) {
		e := b.entries[name]
		s := State{Variable: name, Source: e.source, Fingerprint: e.print, Changed: e.changed, Results: maps.Clone(e.results)}
		f, ok := faultOf(name, faults)
		switch {
		case ok:
			s.Fault, s.Advice = f.text, f.advice
		case e.behind:
			s.Fault, s.Advice = "the server refuses the new value, the previous one is in use", "give the server the new secret, or put the old one back"
		case e.restart:
			s.Fault, s.Advice = "it has changed, and the value of the start is in use", "restart the process"
		}
		all = append(all, s)
	}
	bySource := map[string][]string{}
	for _, s := range b.others {
		bySource[s.source] = append(bySource[s.source], s.variable)
	}
	for _, source := range sorting.Keys(bySource) {
		all = append(all, State{
			Variable: strings.Join(bySource[source], ", "), Source: source,
			Fault: "changed since the start", Advice: "restart the process",
		})
	}
	return all
}

// faultOf returns the fault of a secret: its own, or that of the variable that it is in. The text
// begins with the name of a URL then, because the operator has set the URL.
func faultOf(name string, faults map[string]fault) (f fault, ok bool) {
	if f, ok = faults[name]; ok {
		return f, true
	}
	for variable := range faults {
		if isIn(name, variable) {
			f = faults[variable]
			if inURL[variable] == name {
				f.text = variable + ": " + f.text
			}
			return f, true
		}
	}
	return fault{}, false
}

// sourceVariable returns the variable that a fault of a whole source is told with.
func sourceVariable(source string) string {
	if source == config.SourceZero {
		return "ZERO_TOKEN"
	}
	return "secrets in files"
}

// withoutFile returns the variable whose file a variable names, or the variable.
func withoutFile(variable string) string {
	if name, ok := strings.CutSuffix(variable, "_FILE"); ok && config.FileVariable(name) != "" {
		return name
	}
	return variable
}
