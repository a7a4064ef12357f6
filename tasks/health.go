package tasks

import (
	"context"
)

// HealthCheck returns the answer of Config.Check, and shows that a worker takes tasks from
// the queue. It never fails: "unhealthy" is an answer, not an error.
func (s *Service) HealthCheck(ctx context.Context, _ struct{}) (Health, error) {
	h := Health{
		Status:  "healthy",
		Service: "email_workers",
		// Without a valid configuration the worker would not have started.
		ConfigLoaded: true,
	}
	if s.cfg.Check != nil {
		if err := s.cfg.Check(ctx); err != nil {
			h.Status, h.Error = "unhealthy", err.Error()
		}
	}
	h.Timestamp = timestamp(s.cfg.Now())
	return h, nil
}
