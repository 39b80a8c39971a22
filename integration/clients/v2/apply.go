package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"os"

	"github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/content"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
)

// One stack of layers, lowest first; each blob is in a file.
type stack struct {
	Name   string
	Layers []struct {
		File       string
		Descriptor ocispec.Descriptor
	}
}

type answer struct {
	Name    string               `json:"name"`
	Applied []ocispec.Descriptor `json:"applied"`         // as the diff service answered
	Inodes  []int64              `json:"inodes"`          // of each layer, as the snapshotter counts them
	Error   string               `json:"error,omitempty"` // of the layer after those applied
	Mounts  []mount.Mount        `json:"mounts,omitempty"`
}

// apply has containerd unpack every stack of the JSON list in file, as an unpacking client does it: blob into the
// content store, Prepare, Apply, Commit. Layers that begin several stacks are shared, as images share them. One JSON
// answer a line; a view of each whole stack stays under a lease.
func apply(ctx context.Context, o options, file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var stacks []stack
	if err := json.Unmarshal(raw, &stacks); err != nil {
		return err
	}
	containerd, err := client.New(o.address)
	if err != nil {
		return err
	}
	defer containerd.Close()
	ctx = namespaces.WithNamespace(ctx, o.namespace)
	lease, err := containerd.LeasesService().Create(ctx, leases.WithRandomID())
	if err != nil {
		return err
	}
	ctx = leases.WithLease(ctx, lease.ID)
	out := json.NewEncoder(os.Stdout)
	done := map[string]committed{}
	for _, s := range stacks {
		a := answer{Name: s.Name}
		if err := applyStack(ctx, containerd, o.snapshotter, s, done, &a); err != nil {
			a.Error = err.Error()
		}
		if err := out.Encode(a); err != nil {
			return err
		}
	}
	return nil
}

// A layer that is there, found by the digests of its stack up to it.
type committed struct {
	name    string
	applied ocispec.Descriptor
	inodes  int64
}

func applyStack(ctx context.Context, c *client.Client, snapshotter string, s stack, done map[string]committed, a *answer) error {
	snapshots, parent, chain := c.SnapshotService(snapshotter), "", ""
	for i, layer := range s.Layers {
		chain += string(layer.Descriptor.Digest) + " " + layer.Descriptor.MediaType + " "
		l, ok := done[chain]
		if !ok {
			if err := ingest(ctx, c.ContentStore(), layer.File, layer.Descriptor); err != nil {
				return fmt.Errorf("ingest: %w", err)
			}
			l.name = fmt.Sprintf("%s/%d", s.Name, i)
			if err := applyLayer(ctx, c, snapshots, layer.Descriptor, parent, &l); err != nil {
				return err
			}
			done[chain] = l
		}
		a.Applied, a.Inodes, parent = append(a.Applied, l.applied), append(a.Inodes, l.inodes), l.name
	}
	mounts, err := snapshots.View(ctx, s.Name+"/view", parent)
	a.Mounts = mounts
	return err
}

func applyLayer(ctx context.Context, c *client.Client, sn snapshots.Snapshotter, d ocispec.Descriptor, parent string, l *committed) error {
	mounts, err := sn.Prepare(ctx, l.name+"/active", parent)
	if err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	if l.applied, err = c.DiffService().Apply(ctx, d, mounts); err != nil {
		_ = sn.Remove(ctx, l.name+"/active")
		return fmt.Errorf("apply: %w", err)
	}
	if err := sn.Commit(ctx, l.name, l.name+"/active"); err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	usage, err := sn.Usage(ctx, l.name)
	l.inodes = usage.Inodes
	return err
}

func ingest(ctx context.Context, store content.Store, file string, d ocispec.Descriptor) error {
	f, err := os.Open(file)
	if err != nil {
		return err
	}
	defer f.Close()
	err = content.WriteBlob(ctx, store, "layer-"+d.Digest.String(), bufio.NewReader(f), d)
	if errdefs.IsAlreadyExists(err) {
		return nil
	}
	return err
}
