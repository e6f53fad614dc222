# What the project's scripts share. Sourced, with the repository's top as the working directory.
# shellcheck shell=bash

say() { printf '%s\n' "$*" >&2; }

# die MESSAGE [HINT]: the same form as onggi's own errors.
die() {
    say "error: $1"
    [ -z "${2:-}" ] || say "hint: $2"
    exit 1
}

# as_root COMMAND…: the command itself for root, through sudo for anybody else.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    elif command -v sudo >/dev/null; then
        sudo -- "$@"
    else
        die "'$1' needs root, and sudo is not here" "run this as root, or install sudo"
    fi
}

# Finds the Rust toolchain and the C compiler, which no script of ours installs.
need_compilers() {
    [ -z "${HOME:-}" ] || PATH=$PATH:$HOME/.cargo/bin
    command -v cargo >/dev/null || die "cargo is not here" \
        "install the Rust toolchain for $(id -un) (https://rustup.rs); if you ran this with sudo, run it without: it calls sudo itself"
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
    have=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n' "$wanted" "$have" | sort -V | head -n1)" = "$wanted" ] ||
        die "Rust $have is too old: Onggi needs $wanted" "rustup update stable"
    command -v cc >/dev/null || die "no C compiler: 'cc' is not here" "sudo apt-get install gcc libc6-dev"
}

# apt_install PACKAGE…: installs those of them that are missing.
apt_install() {
    command -v apt-get >/dev/null || die "apt-get is not here: the project's set-up knows Debian and its children only" \
        "install what these Debian packages hold: $*"
    local missing=() package
    for package; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    # A list of packages that cannot be renewed (a source of the machine's that is down) may still be good enough.
    as_root apt-get update -qq || say "warning: apt-get update failed; going on with the lists that are here"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >&2
}

# Where cargo puts what it builds, for PROFILE debug or release: the directory of the programs.
programs() {
    local target
    target=$(cargo metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
    printf '%s/%s/%s\n' "$target" "$(build_target)" "$1"
}

# The target that .cargo/config.toml names.
build_target() { sed -n 's/^target = "\(.*\)"/\1/p' .cargo/config.toml; }
