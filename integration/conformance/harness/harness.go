// Package harness starts one real node per test and stops it again.
package harness

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

const (
	// MaxMessageBytes is what containerd's clients allow in one message.
	MaxMessageBytes = 16 << 20
	readyTimeout    = 30 * time.Second
	stopTimeout     = 15 * time.Second
)

// Server is a node with a store and sockets of its own.
type Server struct {
	Socket  string
	process *exec.Cmd
	run     string
}

type ready struct {
	Socket string `json:"socket"`
}

// Binary is HEARTH_BINARY, or the one that the release build makes.
func Binary() string {
	if path := os.Getenv("HEARTH_BINARY"); path != "" {
		return path
	}
	return Built("bin/hearth")
}

// Built is a file of the release build, seen from a module two folders below integration/.
func Built(name string) string {
	path, err := filepath.Abs(filepath.Join("..", "..", "..", "build", name))
	if err != nil {
		panic(err)
	}
	return path
}

// Start starts a node on a fresh store below root. Its sockets lie elsewhere: their names are short.
func Start(root string) (*Server, error) {
	run, err := os.MkdirTemp("", "hc")
	if err != nil {
		return nil, err
	}
	log, err := os.Create(filepath.Join(run, "log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command := exec.Command(Binary(), "node", "--output", "json",
		"--set", "root="+filepath.Join(root, "hearth"), "--set", "run="+run,
		"--set", `containerd.address=""`, "--set", "mirror.listen=127.0.0.1:0",
		"--set", "status.listen=127.0.0.1:0")
	command.Stderr = log
	// The node goes when we go, however that is.
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	output, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := startFromLastingThread(command); err != nil {
		return nil, fmt.Errorf("start %s: %w (run make build)", Binary(), err)
	}
	server := &Server{process: command, run: run}
	if server.Socket, err = waitReady(output); err != nil {
		text, _ := os.ReadFile(log.Name())
		server.Stop()
		return nil, fmt.Errorf("the node did not get ready: %w\n%s", err, text)
	}
	return server, nil
}

// Stop ends the node; its store stays for whoever made root.
func (s *Server) Stop() error {
	defer os.RemoveAll(s.run)
	s.process.Process.Signal(syscall.SIGTERM)
	done := make(chan error, 1)
	go func() { done <- s.process.Wait() }()
	select {
	case err := <-done:
		return err
	case <-time.After(stopTimeout):
		s.process.Process.Kill()
		<-done
		return fmt.Errorf("the node did not stop within %s", stopTimeout)
	}
}

func waitReady(output io.Reader) (string, error) {
	type result struct {
		socket string
		err    error
	}
	results := make(chan result, 1)
	go func() {
		lines := bufio.NewReader(output)
		line, err := lines.ReadBytes('\n')
		var message ready
		if err == nil {
			err = json.Unmarshal(line, &message)
		}
		results <- result{message.Socket, err}
		io.Copy(io.Discard, lines)
	}()
	select {
	case r := <-results:
		return r.socket, r.err
	case <-time.After(readyTimeout):
		return "", fmt.Errorf("nothing said within %s", readyTimeout)
	}
}

var (
	starterOnce sync.Once
	starts      chan func()
)

// Pdeathsig is about the thread that forked, so that one must never end.
func startFromLastingThread(command *exec.Cmd) error {
	starterOnce.Do(func() {
		starts = make(chan func())
		go func() {
			runtime.LockOSThread()
			for start := range starts {
				start()
			}
		}()
	})
	result := make(chan error, 1)
	starts <- func() { result <- command.Start() }
	return <-result
}
