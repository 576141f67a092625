// What an ordinary go-redis client sees.
package main

import (
	"context"
	"fmt"
	"os"
	"sort"
	"time"

	"github.com/redis/go-redis/v9"
)

func show(name string, value any, err error) { fmt.Println(name, value, err) }

func main() {
	ctx := context.Background()
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + os.Args[1], MaxRetries: -1})
	defer client.Close()
	client.FlushAll(ctx)
	set, err := client.Set(ctx, "a", "1", 0).Result()
	show("set", set, err)
	mset, err := client.MSet(ctx, "b", "2", "c", "3").Result()
	show("mset", mset, err)
	mget, err := client.MGet(ctx, "a", "b", "c", "none").Result()
	show("mget", mget, err)
	commands, err := client.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Incr(ctx, "a")
		pipe.Get(ctx, "b")
		pipe.HSet(ctx, "h", "f", "v")
		pipe.HGetAll(ctx, "h")
		return nil
	})
	show("pipeline", commands, err)
	commands, err = client.TxPipelined(ctx, func(pipe redis.Pipeliner) error {
		pipe.Incr(ctx, "{t}x")
		pipe.Get(ctx, "{t}x")
		return nil
	})
	show("multi", commands, err)
	evaluated, err := redis.NewScript("return redis.call('get', KEYS[1]) .. ARGV[1]").Run(ctx, client, []string{"c"}, "!").Result()
	show("script", evaluated, err)
	client.SAdd(ctx, "s1", "x", "y")
	client.SAdd(ctx, "s2", "y", "z")
	members, err := client.SInter(ctx, "s1", "s2").Result()
	show("sinter", members, err)
	keys := map[string]bool{}
	scan := client.Scan(ctx, 0, "*", 100).Iterator()
	for scan.Next(ctx) {
		keys[scan.Val()] = true
	}
	names := []string{}
	for name := range keys {
		names = append(names, name)
	}
	sort.Strings(names)
	show("scan", names, scan.Err())
	popped := make(chan []string, 1)
	go func() {
		found, _ := client.BLPop(ctx, 5*time.Second, "list", "other").Result()
		popped <- found
	}()
	client.RPush(ctx, "list", "pushed")
	show("blpop", <-popped, nil)
	subscription := client.Subscribe(ctx, "news")
	defer subscription.Close()
	_, err = subscription.Receive(ctx)
	show("subscribed", err == nil, nil)
	receivers, err := client.Publish(ctx, "news", "hello").Result()
	show("publish", receivers, err)
	message, err := subscription.ReceiveMessage(ctx)
	show("message", message.Payload, err)
	show("error", nil, client.LPush(ctx, "a", "x").Err())
	err = client.Watch(ctx, func(tx *redis.Tx) error {
		client.Set(ctx, "{t}x", "9", 0)
		_, err := tx.TxPipelined(ctx, func(pipe redis.Pipeliner) error { pipe.Incr(ctx, "{t}x"); return nil })
		return err
	}, "{t}x")
	show("watch", nil, err)
}
