package redact

import "sync"

// Live holds secrets that change while a mail is on its way, such as a password that was
// replaced between the connection and the reply. Its methods may be called by several
// goroutines. A nil one holds none.
type Live struct {
	mu         sync.RWMutex
	login      []string
	process    []Secret
	beginnings beginnings // of process
}

// SetLogins replaces the secrets of logins, as [Secrets.Login] has them.
func (l *Live) SetLogins(secrets []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.login = secrets
}

// SetProcess replaces the secrets of the process, as [Secrets.Process] has them.
func (l *Live) SetProcess(texts []string) {
	var secrets []Secret
	var first beginnings
	for _, text := range texts {
		if secret, ok := NewSecret(text); ok {
			secrets = append(secrets, secret)
			first.add(secret)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.process, l.beginnings = secrets, first
}

// logins returns the secrets of logins in a slice that may be appended to.
func (l *Live) logins() []string {
	if l == nil {
		return nil
	}
	l.mu.RLock()
	defer l.mu.RUnlock()
	return l.login[:len(l.login):len(l.login)]
}

// found returns the secrets of the process if text may contain one of them.
func (l *Live) found(text string) []Secret {
	if l == nil {
		return nil
	}
	l.mu.RLock()
	secrets, first := l.process, l.beginnings // neither is changed
	l.mu.RUnlock()
	if !first.isIn(text) {
		return nil
	}
	return secrets
}
