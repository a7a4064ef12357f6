package deliveries

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/evently/workers/app/cli/internal/term"
	"github.com/evently/workers/monitor"
	"github.com/evently/workers/store/ledger"
	"github.com/evently/workers/store/ledger/suppressions"
)

// suppressor tells which suppressions are in force.
type suppressor interface {
	Suppressed(ctx context.Context, m ledger.Mail) ([]suppressions.Suppression, error)
	SuppressedAddress(ctx context.Context, address string) ([]suppressions.Suppression, error)
}

// suppressed returns the suppressions in force of an address, or of the recipient of the
// newest mail that was found. Tables of an older program have none.
func suppressed(ctx context.Context, d monitor.Deliveries, identifier string, found []ledger.Mail, showAddresses bool) (all []suppressions.Suppression, err error) {
	s, ok := d.(suppressor)
	switch {
	case !ok:
		return nil, nil
	case strings.Contains(identifier, "@"):
		all, err = s.SuppressedAddress(ctx, identifier)
	case len(found) > 0:
		all, err = s.Suppressed(ctx, found[0])
	}
	if errors.Is(err, ledger.ErrNoHistory) {
		return nil, nil
	}
	if !showAddresses {
		for i := range all {
			all[i].Address = ""
		}
	}
	return all, err
}

// suppressionText tells of a suppression in a sentence.
func suppressionText(s suppressions.Suppression) string {
	mails := "no mail is"
	switch {
	case s.Scope == suppressions.OptionalMails:
		mails = "no optional mail is"
	case s.Class.IsSoft():
		mails = "no mail but a code is"
	}
	text := fmt.Sprintf("The address is suppressed since %s (%s): %s sent to it", term.Clock(s.First), s.Class, mails)
	if s.Expires != nil {
		text += " until " + term.Clock(*s.Expires)
	}
	return text + fmt.Sprintf(". %s suppressions show %s tells why.", term.ProgramName, s.ID[:10])
}
