// Command v1 pulls an image as nerdctl does from containerd 1.6 and 1.7: Client.Pull of the 1.7 library, with unpack.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"

	"github.com/containerd/containerd"
	"github.com/containerd/containerd/namespaces"
	"github.com/containerd/containerd/platforms"
	"github.com/containerd/containerd/remotes/docker"
	"github.com/containerd/containerd/remotes/docker/config"
)

type options struct {
	address, namespace, snapshotter string
	hostsDir, user                  string
	plainHTTP, allPlatforms         bool
	ref                             string
}

func main() {
	var o options
	flag.StringVar(&o.address, "address", "/run/containerd/containerd.sock", "containerd's socket")
	flag.StringVar(&o.namespace, "namespace", "default", "namespace of the image")
	flag.StringVar(&o.snapshotter, "snapshotter", "", `"" = the namespace's default`)
	flag.StringVar(&o.hostsDir, "hosts-dir", "", "directory of hosts.toml files")
	flag.StringVar(&o.user, "user", "", "USER:PASSWORD at any registry")
	flag.BoolVar(&o.plainHTTP, "plain-http", false, "ask the registry over http")
	flag.BoolVar(&o.allPlatforms, "all-platforms", false, "pull every platform's content")
	flag.Parse()
	o.ref = flag.Arg(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := pull(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "pull:", err)
		os.Exit(1)
	}
}

func pull(ctx context.Context, o options) error {
	if o.ref == "" {
		return errors.New("name an image")
	}
	client, err := containerd.New(o.address)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx = namespaces.WithNamespace(ctx, o.namespace)
	hosts := config.HostOptions{HostDir: config.HostDirFromRoot(o.hostsDir)}
	if o.plainHTTP {
		hosts.DefaultScheme = "http"
	}
	if o.user != "" {
		hosts.Credentials = func(string) (string, string, error) {
			name, password := split(o.user)
			return name, password, nil
		}
	}
	matcher := platforms.DefaultStrict()
	if o.allPlatforms {
		matcher = platforms.All
	}
	image, err := client.Pull(ctx, o.ref,
		containerd.WithResolver(docker.NewResolver(docker.ResolverOptions{Hosts: config.ConfigureHosts(ctx, hosts)})),
		containerd.WithPlatformMatcher(matcher),
		containerd.WithPullUnpack,
		containerd.WithPullSnapshotter(o.snapshotter))
	if err != nil {
		return err
	}
	fmt.Println(image.Target().Digest)
	return nil
}

func split(pair string) (string, string) {
	for i := range pair {
		if pair[i] == ':' {
			return pair[:i], pair[i+1:]
		}
	}
	return pair, ""
}
