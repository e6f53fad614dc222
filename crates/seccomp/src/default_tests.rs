use super::*;
use crate::interpret::{Call, run};
use crate::profile::Action;
use crate::program::Program;

const FILES: [(Arch, &str); 2] = [(Arch::X86_64, "x86_64.bpf"), (Arch::Aarch64, "aarch64.bpf")];

fn owned(caps: &[&str]) -> Vec<String> {
    caps.iter().map(|&cap| cap.to_owned()).collect()
}

fn answer(program: &Program, arch: Arch, name: &str, arguments: &[u64]) -> Action {
    let mut all = [0; 6];
    all[..arguments.len()].copy_from_slice(arguments);
    let number = arch.number(name).unwrap_or_else(|| panic!("{arch:?} has no {name}"));
    run(program, &Call { number, audit: arch.audit(), arguments: all }).0
}

/// The compiled-ahead bytes are what the compiler makes today. `ONGGI_REGENERATE=1 cargo test -p onggi-seccomp` writes them again.
#[test]
fn the_compiled_default_is_current() {
    for (arch, file) in FILES {
        let program = compile(&profile_for(&owned(&DEFAULT_CAPABILITIES), arch), arch).unwrap();
        assert_eq!(program.flags, DEFAULT_FLAGS);
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/default").join(file);
        if std::env::var_os("ONGGI_REGENERATE").is_some() {
            std::fs::write(&path, program.to_bytes()).unwrap();
        }
        assert!(
            std::fs::read(&path).unwrap() == program.to_bytes(),
            "{file} is stale: set ONGGI_REGENERATE=1"
        );
    }
}

#[test]
fn docker_and_podman_capabilities_share_the_compiled_one() {
    let podman = default_program(&owned(&DEFAULT_CAPABILITIES));
    assert!(matches!(podman, Cow::Borrowed(_)));
    let docker = [&DEFAULT_CAPABILITIES[..], &["CAP_AUDIT_WRITE", "CAP_MKNOD", "CAP_NET_RAW"]].concat();
    assert!(matches!(default_program(&owned(&docker)), Cow::Borrowed(_)));
    let more = [&DEFAULT_CAPABILITIES[..], &["CAP_SYS_TIME"]].concat();
    assert!(matches!(default_program(&owned(&more)), Cow::Owned(bytes) if bytes != *podman));
    assert!(matches!(default_program(&[]), Cow::Owned(_)));
}

#[test]
fn what_the_default_denies() {
    for (arch, _) in FILES {
        let program = compile(&profile_for(&owned(&DEFAULT_CAPABILITIES), arch), arch).unwrap();
        let denied = [
            "keyctl",
            "add_key",
            "request_key",
            "bpf",
            "perf_event_open",
            "userfaultfd",
            "io_uring_setup",
            "io_uring_enter",
            "io_uring_register",
            "mount",
            "umount2",
            "move_mount",
            "open_tree",
            "fsopen",
            "pivot_root",
            "unshare",
            "setns",
            "kexec_load",
            "init_module",
            "finit_module",
            "delete_module",
            "reboot",
            "swapon",
            "swapoff",
            "acct",
            "settimeofday",
            "open_by_handle_at",
            "quotactl",
            "sethostname",
            "nfsservctl",
            "lookup_dcookie",
            "kcmp",
            "clock_settime",
            "vhangup",
            "mbind",
            "syslog",
        ];
        for name in denied {
            assert_eq!(answer(&program, arch, name, &[]), Action::errno(1), "{arch:?} {name}");
        }
        assert_eq!(answer(&program, arch, "clone3", &[]), Action::NO_SUCH_CALL);
        for name in [
            "read",
            "execve",
            "openat",
            "ptrace",
            "chroot",
            "futex",
            "memfd_create",
            "landlock_create_ruleset",
        ] {
            assert_eq!(answer(&program, arch, name, &[]), Action::ALLOW, "{arch:?} {name}");
        }
    }
}

#[test]
fn namespaces_need_sys_admin() {
    let arch = Arch::X86_64;
    let program = compile(&profile_for(&owned(&DEFAULT_CAPABILITIES), arch), arch).unwrap();
    assert_eq!(answer(&program, arch, "clone", &[0x003d_0f00]), Action::ALLOW, "a thread");
    assert_eq!(answer(&program, arch, "clone", &[0x0120_0011]), Action::ALLOW, "a fork");
    for flag in [0x0002_0000u64, 0x0200_0000, 0x0400_0000, 0x0800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000]
    {
        assert_eq!(answer(&program, arch, "clone", &[flag | 17]), Action::errno(1), "{flag:#x}");
    }
    let admin = compile(&profile_for(&owned(&["CAP_SYS_ADMIN"]), arch), arch).unwrap();
    for name in ["clone", "clone3", "unshare", "mount", "bpf", "setns"] {
        assert_eq!(answer(&admin, arch, name, &[0x1000_0000]), Action::ALLOW, "{name}");
    }
}

#[test]
fn sockets_of_the_kernels_cryptography_and_of_the_hypervisor_are_denied() {
    let arch = Arch::X86_64;
    let program = compile(&profile_for(&owned(&DEFAULT_CAPABILITIES), arch), arch).unwrap();
    let of = |family: u64| answer(&program, arch, "socket", &[family]);
    for family in [0, 1, 2, 10, 16, 17, 37, 39, 41, 45] {
        assert_eq!(of(family), Action::ALLOW, "{family}");
    }
    for family in [38, 40] {
        assert_eq!(of(family), Action::errno(1), "{family}");
        // The kernel drops the upper half.
        assert_eq!(of(family | 1 << 32), Action::errno(1), "{family}");
        assert_eq!(of(family | 1 << 63), Action::errno(1), "{family}");
    }
    assert_eq!(answer(&program, arch, "personality", &[0xffff_ffff]), Action::ALLOW);
    assert_eq!(
        answer(&program, arch, "personality", &[0x0040_0000]),
        Action::errno(1),
        "no address randomisation"
    );
}

/// A call that everybody makes is answered after few instructions, and compiling costs little. (`--nocapture` shows the figures.)
#[test]
fn the_default_is_short_and_quick() {
    let arch = Arch::X86_64;
    let profile = profile_for(&owned(&DEFAULT_CAPABILITIES), arch);
    let program = compile(&profile, arch).unwrap();
    let steps = |name: &str| {
        let call = Call { number: arch.number(name).unwrap(), audit: arch.audit(), arguments: [0; 6] };
        run(&program, &call).1
    };
    let start = std::time::Instant::now();
    for _ in 0..20 {
        compile(&profile, arch).unwrap();
    }
    let hot = ["read", "write", "futex", "epoll_wait", "openat", "clock_gettime", "mmap"]
        .map(|name| (name, steps(name)));
    let worst = arch.calls().iter().map(|(name, _)| steps(name)).max();
    println!(
        "{} instructions; {:?} each compilation; steps {hot:?}, at most {worst:?}",
        program.instructions.len(),
        start.elapsed() / 20
    );
    assert!(program.instructions.len() < 1000);
    assert!(hot.iter().all(|(_, steps)| *steps <= 12), "{hot:?}");
    assert!(worst.is_some_and(|steps| steps <= 32));
}
