package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// several is an environment with brokers, and what they need.
func several(urls string, more ...string) env {
	e := env{"REDIS_URLS": urls, "LEDGER_KEY": "0123456789abcdef"}
	for _, pair := range more {
		name, value, _ := strings.Cut(pair, "=")
		e[name] = value
	}
	return e
}

func TestBrokers(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		env  env
		want []string
	}{
		"two":          {several("eu=redis://eu:6379/0 us=rediss://us:6380/2"), []string{"eu tcp eu:6379 0  ", "us tcp us:6380 2  "}},
		"commas":       {several("eu=redis://eu,us=redis://us/1"), []string{"eu tcp eu:6379 0  ", "us tcp us:6379 1  "}},
		"comma, space": {several(" eu=redis://eu ,\tus=unix:///run/r.sock?db=3 , "), []string{"eu tcp eu:6379 0  ", "us unix /run/r.sock 3  "}},
		"quoted":       {several(`"eu=redis://eu us=redis://us"`), []string{"eu tcp eu:6379 0  ", "us tcp us:6379 0  "}},
		"passwords": {
			several("eu=redis://ann:a,b=c%20d@eu us=redis://:p%2Fq@us"),
			[]string{"eu tcp eu:6379 0 ann a,b=c d", "us tcp us:6379 0  p/q"},
		},
		"one": {several("eu=redis://eu", "LEDGER_KEY="), []string{"eu tcp eu:6379 0  "}},
		"Sentinels": {
			several("eu=sentinel://:pw@s1:26379;sentinel://s2:26379/0?master_name=eu-master us=sentinel://s1;sentinel://s2/1", "REDIS_SENTINEL_MASTER=mymaster"),
			[]string{"eu sentinel s1:26379,s2:26379 0  pw eu-master", "us sentinel s1:26379,s2:26379 1   mymaster"},
		},
		"none": {env{"REDIS_URL": "redis://h/3"}, []string{" tcp h:6379 3  "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := load(t, test.env)
			var got []string
			for _, b := range c.Brokers {
				text := fmt.Sprintf("%s %s %s %d %s %s", b.Name, b.Network, b.Address, b.DB, b.Username, b.Password.Reveal())
				if m := b.Sentinel.Master; m != "" {
					text += " " + m
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("brokers (-want +got):\n%s", diff)
			}
			if c.Redis.Address != c.Brokers[0].Address {
				t.Errorf("Redis is %s, want the first broker", c.Redis.Address)
			}
		})
	}
}

// Mistakes in REDIS_URLS say what to do and show no password, wherever it was torn.
func TestBrokersThatAreWrong(t *testing.T) {
	t.Parallel()
	const secret = "hunter2"
	for name, test := range map[string]struct {
		env      env
		variable string
		wrong    string
	}{
		"a URL alone":          {several("redis://:hunter2@h"), "REDIS_URLS", "does not begin with a name"},
		"text before":          {several("hunter2 eu=redis://h"), "REDIS_URLS", "does not begin with a name"},
		"no name":              {several("=redis://:hunter2@h"), "REDIS_URLS", "name of a broker is empty"},
		"a strange name":       {several("EU=redis://:hunter2@h"), "REDIS_URLS", "small letters"},
		"a long name":          {several(strings.Repeat("e", 33) + "=redis://h"), "REDIS_URLS", "small letters"},
		"a name twice":         {several("eu=redis://h eu=redis://i"), "REDIS_URLS", "eu is there twice"},
		"a Redis twice":        {several("eu=redis://h us=redis://H:6379/0"), "REDIS_URLS", "us and eu are the same database"},
		"a space":              {several("eu=redis://:hunter2 hunter2@h us=redis://i"), "REDIS_URLS", "URL of eu has a space"},
		"another scheme":       {several("eu=redis://h us=amqp://:hunter2@i"), "REDIS_URLS", "the URL of us"},
		"a database":           {several("eu=redis://:hunter2@h/x"), "REDIS_URLS", "the URL of eu: its database is not a number"},
		"events of one Redis":  {several("eu=redis://localhost us=redis://:hunter2@127.0.0.1:6379/1", "EVENT_CHANNELS=bookings:confirmed"), "EVENT_CHANNELS", "us and eu of REDIS_URLS are databases of one Redis server"},
		"too many":             {several(strings.Repeat("eu=redis://h ", 17)), "REDIS_URLS", "17 brokers"},
		"a master not named":   {several("eu=sentinel://:hunter2@s us=redis://i"), "REDIS_SENTINEL_MASTER", "REDIS_URLS (eu) names Sentinels"},
		"no key":               {several("eu=redis://:hunter2@h us=redis://i", "LEDGER_KEY="), "LEDGER_KEY", "several brokers"},
		"a monitor of nothing": {several("eu=redis://h us=redis://i", "MONITOR_BROKER=mars"), "MONITOR_BROKER", "REDIS_URLS has eu, us"},
		"a monitor of one":     {env{"REDIS_URL": "redis://h", "MONITOR_BROKER": "eu"}, "MONITOR_BROKER", "REDIS_URLS is not set"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			found := problems(t, test.env)
			p := found[test.variable]
			if !strings.Contains(p.Wrong, test.wrong) || p.Right == "" {
				t.Errorf("%+v, want of %s: %s", found, test.variable, test.wrong)
			}
			if text := fmt.Sprintf("%+v", found); strings.Contains(text, secret) {
				t.Errorf("the password is in %s", text)
			}
		})
	}
}

func TestWithBroker(t *testing.T) {
	t.Parallel()
	c := load(t, several("eu=redis://:p1@eu us=redis://:p2@us", "REDIS_URL=redis://old", "MAIL_RATE=10/s"))
	us, err := c.WithBroker("us")
	if err != nil || us.Redis.Address != "us:6379" || len(us.Brokers) != 1 || len(c.Brokers) != 2 {
		t.Errorf("%v, %s, brokers: %d and %d", err, us.Redis.Address, len(us.Brokers), len(c.Brokers))
	}
	if _, err := c.WithBroker("mars"); err == nil || !strings.Contains(err.Error(), `no broker "mars": REDIS_URLS has eu, us`) {
		t.Errorf("of an unknown name: %v", err)
	}
	if _, err := load(t, env{}).WithBroker("eu"); err == nil || !strings.Contains(err.Error(), "REDIS_URLS is not set") {
		t.Errorf("without REDIS_URLS: %v", err)
	}
	for _, password := range []string{"p1", "p2"} {
		if !strings.Contains(strings.Join(c.Passwords(), " "), password) {
			t.Errorf("%s is not among the passwords", password)
		}
	}
	var secrets []string
	for _, s := range c.SecretsInUse() {
		secrets = append(secrets, s.Variable)
	}
	if got := strings.Join(secrets, " "); !strings.HasPrefix(got, "REDIS_URLS[eu] REDIS_URLS[us] ") {
		t.Errorf("secrets in use: %s", got)
	}
	var warned []string
	for _, w := range c.Warnings {
		warned = append(warned, w.String())
	}
	for _, want := range []string{"REDIS_URL is not used, because REDIS_URLS is set", "MAIL_RATE is counted in each of the 2 brokers"} {
		if !strings.Contains(strings.ReplaceAll(strings.Join(warned, "\n"), ": ", " "), want) {
			t.Errorf("no warning %q in %q", want, warned)
		}
	}
}
