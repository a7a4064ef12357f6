package secrets

import (
	"cmp"
	"errors"
	"maps"

	"github.com/evently/workers/config"
)

// take loads the configuration with what one source has now. Values that are not valid, or are
// gone, stay as they were.
func (k *Keeper) take(name string, source config.Source, faults map[string]fault) {
	faults = maps.Clone(faults)
	if faults == nil {
		faults = map[string]fault{}
	}
	before := k.Config()
	old := config.Given(before, name)
	keep := map[string]bool{} // variables that stay as they were
	for {
		candidate := config.Source{Name: name, Lookup: func(variable string) (string, bool) {
			if keep[variable] || faults[variable] != (fault{}) {
				text, ok := old[variable]
				return text.Reveal(), ok
			}
			text, ok := source.Lookup(variable)
			return text, ok
		}}
		cfg, err := k.cfg.Load(append(k.others(before, name), candidate)...)
		mistakes, isMistaken := errors.AsType[*config.Error](err)
		if err != nil && !isMistaken {
			k.book.fail(k, name, map[string]fault{sourceVariable(name): {"the configuration cannot be read: " + err.Error(), adviceInvalid}})
			return
		}
		if isMistaken {
			cfg = mistakes.Read()
		}
		again := k.gone(name, cfg, old, keep, faults)
		if isMistaken && k.invalid(mistakes, config.Given(cfg, name), old, keep, faults) {
			again = true
		} else if isMistaken && !again { // nothing of this source explains it
			k.book.fail(k, name, map[string]fault{sourceVariable(name): {mistakes.Problems[0].String(), adviceInvalid}})
			return
		}
		if !again {
			k.apply(cfg)
			k.book.fail(k, name, faults)
			return
		}
	}
}

// others returns the sources other than name with what they had last.
func (k *Keeper) others(cfg config.Config, name string) (all []config.Source) {
	for _, other := range []string{config.SourceFile, config.SourceZero} {
		if other == name {
			continue
		}
		given := config.Given(cfg, other)
		all = append(all, config.Source{Name: other, Lookup: func(variable string) (string, bool) {
			text, ok := given[variable]
			return text.Reveal(), ok
		}})
	}
	return all
}

// gone keeps secrets that the source had and has no more. It reports whether there are new ones.
func (k *Keeper) gone(name string, cfg config.Config, old map[string]config.Secret, keep map[string]bool, faults map[string]fault) (again bool) {
	now := config.Given(cfg, name)
	for variable := range old {
		if _, ok := now[variable]; !ok && !keep[variable] && config.FileVariable(variable) != "" {
			keep[variable], again = true, true
			faults[variable] = cmp.Or(faults[variable], fault{"it is no longer in " + name + ", the value that it had stays in use", "put it there again"})
		}
	}
	return again
}

// invalid keeps variables whose new value is not valid. It reports whether there are new ones. A
// mistake that names none of them may be one of several values together.
func (k *Keeper) invalid(mistakes *config.Error, now, old map[string]config.Secret, keep map[string]bool, faults map[string]fault) (again bool) {
	changed := func(variable string) bool { return !now[variable].Equal(old[variable]) && !keep[variable] }
	drop := func(variable string, p config.Problem) {
		keep[variable], again = true, true
		faults[variable] = fault{"the new value is not valid, the one before stays in use: " + p.Wrong, cmp.Or(p.Right, adviceInvalid)}
	}
	for _, p := range mistakes.Problems {
		if variable := withoutFile(p.Variable); changed(variable) {
			drop(variable, p)
		}
	}
	if again {
		return true
	}
	for variable := range now {
		if changed(variable) {
			drop(variable, mistakes.Problems[0])
		}
	}
	return again
}

// apply makes the secrets of cfg the present ones.
func (k *Keeper) apply(cfg config.Config) {
	k.hidden.set(cfg.Passwords()) // before a server can repeat one
	k.mu.Lock()
	k.latest, k.version = cfg, k.version+1
	k.mu.Unlock()
	now := places(&cfg)
	initial := places(&k.cfg.Initial)
	for name, l := range k.logins {
		p, ok := now[name]
		if ok && p.target == initial[name].target && l.set(p.login) {
			k.book.changed(k, name)
			l.renewed()
		}
	}
	token, _ := config.ZeroToken(cfg)
	if token.IsSet() && k.token.set(config.Login{Password: token.Reveal()}) {
		k.book.changed(k, k.token.name)
	}
	k.book.compare(k, cfg)
}
