package protocol

import "bytes"

// maxName bounds ids and task names, in bytes. Celery has no such bound. It is far above
// the ids that producers choose, and keeps an id from filling the message.
const maxName = 64 << 10

// Decode reads one element of a Celery queue whose body is JSON, as
// [Decoder.Decode] does.
func Decode(raw []byte, lim Limits) (*Message, error) {
	d := Decoder{Limits: lim}
	return d.Decode(raw)
}

// fields holds the values of headers, or of the body of protocol 1.
type fields struct {
	lang, task, id, shadow, eta, expires, group, groupIndex, retries, timelimit,
	rootID, parentID, argsrepr, kwargsrepr, origin, ignoreResult, nesting,
	stampedHeaders, stamps, compression, redelivered Raw
}

// slot returns the field of a name that Celery or kombu defines, nil for any other name.
func (f *fields) slot(name []byte) *Raw {
	switch string(name) {
	case "lang":
		return &f.lang
	case "task":
		return &f.task
	case "id":
		return &f.id
	case "shadow":
		return &f.shadow
	case "eta":
		return &f.eta
	case "expires":
		return &f.expires
	case "group":
		return &f.group
	case "group_index":
		return &f.groupIndex
	case "retries":
		return &f.retries
	case "timelimit":
		return &f.timelimit
	case "root_id":
		return &f.rootID
	case "parent_id":
		return &f.parentID
	case "argsrepr":
		return &f.argsrepr
	case "kwargsrepr":
		return &f.kwargsrepr
	case "origin":
		return &f.origin
	case "ignore_result":
		return &f.ignoreResult
	case "replaced_task_nesting":
		return &f.nesting
	case "stamped_headers":
		return &f.stampedHeaders
	case "stamps":
		return &f.stamps
	case "compression":
		return &f.compression
	case "redelivered":
		return &f.redelivered
	}
	return nil
}

// readBody reads the arguments from the body, and with protocol 1 also the other fields.
func (f *fields) readBody(m *Message, body []byte, lim Limits, headers kind) error {
	s, err := newScanner(body, lim)
	if err != nil {
		return inBody(err)
	}
	s.space()
	switch s.peek() {
	case '[':
		if headers != kindObject {
			return refuse(ReasonNoHeaders, "headers are %v", headers)
		}
		m.Protocol = 2
		err = readTriple(&s, m)
	case '{':
		m.Protocol = 1
		err = f.readProtocol1(&s, m)
	default:
		if _, _, err := s.value(); err != nil {
			return inBody(err)
		}
		return refuse(ReasonBadBody, "body is neither array nor object")
	}
	if err == nil {
		err = s.end()
	}
	return inBody(err)
}

// readTriple reads [args, kwargs, embed].
func readTriple(s *scanner, m *Message) error {
	if _, err := s.enter('['); err != nil {
		return err
	}
	var args, kwargs kind
	n := 0
	for {
		more, err := s.next()
		if err != nil {
			return err
		}
		if !more {
			break
		}
		switch n {
		case 0:
			m.Args, args, err = s.value()
		case 1:
			m.Kwargs, kwargs, err = s.value()
		case 2:
			err = readEmbed(s, m)
		default:
			_, _, err = s.value()
		}
		if err != nil {
			return err
		}
		n++
	}
	if n != 3 {
		return refuse(ReasonBadBody, "body of %d elements, expected args, kwargs and embed", n)
	}
	return m.checkArguments(args, kwargs)
}

// checkArguments refuses arguments that cannot be passed to a function. Producers in
// other languages write empty arguments as null or as the wrong empty container, because
// PHP has one type for both. Python would iterate over an object given as args, which no
// producer means.
func (m *Message) checkArguments(args, kwargs kind) error {
	if args == kindNull || args == kindObject && emptyContainer(m.Args) {
		m.Args, args = Raw("[]"), kindArray
	}
	if kwargs == kindNull || kwargs == kindArray && emptyContainer(m.Kwargs) {
		m.Kwargs, kwargs = Raw("{}"), kindObject
	}
	if args != kindArray {
		return refuse(ReasonBadArgs, "args are %v, expected array", args)
	}
	if kwargs != kindObject {
		return refuse(ReasonBadKwargs, "kwargs are %v, expected object", kwargs)
	}
	return nil
}

