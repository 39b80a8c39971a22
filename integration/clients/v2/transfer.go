package main

import (
	"context"
	"net/http"
	"strings"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/transfer/image"
	"github.com/containerd/containerd/v2/core/transfer/registry"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/platforms"
)

// The same credentials for every registry that asks.
type fixedCredentials struct{ name, secret string }

func (f fixedCredentials) GetCredentials(_ context.Context, _, host string) (registry.Credentials, error) {
	return registry.Credentials{Host: host, Username: f.name, Secret: f.secret}, nil
}

func transfer(ctx context.Context, o options, ref string) error {
	containerd, err := client.New(o.address)
	if err != nil {
		return err
	}
	defer containerd.Close()
	ctx = namespaces.WithNamespace(ctx, o.namespace)

	from := []registry.Opt{registry.WithHeaders(http.Header{})}
	if o.user != "" {
		name, secret, _ := strings.Cut(o.user, ":")
		from = append(from, registry.WithCredentials(fixedCredentials{name, secret}))
	}
	if o.hostsDir != "" {
		from = append(from, registry.WithHostDir(o.hostsDir))
	}
	if o.plainHTTP {
		from = append(from, registry.WithDefaultScheme("http"))
	}
	source, err := registry.NewOCIRegistry(ctx, ref, from...)
	if err != nil {
		return err
	}
	to := []image.StoreOpt{image.WithUnpack(platforms.DefaultSpec(), o.snapshotter)}
	if !o.allPlatforms {
		to = append(to, image.WithPlatforms(platforms.DefaultSpec()))
	}
	return containerd.Transfer(ctx, source, image.NewStore(ref, to...))
}
