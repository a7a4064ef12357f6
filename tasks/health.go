package tasks

import (
	"context"
)

// HealthCheck answers that a worker takes tasks from the queue, and what
// Config.Check says about the parts that it needs. It never fails: being
// unhealthy is its answer.
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