func readEmbed(s *scanner, m *Message) error {
	ok, err := s.enter('{')
	if err != nil {
		return err
	}
	if !ok {
		v, k, err := s.value()
		if err == nil && !isFalse(v) {
			err = refuse(ReasonBadBody, "embed is %v, expected object", k)
		}
		return err
	}
	for {
		more, err := s.next()
		if err != nil || !more {
			return err
		}
		key, err := s.key()
		if err != nil {
			return err
		}
		v, k, err := s.value()
		if err != nil {
			return err
		}
		if k != kindArray && isFalse(v) {
			v = nil
		}
		switch string(bare(key)) {
		case "callbacks":
			m.Callbacks = v
		case "errbacks":
			m.Errbacks = v
		case "chain":
			m.Chain = v
		case "chord":
			m.Chord = v
		}
	}
}

// readProtocol1 reads a body that is an object. Headers take precedence. There is no
// chain, because producers of protocol 1 nest callbacks instead.
func (f *fields) readProtocol1(s *scanner, m *Message) error {
	if _, err := s.enter('{'); err != nil {
		return err
	}
	m.Args, m.Kwargs = Raw("[]"), Raw("{}")
	args, kwargs := kindArray, kindObject
	headers := *f
	var taskset Raw
	for {
		more, err := s.next()
		if err != nil {
			return err
		}
		if !more {
			break
		}
		key, err := s.key()
		if err != nil {
			return err
		}
		v, k, err := s.value()
		if err != nil {
			return err
		}
		given := v
		if k != kindArray && isFalse(v) {
			given = nil
		}
		switch name := bare(key); string(name) {
		case "args":
			m.Args, args = v, k
		case "kwargs":
			m.Kwargs, kwargs = v, k
		case "callbacks":
			m.Callbacks = given
		case "errbacks":
			m.Errbacks = given
		case "chord":
			m.Chord = given
		case "taskset":
			taskset = given
		default:
			if slot := f.slot(name); slot != nil && *headers.slot(name) == nil {
				*slot = v
			}
		}
	}
	if taskset != nil && headers.group == nil { // the name of group before Celery 3.1
		f.group = taskset
	}
	return m.checkArguments(args, kwargs)
}

// fill checks the values and puts them into the message.
func (f *fields) fill(m *Message) error {
	err := f.fillNames(m)
	if err != nil {
		return err
	}
	f.fillIDs(m)
	var ok bool
	if m.ETA, ok = when(f.eta); !ok {
		return &DecodeError{Reason: ReasonBadETA, Err: errTime}
	}
	if m.Expires, ok = when(f.expires); !ok {
		return &DecodeError{Reason: ReasonBadExpires, Err: errTime}
	}
	f.fillRest(m)
	return nil
}

// fillNames sets the task name and the id, which are required.
func (f *fields) fillNames(m *Message) error {
	if f.task.IsNull() {
		return &DecodeError{Reason: ReasonNoTask}
	}
	var ok bool
	if m.Task, ok = name(f.task); !ok {
		return refuse(ReasonBadTask, "task name must be text of 1 to %d bytes", maxName)
	}
	if f.id.IsNull() {
		return &DecodeError{Reason: ReasonNoID}
	}
	if m.ID, ok = name(f.id); !ok {
		return refuse(ReasonBadID, "id must be text of 1 to %d bytes, or a whole number", maxName)
	}
	return nil
}

// fillIDs sets the ids of related tasks. As in Python, a value that is no id counts as
// absent, because the task itself does not depend on it.
func (f *fields) fillIDs(m *Message) {
	for _, id := range []struct {
		from Raw
		to   *string
	}{
		{f.rootID, &m.RootID},
		{f.parentID, &m.ParentID},
		{f.group, &m.Group},
	} {
		switch {
		case id.from.IsNull():
		case bytes.Equal(id.from, f.id): // a task is often its own root
			*id.to = m.ID
		default:
			*id.to, _ = name(id.from)
		}
	}
}

// fillRest sets the optional fields.
func (f *fields) fillRest(m *Message) {
	m.Lang, m.Shadow, m.Origin = text(f.lang), text(f.shadow), text(f.origin)
	m.ArgsRepr, m.KwargsRepr = text(f.argsrepr), text(f.kwargsrepr)
	m.Retries = max(wholeNumber(f.retries), 0)
	m.ReplacedTaskNesting = max(wholeNumber(f.nesting), 0)
	if !f.groupIndex.IsNull() {
		i := wholeNumber(f.groupIndex)
		m.GroupIndex = &i
	}
	if b, ok := boolean(f.ignoreResult); ok {
		m.IgnoreResult = &b
	}
	if b, _ := boolean(f.redelivered); b {
		m.Redelivered = true
	}
	m.HardTimeLimit, m.SoftTimeLimit = timeLimits(f.timelimit)
	m.StampedHeaders = texts(f.stampedHeaders)
	if len(f.stamps) > 0 && f.stamps[0] == '{' {
		m.Stamps = bytes.Clone(f.stamps)
	}
}
