package guard

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
	"unicode"

	"golang.org/x/crypto/bcrypt"
)

// User is a person or a program with a password.
type User struct {
	Name string
	Role Role
	Hash string // of bcrypt
}

// longestName is the number of bytes of the longest login.
const longestName = 100

// UserForm tells how a user is written.
const UserForm = "write name:role:hash, as the command monitor-user prints it"

// ParseUser reads name:role:hash. Its errors hold no part of the hash.
func ParseUser(text string) (User, error) {
	name, rest, _ := strings.Cut(text, ":")
	word, hash, found := strings.Cut(rest, ":")
	if !found {
		return User{}, errors.New("a user is not name:role:hash")
	}
	if err := CheckName(name); err != nil {
		return User{}, err
	}
	role, err := ParseRole(word)
	if err != nil || role == None {
		err = errors.New("it has no role; write viewer, operator or admin") // the word may be a secret
	}
	if err == nil {
		err = checkHash(hash)
	}
	if err != nil {
		return User{}, fmt.Errorf("user %s: %w", name, err)
	}
	return User{Name: name, Role: role, Hash: hash}, nil
}

// CheckName refuses names that a log or a page could not show. Its error does not repeat
// the name, which may be a secret in the wrong place.
func CheckName(name string) error {
	if name == "" || len(name) > longestName {
		return fmt.Errorf("the name of a user has 1 to %d bytes", longestName)
	}
	if strings.EqualFold(name, ByAnonymous) {
		return errors.New("the name anonymous is taken")
	}
	for _, r := range name {
		if !unicode.IsPrint(r) || unicode.IsSpace(r) || strings.ContainsRune(`:,"'<>&\`, r) {
			return errors.New("the name of a user has letters, digits and signs such as . - _ @ only")
		}
	}
	return nil
}

// ParseUsers reads several users with commas or line breaks between them. A line that
// begins with # is a comment.
func ParseUsers(text string) (users []User, err error) {
	seen := map[string]bool{}
	lines := bufio.NewScanner(strings.NewReader(text))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "#") {
			continue
		}
		for item := range strings.SplitSeq(line, ",") {
			if item = strings.TrimSpace(item); item == "" {
				continue
			}
			u, err := ParseUser(item)
			if err != nil {
				return nil, err
			}
			if seen[u.Name] {
				return nil, fmt.Errorf("user %s: it is there twice", u.Name)
			}
			seen[u.Name] = true
			users = append(users, u)
		}
	}
	return users, lines.Err()
}

// fileLook is the time between two looks at the file of users.
const fileLook = 2 * time.Second

// users finds users by name. Those of a file are read again when it changes; a file that
// cannot be read then changes nothing.
type users struct {
	fixed map[string]User
	path  string // "": no file
	now   func() time.Time
	fault func(error)

	mu      sync.Mutex
	looked  time.Time
	changed time.Time
	size    int64
	ofFile  map[string]User
}

func newUsers(fixed []User, path string, now func() time.Time, fault func(error)) (*users, error) {
	u := &users{fixed: byName(fixed), path: path, now: now, fault: fault}
	if path == "" {
		return u, nil
	}
	if err := u.read(); err != nil {
		return nil, err
	}
	if len(u.ofFile) == 0 && len(fixed) == 0 {
		return nil, fmt.Errorf("no user in %s: %s", path, UserForm)
	}
	return u, nil
}

func byName(list []User) map[string]User {
	m := make(map[string]User, len(list))
	for _, u := range list {
		m[u.Name] = u
	}
	return m
}

// read reads the file. Only newUsers and find may call it.
func (u *users) read() error {
	const most = 1 << 20
	info, err := os.Stat(u.path)
	if err != nil {
		return fmt.Errorf("read the users: %w", err)
	}
	u.looked = u.now()
	if u.ofFile != nil && info.ModTime().Equal(u.changed) && info.Size() == u.size {
		return nil
	}
	if info.Size() > most {
		return fmt.Errorf("read the users: %s has more than %d bytes", u.path, most)
	}
	raw, err := os.ReadFile(u.path)
	if err != nil {
		return fmt.Errorf("read the users: %w", err)
	}
	list, err := ParseUsers(string(raw))
	if err != nil {
		return fmt.Errorf("read the users of %s: %w", u.path, err)
	}
	u.ofFile, u.changed, u.size = byName(list), info.ModTime(), info.Size()
	return nil
}

// find returns the user of a name.
func (u *users) find(name string) (User, bool) {
	if found, ok := u.fixed[name]; ok {
		return found, true
	}
	if u.path == "" {
		return User{}, false
	}
	u.mu.Lock()
	var fault error
	if u.now().Sub(u.looked) >= fileLook {
		fault = u.read()
		u.looked = u.now()
	}
	found, ok := u.ofFile[name]
	u.mu.Unlock()
	if fault != nil {
		u.fault(fault)
	}
	return found, ok
}

// any reports whether there are users.
func (u *users) any() bool { return len(u.fixed) > 0 || u.path != "" }

// cost returns the highest cost of a hash.
func (u *users) cost() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	most := leastCost
	for _, list := range []map[string]User{u.fixed, u.ofFile} {
		for _, one := range list {
			if cost, err := bcrypt.Cost([]byte(one.Hash)); err == nil {
				most = max(most, cost)
			}
		}
	}
	return most
}
