package summary

// forget hides what was true when Redis answered last: it would look like news. The names of
// breakers and workers stay, and what the history of mails tells.
func (s *Summary) forget() {
	s.Rates = Rates{Series: s.Rates.Series}
	s.Latency, s.Letters = Latency{}, Letters{}
	s.Queues = Queues{Fault: s.Queues.Fault, Unacked: -1, All: []Queue{}}
	if !s.Codes.Known { // then the waiting ones are of events
		s.Codes.Waiting, s.Codes.Number = 0, 0
	}
	for i := range s.Breakers {
		s.Breakers[i] = Breaker{Name: s.Breakers[i].Name, Phase: NotKnown, Nodes: []string{}}
	}
	for i := range s.Workers {
		w := &s.Workers[i]
		w.Status, w.Active, w.Trouble = NotKnown, 0, ""
	}
}
