package mail_test

import (
	"context"
	"errors"
	"log"

	"github.com/evently/workers/mail"
)

func ExampleSender() {
	sender, err := mail.New(mail.Config{
		Host:        "smtp.example.com", // port 587, STARTTLS required
		Username:    "evently",
		Password:    "from the environment",
		FromName:    "Evently",
		FromAddress: "mail@evently.example",
	})
	if err != nil {
		log.Fatal(err) // every fault of the configuration
	}

	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- sender.Run(ctx) }() // keeps connections for the next mail

	_, err = sender.Send(ctx, mail.Message{
		To:      "jane@example.com",
		Subject: "Your booking",
		Text:    "Hello Jane, ...",
		TaskID:  "7e0f6cb2-4c55-4f3c-9f3e-0d8c4d6a2a11",
	})
	if failed, ok := errors.AsType[*mail.SendError](err); ok {
		switch {
		case failed.Unknown():
			log.Print("may have been delivered: ", failed)
		case failed.Retryable():
			log.Print("try again later: ", failed)
		default:
			log.Print("give up: ", failed)
		}
	}

	stop()
	if err := <-done; err != nil {
		log.Fatal(err)
	}
}
