// go get github.com/SherClockHolmes/webpush-go
package main

import (
	"encoding/json"
	"fmt"
	"log"
	"os"

	webpush "github.com/SherClockHolmes/webpush-go"
)

func read(path string, into any) {
	text, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(text, into)
	}
	if err != nil {
		log.Fatalf("%s: %v", path, err)
	}
}

func main() {
	var subscription webpush.Subscription
	var keys struct{ PublicKey, PrivateKey string }
	read("subscription.json", &subscription)
	read("vapid.json", &keys)

	answer, err := webpush.SendNotification([]byte("hello from Go"), &subscription, &webpush.Options{
		Subscriber:      "push@example.org",
		VAPIDPublicKey:  keys.PublicKey,
		VAPIDPrivateKey: keys.PrivateKey,
		TTL:             3600,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer answer.Body.Close()
	// 404 and 410: delete the subscription. 429 and 503: try again after Retry-After seconds.
	fmt.Println(answer.StatusCode)
	if answer.StatusCode > 299 {
		os.Exit(1)
	}
}
