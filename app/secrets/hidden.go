package secrets

import (
	"slices"
	"sync"

	"github.com/evently/workers/config"
)

// mostFormer bounds the former texts that are kept. Short-lived passwords of a database are
// replaced each hour, in a process that runs for months.
const mostFormer = 256

// hidden has the texts that must not be shown: the secrets of now, and those of before, which
// servers may still repeat.
type hidden struct {
	mu      sync.Mutex
	present []string
	former  []string // the latest first
	told    []func([]string)
}

// set makes texts the present ones. It returns when all functions of tell know them.
func (h *hidden) set(texts []string) {
	h.mu.Lock()
	before := append(slices.Clone(h.present), h.former...)
	fresh := slices.ContainsFunc(texts, func(text string) bool { return !slices.Contains(before, text) })
	before = slices.DeleteFunc(before, func(text string) bool { return slices.Contains(texts, text) })
	h.present, h.former = texts, before[:min(len(before), mostFormer)]
	all, told := h.texts(), slices.Clone(h.told)
	h.mu.Unlock()
	if !fresh {
		return
	}
	for _, f := range told {
		f(all)
	}
}

// texts returns all texts, the longest first. h.mu must be held.
func (h *hidden) texts() []string {
	return config.LongestFirst(append(slices.Clone(h.present), h.former...))
}

// Hidden returns the texts that must not be shown: the present and the former values of all
// secrets. The longest come first, because one may be a part of another one.
func (k *Keeper) Hidden() []string {
	k.hidden.mu.Lock()
	defer k.hidden.mu.Unlock()
	return k.hidden.texts()
}

// OnHidden has f called with the texts of [Keeper.Hidden] after each change of them, and before a
// new value is used.
func (k *Keeper) OnHidden(f func([]string)) {
	if k == nil {
		return
	}
	k.hidden.mu.Lock()
	defer k.hidden.mu.Unlock()
	k.hidden.told = append(k.hidden.told, f)
}
