package config_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/evently/workers/config"
)

func loadWith(name, value string) (config.Config, error) {
	return config.Load(func(asked string) (string, bool) { return value, asked == name })
}

func TestRates(t *testing.T) {
	for _, c := range []struct {
		name, value string
		want        config.Limits
	}{
		{"MAIL_RATE", "10/s", config.Limits{All: config.Rate{Mails: 10, Per: time.Second}}},
		{"MAIL_RATE", " 500 / 2h ", config.Limits{All: config.Rate{Mails: 500, Per: 2 * time.Hour}}},
		{"MAIL_RATE", "1/day", config.Limits{All: config.Rate{Mails: 1, Per: 24 * time.Hour}}},
		{"MAIL_RATE", "", config.Limits{}},
		{"MAIL_RATE_PER_DOMAIN", "20/s, Gmail.com=5/s", config.Limits{Domain: map[string]config.Rate{
			"": {Mails: 20, Per: time.Second}, "gmail.com": {Mails: 5, Per: time.Second}}}},
		{"MAIL_RATE_PER_RECIPIENT", "otp=5/10m", config.Limits{Recipient: map[string]config.Rate{"otp": {Mails: 5, Per: 10 * time.Minute}}}},
	} {
		got, err := loadWith(c.name, c.value)
		if diff := cmp.Diff(c.want, got.Delivery.Limits); err != nil || diff != "" {
			t.Errorf("%s=%s: %v (-want +got):\n%s", c.name, c.value, err, diff)
		}
	}
	for _, c := range []struct{ name, value string }{
		{"MAIL_RATE", "10"}, {"MAIL_RATE", "ten/s"}, {"MAIL_RATE", "0/s"}, {"MAIL_RATE", "10/0s"}, {"MAIL_RATE", "-1/s"},
		{"MAIL_RATE", "1.5/s"}, {"MAIL_RATE", "10/s,5/s"}, {"MAIL_RATE", "gmail.com=5/s"}, {"MAIL_RATE", "10/y"}, {"MAIL_RATE", "10/32d"},
		{"MAIL_RATE", "999999999/s"}, {"MAIL_RATE", "100001/s"}, {"MAIL_RATE_PER_DOMAIN", "2000000/s"}, {"MAIL_RATE_PER_RECIPIENT", "otp=200000/s"}, {"MAIL_RATE", "10/9999999999s"}, {"MAIL_RATE", "10/s,"},
		{"MAIL_RATE_PER_DOMAIN", "gmail.com=5/s,GMAIL.com=6/s"}, {"MAIL_RATE_PER_DOMAIN", "=5/s"}, {"MAIL_RATE_PER_DOMAIN", "ann@gmail.com=5/s"},
		{"MAIL_RATE_PER_RECIPIENT", "otp:5/m"},
	} {
		_, err := loadWith(c.name, c.value)
		faults, ok := errors.AsType[*config.Error](err)
		if !ok || len(faults.Problems) != 1 || faults.Problems[0].Variable != c.name || faults.Problems[0].Right == "" {
			t.Errorf("%s=%s: %v, want one fault with a remedy", c.name, c.value, err)
		}
	}
}

func TestOTPCheckRedisURL(t *testing.T) {
	for value, want := range map[string]config.Codes{
		"redis://:pw@auth:6380/2":    {Network: "tcp", Address: "auth:6380", Password: config.NewSecret("pw"), DB: 2},
		"rediss://reader:pw@auth":    {Network: "tcp", Address: "auth:6379", Username: "reader", Password: config.NewSecret("pw"), UseTLS: true},
		"redis+socket:///run/r.sock": {Network: "unix", Address: "/run/r.sock"},
		"":                           {},
	} {
		got, err := loadWith("OTP_CHECK_REDIS_URL", value)
		codes := got.Delivery.Codes
		password := codes.Password.Reveal()
		wanted := want.Password.Reveal()
		codes.Password, want.Password = config.Secret{}, config.Secret{}
		if err != nil || codes != want || password != wanted {
			t.Errorf("%s: %+v, %v", value, got.Delivery.Codes, err)
		}
	}
	for _, value := range []string{"auth:6379", "http://:geheim@auth", "sentinel://:geheim@a:26379;sentinel://b:26379/0", "redis://:geheim@auth:99999"} {
		_, err := loadWith("OTP_CHECK_REDIS_URL", value)
		if err == nil || !strings.Contains(err.Error(), "OTP_CHECK_REDIS_URL") || strings.Contains(err.Error(), "geheim") || strings.Contains(err.Error(), "sentinel://") {
			t.Errorf("%s: %v", value, err)
		}
	}
	if _, err := loadWith("UNKNOWN_POLICY", "twice"); err == nil || !strings.Contains(err.Error(), "hold or resend") {
		t.Errorf("a policy that is none: %v", err)
	}
}
