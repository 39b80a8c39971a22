#include "cmd/subprocess.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/clock.h"
#include "base/file.h"

extern char** environ;

namespace hearth::cmd {

namespace {

struct Pipe {
  Fd read;
  Fd write;
};

Result<Pipe> MakePipe() {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return ErrnoStatus(errno, "make a pipe");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

Result<pid_t> Spawn(const std::vector<std::string>& argv, const Pipe& out, const Pipe& err) {
  std::vector<char*> arguments;
  for (const std::string& argument : argv) arguments.push_back(const_cast<char*>(argument.c_str()));
  arguments.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_adddup2(&actions, out.write.get(), STDOUT_FILENO);
  posix_spawn_file_actions_adddup2(&actions, err.write.get(), STDERR_FILENO);
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  sigset_t defaults;
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &defaults);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t pid = -1;
  const int error =
      posix_spawnp(&pid, arguments[0], &actions, &attributes, arguments.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  if (error != 0) return ErrnoStatus(error, "run " + argv[0]);
  return pid;
}

// Reads what there is; closes the pipe at its end.
void Drain(Fd& fd, std::string& text) {
  std::array<char, 16384> buffer;
  const ssize_t n = read(fd.get(), buffer.data(), buffer.size());
  if (n < 0 && errno == EINTR) return;
  if (n <= 0) return fd.Reset();
  const size_t room = kMaxProgramOutputBytes - std::min(kMaxProgramOutputBytes, text.size());
  text.append(buffer.data(), std::min(room, static_cast<size_t>(n)));
}

}  // namespace

Result<ProgramResult> RunProgram(const std::vector<std::string>& argv, std::chrono::seconds limit) {
  Pipe out = TRY(MakePipe());
  Pipe err = TRY(MakePipe());
  const pid_t pid = TRY(Spawn(argv, out, err));
  out.write.Reset();
  err.write.Reset();
  ProgramResult result;
  const Deadline deadline = Deadline::After(limit);
  bool killed = false;
  while (out.read.valid() || err.read.valid()) {
    std::array<pollfd, 2> ready = {{{out.read.get(), POLLIN, 0}, {err.read.get(), POLLIN, 0}}};
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline.Left());
    if (poll(ready.data(), ready.size(), static_cast<int>(left.count()) + 1) < 0) continue;
    if (ready[0].revents != 0) Drain(out.read, result.out);
    if (ready[1].revents != 0) Drain(err.read, result.err);
    if (deadline.Passed()) {
      killed = true;
      kill(pid, SIGKILL);
      break;
    }
  }
  int status = 0;
  while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
  }
  if (killed) {
    return DeadlineExceeded(argv[0] + " gave no answer within " + std::to_string(limit.count()) +
                            " s");
  }
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

}  // namespace hearth::cmd
