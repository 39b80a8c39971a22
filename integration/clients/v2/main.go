// Command v2 asks containerd for images and pods as two clients do: "pull" is nerdctl (the transfer service from
// containerd 2.0 on), "cri …" is kubelet, "apply" is an unpacking client that brings its own layers. One JSON document on stdout where there is something to say.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
)

type options struct {
	address, namespace, snapshotter string
	hostsDir, user                  string
	plainHTTP, allPlatforms         bool
}

var errUsage = errors.New("usage: v2 [flags] pull REF | apply FILE | cri pull|rmi|status REF | cri images|imagefs | cri run REF COMMAND…")

func main() {
	var o options
	flag.StringVar(&o.address, "address", "/run/containerd/containerd.sock", "containerd's socket")
	flag.StringVar(&o.namespace, "namespace", "default", "namespace of the image (CRI: always k8s.io)")
	flag.StringVar(&o.snapshotter, "snapshotter", "hearth", "as nerdctl.toml says")
	flag.StringVar(&o.hostsDir, "hosts-dir", "", "directory of hosts.toml files")
	flag.StringVar(&o.user, "user", "", "USER:PASSWORD at any registry")
	flag.BoolVar(&o.plainHTTP, "plain-http", false, "ask the registry over http")
	flag.BoolVar(&o.allPlatforms, "all-platforms", false, "pull every platform's content")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "v2:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options, args []string) error {
	switch {
	case len(args) == 2 && args[0] == "pull":
		return transfer(ctx, o, args[1])
	case len(args) == 2 && args[0] == "apply":
		return apply(ctx, o, args[1])
	case len(args) >= 2 && args[0] == "cri":
		return cri(ctx, o, args[1], args[2:])
	}
	return errUsage
}

func say(document any) error {
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", "  ")
	return encoder.Encode(document)
}
