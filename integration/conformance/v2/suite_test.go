// Package v2 runs the suites of containerd 2.1 against a real node through containerd's own proxy
// clients, alone and below its metadata store.
package v2

import (
	"context"
	"fmt"
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/containerd/containerd/v2/core/content"
	contentproxy "github.com/containerd/containerd/v2/core/content/proxy"
	contentsuite "github.com/containerd/containerd/v2/core/content/testsuite"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	snapshotproxy "github.com/containerd/containerd/v2/core/snapshots/proxy"
	snapshotsuite "github.com/containerd/containerd/v2/core/snapshots/testsuite"
	"github.com/containerd/containerd/v2/pkg/labels"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/containerd/v2/pkg/testutil"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	bolt "go.etcd.io/bbolt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"hearth/conformance/harness"
)

// The suites know by this name that the rename of a lower directory is refused.
const suiteName = "overlayfs"

// connect starts a node on a fresh store and dials it; closing stops it.
func connect(root string) (*grpc.ClientConn, func() error, error) {
	server, err := harness.Start(root)
	if err != nil {
		return nil, nil, err
	}
	conn, err := grpc.NewClient("unix://"+server.Socket,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(harness.MaxMessageBytes),
			grpc.MaxCallSendMsgSize(harness.MaxMessageBytes)))
	if err != nil {
		server.Stop()
		return nil, nil, err
	}
	return conn, func() error {
		conn.Close()
		return server.Stop()
	}, nil
}

func openContent(ctx context.Context, root string) (context.Context, content.Store, func() error, error) {
	conn, stop, err := connect(root)
	if err != nil {
		return nil, nil, nil, err
	}
	return ctx, contentproxy.NewContentStore(conn), stop, nil
}

func openContentBelowMetadata(options ...metadata.DBOpt) contentsuite.StoreInitFn {
	return func(ctx context.Context, root string) (context.Context, content.Store, func() error, error) {
		conn, stop, err := connect(root)
		if err != nil {
			return nil, nil, nil, err
		}
		file, err := bolt.Open(filepath.Join(root, "metadata.db"), 0o600, nil)
		if err != nil {
			stop()
			return nil, nil, nil, err
		}
		var count atomic.Uint64
		name := contentsuite.Name(ctx)
		// Each context of a test is a namespace of its own.
		wrap := func(ctx context.Context, shared bool) (context.Context, func(context.Context) error, error) {
			namespace := fmt.Sprintf("%s-n%d", name, count.Add(1))
			ctx = namespaces.WithNamespace(ctx, namespace)
			end := func(context.Context) error { return nil }
			if !shared {
				return ctx, end, nil
			}
			return ctx, end, file.Update(func(tx *bolt.Tx) error {
				return metadata.NewNamespaceStore(tx).SetLabel(ctx, namespace, labels.LabelSharedNamespace, "true")
			})
		}
		db := metadata.NewDB(file, contentproxy.NewContentStore(conn), nil, options...)
		return contentsuite.SetContextWrapper(ctx, wrap), db.ContentStore(), func() error {
			file.Close()
			return stop()
		}, nil
	}
}

func openSnapshotter(_ context.Context, root string) (snapshots.Snapshotter, func() error, error) {
	conn, stop, err := connect(root)
	if err != nil {
		return nil, nil, err
	}
	return snapshotproxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), "hearth"), stop, nil
}

func openSnapshotterBelowMetadata(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
	backend, stop, err := openSnapshotter(ctx, root)
	if err != nil {
		return nil, nil, err
	}
	file, err := bolt.Open(filepath.Join(root, "metadata.db"), 0o600, nil)
	if err != nil {
		stop()
		return nil, nil, err
	}
	db := metadata.NewDB(file, nil, map[string]snapshots.Snapshotter{"hearth": backend})
	snapshotter := db.Snapshotter("hearth")
	return snapshotter, func() error {
		snapshotter.Close()
		file.Close()
		return stop()
	}, nil
}

func TestContent(t *testing.T) {
	contentsuite.ContentSuite(t, suiteName, openContent)
}

func TestContentBelowMetadata(t *testing.T) {
	contentsuite.ContentSuite(t, suiteName, openContentBelowMetadata())
	contentsuite.ContentCrossNSSharedSuite(t, suiteName, openContentBelowMetadata())
	contentsuite.ContentCrossNSIsolatedSuite(t, suiteName, openContentBelowMetadata(metadata.WithPolicyIsolated))
	contentsuite.ContentSharedNSIsolatedSuite(t, suiteName, openContentBelowMetadata(metadata.WithPolicyIsolated))
}

func TestSnapshots(t *testing.T) {
	testutil.RequiresRoot(t)
	snapshotsuite.SnapshotterSuite(t, suiteName, openSnapshotter)
}

func TestSnapshotsBelowMetadata(t *testing.T) {
	testutil.RequiresRoot(t)
	snapshotsuite.SnapshotterSuite(t, suiteName, openSnapshotterBelowMetadata)
}
