package store_test

import (
	"strings"
	"testing"

	"github.com/evently/workers/store"
)

// A mistake in the settings is reported without the password, however the
// mistake cuts the URL into pieces.
func TestOpenNeverTellsThePassword(t *testing.T) {
	const secret = "hunter2"
	for name, cfg := range map[string]store.Config{
		"slash":        {URL: "postgres://evently:" + secret + "/more@db.example.com:5432/evently"},
		"hash":         {URL: "postgres://evently:" + secret + "#more@db.example.com/evently"},
		"question":     {URL: "postgres://evently:" + secret + "?more@db.example.com/evently"},
		"percent":      {URL: "postgres://evently:%zz" + secret + "@db.example.com/evently"},
		"space":        {URL: "postgres://evently:" + secret + " @db .example.com/evently"},
		"port":         {URL: "postgres://evently:" + secret + "@db.example.com:http/evently"},
		"other scheme": {URL: "mysql://evently:" + secret + "@db.example.com/evently"},
		"no scheme":    {URL: "host=db.example.com password=" + secret},
		"sslmode":      {URL: "postgres://evently:" + secret + "@db.example.com/evently?sslmode=maybe"},
		"ssl field":    {Password: secret, SSLMode: "maybe"},
		"port field":   {Password: secret, Port: 70000},
		"timeout":      {Password: secret, QueryTimeout: -1},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := store.Open(cfg)
			if err == nil {
				_ = s.Close()
				t.Fatal("Open took it")
			}
			if strings.Contains(err.Error(), secret) || strings.Contains(err.Error(), secret[:4]) {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

// Nothing listens on the port of this test: to open is not to connect.
func TestOpenDoesNotConnect(t *testing.T) {
	s, err := store.Open(store.Config{Host: "127.0.0.1", Port: 1})
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
}
