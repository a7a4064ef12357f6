package fleet

// interned keeps one copy of texts that many events repeat, such as the names of tasks. It
// forgets all when there are too many: then new ones come from a hostile sender.
type interned map[string]string

const mostInterned = 20_000

func (in *interned) text(b []byte) string {
	if len(b) == 0 {
		return ""
	}
	if s, ok := (*in)[string(b)]; ok {
		return s
	}
	if *in == nil || len(*in) >= mostInterned {
		*in = interned{}
	}
	s := string(b)
	(*in)[s] = s
	return s
}
