package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"
)

type kubelet struct {
	images runtime.ImageServiceClient
	pods   runtime.RuntimeServiceClient
}

func cri(ctx context.Context, o options, verb string, args []string) error {
	connection, err := grpc.NewClient("unix://"+o.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	k := kubelet{runtime.NewImageServiceClient(connection), runtime.NewRuntimeServiceClient(connection)}
	switch {
	case verb == "images" && len(args) == 0:
		listed, err := k.images.ListImages(ctx, &runtime.ListImagesRequest{})
		if err != nil {
			return err
		}
		return say(listed.Images)
	case verb == "imagefs" && len(args) == 0:
		usage, err := k.images.ImageFsInfo(ctx, &runtime.ImageFsInfoRequest{})
		if err != nil {
			return err
		}
		return say(usage.ImageFilesystems)
	case verb == "pull" && len(args) == 1:
		return k.pull(ctx, o.user, args[0])
	case verb == "status" && len(args) == 1:
		status, err := k.images.ImageStatus(ctx, &runtime.ImageStatusRequest{Image: &runtime.ImageSpec{Image: args[0]}})
		if err != nil {
			return err
		}
		return say(status.Image)
	case verb == "rmi" && len(args) == 1:
		_, err := k.images.RemoveImage(ctx, &runtime.RemoveImageRequest{Image: &runtime.ImageSpec{Image: args[0]}})
		return err
	case verb == "run" && len(args) >= 2:
		return k.run(ctx, args[0], args[1:])
	}
	return errUsage
}

func (k kubelet) pull(ctx context.Context, user, ref string) error {
	request := &runtime.PullImageRequest{Image: &runtime.ImageSpec{Image: ref}}
	if user != "" {
		name, password, _ := strings.Cut(user, ":")
		request.Auth = &runtime.AuthConfig{Username: name, Password: password}
	}
	pulled, err := k.images.PullImage(ctx, request)
	if err != nil {
		return err
	}
	return say(map[string]string{"image_ref": pulled.ImageRef})
}

// A pod in the host's network with one container that sleeps; command runs in it, and all is removed again.
func (k kubelet) run(ctx context.Context, ref string, command []string) (err error) {
	unique := fmt.Sprintf("probe-%d", os.Getpid())
	pod := &runtime.PodSandboxConfig{
		Metadata: &runtime.PodSandboxMetadata{Name: unique, Namespace: "default", Uid: unique},
		Linux: &runtime.LinuxPodSandboxConfig{SecurityContext: &runtime.LinuxSandboxSecurityContext{
			NamespaceOptions: &runtime.NamespaceOption{Network: runtime.NamespaceMode_NODE},
		}},
	}
	sandbox, err := k.pods.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: pod})
	if err != nil {
		return fmt.Errorf("pod: %w", err)
	}
	defer func() {
		_, stopped := k.pods.StopPodSandbox(ctx, &runtime.StopPodSandboxRequest{PodSandboxId: sandbox.PodSandboxId})
		_, removed := k.pods.RemovePodSandbox(ctx, &runtime.RemovePodSandboxRequest{PodSandboxId: sandbox.PodSandboxId})
		for _, end := range []error{stopped, removed} {
			if err == nil {
				err = end
			}
		}
	}()
	created, err := k.pods.CreateContainer(ctx, &runtime.CreateContainerRequest{
		PodSandboxId:  sandbox.PodSandboxId,
		SandboxConfig: pod,
		Config: &runtime.ContainerConfig{
			Metadata: &runtime.ContainerMetadata{Name: "probe"},
			Image:    &runtime.ImageSpec{Image: ref},
			Command:  []string{"/bin/sleep", "600"},
		},
	})
	if err != nil {
		return fmt.Errorf("container: %w", err)
	}
	if _, err = k.pods.StartContainer(ctx, &runtime.StartContainerRequest{ContainerId: created.ContainerId}); err != nil {
		return fmt.Errorf("start: %w", err)
	}
	out, err := k.pods.ExecSync(ctx, &runtime.ExecSyncRequest{ContainerId: created.ContainerId, Cmd: command, Timeout: 30})
	if err != nil {
		return fmt.Errorf("exec: %w", err)
	}
	return say(map[string]any{"stdout": string(out.Stdout), "stderr": string(out.Stderr), "exit_code": out.ExitCode})
}
