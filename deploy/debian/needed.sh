# Who needs the node, a line each on stdout; nothing where nobody does. In prerm and postrm alike.
still_needed() {
  if [ -e /etc/hearth/install.json ]; then
    echo "containerd is set up for it (/etc/hearth/install.json)"
  else
    for file in /etc/containerd/config.toml /etc/containerd/conf.d/*.toml; do
      if [ -f "$file" ] && grep -q '^[^#]*hearth\.sock' "$file"; then
        echo "$file names its socket"
      fi
    done
  fi
  # State 03 is an accepted connection; its path is the one at which the node made its socket.
  if grep -q ' 03  *[0-9]* /run/hearth/\(\.[^/]*/s\|hearth\.sock\)$' /proc/net/unix 2>/dev/null; then
    echo "a running containerd is connected to /run/hearth/hearth.sock"
  fi
}
