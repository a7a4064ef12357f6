package attention

import (
	"fmt"
	"strings"
)

// Rules about what is to be kept in order.

func historyFails(f *Facts) []Finding {
	h := f.History
	switch {
	case h.Fleet && h.Off:
		return one(Finding{
			Level: Notice, Text: "No history of mails is kept: LEDGER_DATABASE_URL is off.",
			Advice: "With a database, was-it-sent can tell what became of each mail.",
		})
	case h.Fault != "":
		return one(Finding{Since: h.Since, Text: "The history of mails is not up to date: " + clause(h.Fault) + "."})
	case h.Absent:
		return one(Finding{
			Level: Notice, Text: "This monitor cannot read the history of mails that the workers keep.",
			Advice: "Give it the LEDGER_DATABASE_URL of the workers.",
		})
	}
	return nil
}

func differences(f *Facts) []Finding {
	if len(f.Differences) == 0 {
		return nil
	}
	return one(Finding{Text: "The workers differ in " + listed(f.Differences) + "."})
}

// mostNames bounds the names in a text.
const mostNames = 5

// listed lists names, and how many more there are.
func listed(names []string) string {
	if len(names) <= mostNames {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:mostNames], ", "), len(names)-mostNames)
}

func oldSecrets(f *Facts) (found []Finding) {
	for _, s := range f.Secrets {
		if age := f.Now.Sub(s.Since); !s.Since.IsZero() && age > oldSecret {
			found = append(found, Finding{
				Subject: s.Variable, Since: s.Since.Add(oldSecret),
				Text: fmt.Sprintf("%s has not changed for %d days.", s.Variable, int(age.Hours()/24)),
			})
		}
	}
	return found
}
