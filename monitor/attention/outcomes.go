package attention

import (
	"fmt"
	"strings"

	"github.com/evently/workers/internal/words"
)

// Rules about the outcomes of tasks and mails.

func codesMissed(f *Facts) []Finding {
	c := f.Codes
	if c.Objective == 0 || c.Ended < fewestCodes || float64(c.InTime) >= c.Objective*float64(c.Ended) {
		return nil
	}
	text := fmt.Sprintf("In the last 24 hours %s of %s were accepted within %s; the objective is %s.",
		Percent(c.InTime, c.Ended), count(int(c.Ended), "code"), Spell(CodeLimit), percent(c.Objective))
	if c.Expired > 0 {
		text = strings.TrimSuffix(text, ".") + fmt.Sprintf(", and %d expired unsent.", c.Expired)
	}
	return one(Finding{Text: text})
}

func lettersGrow(f *Facts) []Finding {
	l := f.Letters
	if !l.Known || l.Grown <= 0 {
		return nil
	}
	return one(Finding{
		Since:  l.Since,
		Text:   fmt.Sprintf("Dead letters grow: %s more in the last %s, %s open.", words.Grouped(int64(l.Grown)), Spell(l.GrownIn), words.Grouped(int64(l.Open))),
		Advice: "Look at them by cause. Mend the cause, then retry all of it.",
	})
}

func lettersLost(f *Facts) []Finding {
	if f.Letters.Lost == 0 {
		return nil
	}
	return one(Finding{
		Text:   fmt.Sprintf("%s lost because there were too many.", plural(f.Letters.Lost, "dead letter was", "dead letters were")),
		Advice: "Deal with the open ones, or raise DEAD_LETTERS_MAX.",
	})
}

func reputation(f *Facts) []Finding {
	var n int64
	for _, c := range f.Failures {
		if c.Class == "reputation" {
			n += c.N
		}
	}
	if n == 0 {
		return nil
	}
	return one(Finding{
		Text:   fmt.Sprintf("%s of the last hour about our reputation: the receiver does not trust our address.", plural(n, "reply", "replies")),
		Advice: "Look at SPF, DKIM and block lists. No address is suppressed because of it.",
	})
}

// tasksFail finds many failures beyond the dead letters that are told of already.
func tasksFail(f *Facts) []Finding {
	failed := f.Outcomes.Failed
	if failed-max(0, f.Letters.Grown) < fewestFailed || float64(failed) < leastFailed*float64(f.Outcomes.Ended) {
		return nil
	}
	return one(Finding{
		Text:   fmt.Sprintf("%s of %s tasks failed in the last %s.", words.Grouped(int64(failed)), words.Grouped(int64(f.Outcomes.Ended)), Spell(f.Outcomes.Over)),
		Advice: "Look at their errors by class. Tasks of Python workers leave no dead letters.",
	})
}
