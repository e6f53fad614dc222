//! The default program in the kernel: loaded into a thread of its own (a filter belongs to the thread that loads it and its
//! children), where what it denies is tried.

use std::io;
use std::net::TcpListener;

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketType};
use rustix::thread::LinkNameSpaceType;

fn caps() -> Vec<String> {
    vec!["CAP_CHOWN".into(), "CAP_SYS_CHROOT".into()]
}

/// Runs the check in a thread that the program has been loaded into.
fn filtered(program: Vec<u8>, flags: u32, check: impl FnOnce() + Send + 'static) {
    std::thread::spawn(move || {
        // What root needs not and everybody else does.
        rustix::thread::set_no_new_privs(true).expect("prctl");
        onggi_sys::seccomp::load(&program, flags).expect("the kernel takes the program");
        check();
    })
    .join()
    .expect("the check holds");
}

fn errno<T>(result: io::Result<T>) -> Option<i32> {
    result.err().and_then(|error| error.raw_os_error())
}

const EPERM: Option<i32> = Some(1);

#[test]
fn the_default_program_denies_in_the_kernel_what_it_should() {
    let program = onggi_seccomp::default_program(&caps()).into_owned();
    filtered(program, onggi_seccomp::DEFAULT_FLAGS, || {
        const CLONE_NEWUSER: i32 = 0x1000_0000;
        assert_eq!(errno(onggi_sys::namespace::unshare(CLONE_NEWUSER)), EPERM);
        assert_eq!(errno(onggi_sys::keyring::join_session(c"onggi-test")), EPERM);
        assert_eq!(errno(onggi_sys::bpf::load_cgroup_device(&[])), EPERM);
        for family in [38, 40] {
            let socket = rustix::net::socket(AddressFamily::from_raw(family), SocketType::SEQPACKET, None);
            assert_eq!(socket.unwrap_err(), Errno::PERM, "family {family}");
        }
        let mount = rustix::mount::mount_change("/", rustix::mount::MountPropagationFlags::PRIVATE);
        assert_eq!(mount.unwrap_err(), Errno::PERM);
        let own = std::fs::File::open("/proc/self/ns/uts").unwrap();
        let setns = rustix::thread::move_into_link_name_space(
            std::os::fd::AsFd::as_fd(&own),
            Some(LinkNameSpaceType::HostNameAndNISDomainName),
        );
        assert_eq!(setns.unwrap_err(), Errno::PERM);
    });
}

#[test]
fn ordinary_work_goes_on_under_the_default_program() {
    let program = onggi_seccomp::default_program(&caps()).into_owned();
    filtered(program, onggi_seccomp::DEFAULT_FLAGS, || {
        assert!(std::fs::read_to_string("/proc/self/status").unwrap().contains("Seccomp:"));
        // The C library asks for clone3, is told ENOSYS, and takes clone.
        assert_eq!(std::thread::spawn(|| 7).join().unwrap(), 7);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_ne!(listener.local_addr().unwrap().port(), 0);
        let status = std::process::Command::new("/bin/sh")
            .args(["-c", "test -r /proc/self/status && ls / >/dev/null"])
            .status();
        assert!(status.unwrap().success());
    });
}

#[test]
fn a_profile_with_arguments_and_every_kind_of_answer_is_taken_by_the_kernel() {
    let profile: onggi_oci::Seccomp = serde_json::from_str(
        r#"{"defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"],
            "syscalls": [
              {"names": ["unshare"], "action": "SCMP_ACT_ERRNO", "errnoRet": 77,
               "args": [{"index": 0, "value": 268435456, "valueTwo": 268435456, "op": "SCMP_CMP_MASKED_EQ"}]},
              {"names": ["keyctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 78},
              {"names": ["reboot"], "action": "SCMP_ACT_KILL_PROCESS"},
              {"names": ["swapon"], "action": "SCMP_ACT_TRAP"}, {"names": ["swapoff"], "action": "SCMP_ACT_TRACE"},
              {"names": ["getppid"], "action": "SCMP_ACT_LOG"}]}"#,
    )
    .unwrap();
    let program = onggi_seccomp::compile(&profile, onggi_seccomp::Arch::NATIVE).unwrap();
    filtered(program.to_bytes(), program.flags, || {
        assert_eq!(errno(onggi_sys::namespace::unshare(0x1000_0000)), Some(77));
        // CLONE_NEWUTS: a flag that the mask does not hold.
        let other = errno(onggi_sys::namespace::unshare(0x0400_0000));
        assert!(matches!(other, None | EPERM), "{other:?}");
        assert_eq!(errno(onggi_sys::keyring::join_session(c"onggi-test")), Some(78));
    });
}
