package config

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/evently/workers/internal/connurl"
)

// Rate is a number of mails in a time. The zero Rate is no limit.
type Rate struct {
	Mails int
	Per   time.Duration
}

// rates is a rate, or a list of names with rates: 20/s, gmail.com=5/s.
type rates struct {
	setting
	value map[string]Rate // "" is the rate without a name
}

const rateForm = "write mails in a time, such as 10/s, 100/m, 5/10m or 500/h, and at most 100000/s"

// shortestGap is the time between two mails of the highest rate.
const shortestGap = 10 * time.Microsecond

// rateText is a count and a time: s, m, h or d, with a number before it.
var rateText = regexp.MustCompile(`^([0-9]{1,9})/([0-9]{0,6})(s|sec|second|m|min|minute|h|hour|d|day)$`)

func parseRate(text string) (Rate, bool) {
	parts := rateText.FindStringSubmatch(strings.ToLower(strings.ReplaceAll(text, " ", "")))
	if parts == nil {
		return Rate{}, false
	}
	mails, err := strconv.Atoi(parts[1])
	n, many := 1, error(nil)
	if parts[2] != "" {
		n, many = strconv.Atoi(parts[2])
	}
	units := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour}
	per := time.Duration(n) * units[parts[3][0]]
	const longest = 31 * 24 * time.Hour
	if err != nil || many != nil || mails < 1 || n < 1 || per > longest || per/time.Duration(mails) < shortestGap {
		return Rate{}, false
	}
	return Rate{Mails: mails, Per: per}, true
}

// Decode reads one rate, or several with names.
func (r *rates) Decode(value string) error {
	r.value = nil
	if !r.take(value) {
		return nil
	}
	items, note := splitList(r.text)
	r.remark(note)
	r.value = make(map[string]Rate)
	for _, item := range items {
		name, text, named := strings.Cut(item, "=")
		if !named {
			name, text = "", item
		}
		name = strings.ToLower(strings.TrimSpace(name))
		rate, ok := parseRate(text)
		switch _, twice := r.value[name]; {
		case !ok || named && name == "":
			r.refuse(likeRate, "a rate", rateForm)
			return nil
		case twice && name == "":
			r.mistake("it has two rates without a name", "write one, and name=rate for the others")
			return nil
		case twice:
			r.mistake(fmt.Sprintf("%q is there twice", name), "name each once")
			return nil
		}
		r.value[name] = rate
	}
	return nil
}

func (r *rates) kind() string { return "rate" }

// likeRate: a number with a time, or names of domains with them.
func likeRate(text string) bool {
	return strings.Contains(text, "/") && consists(strings.ToLower(text), "abcdefghijklmnopqrstuvwxyz0123456789.-_=/, ")
}

// Limits bounds the rates of mails; zero fields are no limits.
type Limits struct {
	All       Rate
	Domain    map[string]Rate // of a recipient; "" is that of the domains without one
	Recipient map[string]Rate // of one kind to one recipient, by the kind; "" as above
}

// delivery reads what concerns the delivery of mails.
func (c *Config) delivery(v *variables) {
	c.Delivery = Delivery{
		UnknownPolicy: v.UnknownPolicy.text,
		Suppressions:  v.Suppressions.text,
		ReplyTimeout:  v.SMTPReplyTimeout.value,
		GiveUpAfter:   v.MailGiveUpAfter.value,
		Limits:        Limits{All: v.MailRate.value[""], Domain: v.MailRatePerDomain.value, Recipient: v.MailRatePerRecipient.value},
	}
	if limit := v.TaskSoftTimeLimit.value; limit > 0 && v.SMTPReplyTimeout.value >= limit {
		c.warn(v.SMTPReplyTimeout.name, "is not below TASK_SOFT_TIME_LIMIT: a task ends while the relay may still answer, and then it is unknown whether its mail was delivered")
	}
	for name := range v.MailRate.value {
		if name != "" {
			v.MailRate.mistake("it names "+strconv.Quote(name), "write one rate here, and domains in MAIL_RATE_PER_DOMAIN")
		}
	}
	for name := range v.MailRatePerDomain.value {
		if strings.ContainsAny(name, "/@ ") {
			v.MailRatePerDomain.refuse(likeHost, "a list of domains with rates", "write domains, such as 20/s,gmail.com=5/s")
		}
	}
	c.Events = Events{Channels: v.EventChannels.value, Delay: v.EventDelay.value}
	c.codes(v)
}

// codes reads where the auth service keeps its codes.
func (c *Config) codes(v *variables) {
	s := &v.OTPCheckRedisURL.setting
	if !v.OTPCheckRedisURL.given() {
		return
	}
	r, err := connurl.ParseServer(v.OTPCheckRedisURL.value.Reveal())
	const form = "write the address of the Redis itself, such as redis://:password@auth-redis:6379/0, or rediss:// for TLS; of a Redis Cluster, one node or several with commas between them"
	if bad, ok := errors.AsType[*connurl.Fault](err); ok {
		s.mistake(bad.Wrong, form) // its own remedy recommends Sentinels
		return
	}
	if err != nil {
		s.fault(err)
		return
	}
	if len(r.Sentinels) > 0 {
		s.mistake("it names Sentinels", form)
		return
	}
	for _, note := range r.Notes {
		c.warn(s.name, note)
	}
	c.Delivery.Codes = Codes{
		Network: r.Network, Address: r.Address, Username: r.Username, Password: NewSecret(r.Password), DB: max(r.DB, 0), UseTLS: r.TLS,
		TLS: TLSFiles{CA: r.TLSParams.CA, Cert: r.TLSParams.Cert, Key: r.TLSParams.Key,
			SkipVerify: r.TLSParams.SkipVerify, IgnoreHostname: r.TLSParams.IgnoreHostname},
	}
	if r.Password == "" { // as in REDIS_URL
		c.Delivery.Codes.Username, c.Delivery.Codes.Password = "", NewSecret(r.Username)
	}
	if !r.TLS {
		return
	}
	if t := c.Delivery.Codes.TLS; (t.Cert == "") != (t.Key == "") {
		s.mistake("it names a client certificate without its key, or a key alone", "name both")
	}
	c.Delivery.Codes.TLS.check(s, s, s)
}
