// Consumes and publishes as scripts for Mozilla's Pulse in Go did, by the library that they were written with. Prints what it
// consumes, a line each.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"strconv"

	"github.com/streadway/amqp"
)

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type message struct {
	Payload struct {
		ID    int    `json:"id"`
		Delta string `json:"delta_ts"`
	} `json:"payload"`
}

func consume(channel *amqp.Channel, user, exchange string, isNamed bool) {
	check(channel.ExchangeDeclarePassive(exchange, "topic", false, false, false, false, nil))
	// A queue with a name stays when its script ends, and is not durable; one without goes with it.
	name := "queue/" + user + "/" + strconv.Itoa(os.Getpid())
	if isNamed {
		name = "queue/" + user + "/go-script"
	}
	queue, err := channel.QueueDeclare(name, false, !isNamed, !isNamed, false, nil)
	check(err)
	check(channel.QueueBind(queue.Name, "#", exchange, false, nil))
	check(channel.Qos(1, 0, false))
	deliveries, err := channel.Consume(queue.Name, "", false, false, false, false, nil)
	check(err)
	fmt.Println("ready")
	for delivery := range deliveries {
		var body message
		check(json.Unmarshal(delivery.Body, &body))
		fmt.Println(body.Payload.ID)
		check(delivery.Ack(false))
	}
}

func publish(channel *amqp.Channel, exchange string, bugs []string) {
	check(channel.ExchangeDeclare(exchange, "topic", true, false, false, false, nil))
	check(channel.Confirm(false))
	confirms := channel.NotifyPublish(make(chan amqp.Confirmation, len(bugs)))
	for _, bug := range bugs {
		var body message
		var err error
		body.Payload.ID, err = strconv.Atoi(bug)
		check(err)
		body.Payload.Delta = "2014-04-03T21:13:45"
		text, err := json.Marshal(body)
		check(err)
		check(channel.Publish(exchange, bug, false, false, amqp.Publishing{ContentType: "application/json", Body: text}))
		if confirm := <-confirms; !confirm.Ack {
			panic("the broker did not take it")
		}
	}
}

func main() {
	what, port, user, password, exchange, bugs := os.Args[1], os.Args[2], os.Args[3], os.Args[4], os.Args[5], os.Args[6:]
	connection, err := amqp.Dial("amqp://" + user + ":" + password + "@127.0.0.1:" + port + "/")
	check(err)
	channel, err := connection.Channel()
	check(err)
	switch what {
	case "Go consumer of a named queue":
		consume(channel, user, exchange, true)
	case "Go consumer of an unnamed queue":
		consume(channel, user, exchange, false)
	case "Go publisher":
		publish(channel, exchange, bugs)
		check(connection.Close())
	default:
		panic(what)
	}
}
