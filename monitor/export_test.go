package monitor

import "context"

// Ask asks the database once, as Run does.
func (h *Health) Ask(ctx context.Context) { h.ask(ctx) }
