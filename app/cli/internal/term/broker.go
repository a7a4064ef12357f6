package term

import (
	"context"

	"github.com/alecthomas/kong"

	"github.com/evently/workers/app"
)

// Broker is a flag that chooses one of the brokers of REDIS_URLS.
type Broker string

// AfterApply hands the choice to the command.
func (b Broker) AfterApply(k *kong.Context, ctx context.Context) error {
	k.BindTo(app.WithBroker(ctx, string(b)), (*context.Context)(nil))
	return nil
}
