package vitals

import "context"

// Look does one round of Run.
func (w *Writer) Look(ctx context.Context) { w.look(ctx) }
