# What guest/run and guest/systemd share: a kernel in user mode. Sourced after scripts/common.sh.
# shellcheck shell=bash

# boot WORK SECONDS ARGUMENT…: runs it until it switches itself off, but no longer than that. Its console goes to standard output, the kernel's own words to
# WORK/kernel.
boot() {
    local work=$1 seconds=$2 preload=
    shift 2
    command -v linux.uml >/dev/null || apt_install user-mode-linux
    if grep -qw amx_tile /proc/cpuinfo; then
        cc -O2 -shared -fPIC -o "$work/xstate.so" guest/xstate.c
        preload=$work/xstate.so
    fi
    # The memory is a file that this kernel makes in TMPDIR: in memory, or every page would be written to a disk.
    as_root env LD_PRELOAD="$preload" TMPDIR=/dev/shm timeout --signal=KILL "$seconds" linux.uml mem="${ONGGI_GUEST_MEMORY:-1536M}" \
        rootfstype=hostfs quiet loglevel=3 con=null con0=null,fd:1 "$@" </dev/null 2>"$work/kernel" || true
    [ -e "$work/status" ] || { tail -n 40 "$work/kernel" >&2; die "the guest did not come to its end"; }
}
