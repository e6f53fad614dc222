//! Images for other machines: made, loaded, refused, and run where the kernel has an emulator for them.

mod common;

use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use common::busybox;

/// How a program for arm64 begins (elf(5)), and how much of that a handler compares.
const ARM: &str = r"\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00";
const MASK: &str = r"\xff\xff\xff\xff\xff\xff\xff\x00\xff\xff\xff\xff\xff\xff\xff\xff\xfe\xff\xff\xff";

#[test]
fn an_image_for_another_machine() {
    let onggi = busybox();
    let tar = onggi.file("arm.tar");
    let root = onggi.file("arm");
    std::fs::create_dir_all(root.join("bin")).unwrap();
    let mut program = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\xb7\0".to_vec();
    program.resize(64, 0);
    std::fs::write(root.join("bin/jar"), program).unwrap();
    std::fs::set_permissions(root.join("bin/jar"), std::fs::Permissions::from_mode(0o755)).unwrap();
    assert!(
        Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&tar).arg(".").status().unwrap().success()
    );
    onggi.ok(["import", "-q", "--platform", "linux/arm64", tar.to_str().unwrap(), "arm"]);
    assert_eq!(onggi.inspect("arm", "{{.Os}}/{{.Architecture}}"), "linux/arm64");

    // Nothing here runs it, and the warning says what would.
    let run = ["run", "--rm", "--network", "none", "arm", "/bin/jar", "a b"];
    onggi
        .fails(run)
        .code(126)
        .says("no emulator is registered for programs of linux/arm64")
        .says("exec format error");
    let asked = [
        "run",
        "--rm",
        "--pull",
        "never",
        "--network",
        "none",
        "--platform",
        "linux/amd64",
        "arm",
        "/bin/jar",
    ];
    onggi.fails(asked).code(125).says("does not match the specified platform (linux/amd64)");

    // Of an archive only what is for the machine that was asked for.
    let saved = onggi.file("saved.tar");
    onggi.ok(["save", "-o", saved.to_str().unwrap(), "arm", "busybox"]);
    onggi.ok(["rmi", "arm"]);
    assert_eq!(
        onggi.ok(["load", "-q", "--platform", "linux/arm64", "-i", saved.to_str().unwrap()]),
        "Loaded image: arm:latest"
    );
    onggi
        .fails(["load", "-q", "--platform", "linux/riscv64", "-i", saved.to_str().unwrap()])
        .says("no image for linux/riscv64 in it; it has linux/");

    // With a handler, which here only says what it was given. The list of handlers is mounted for the test alone.
    let emulator = onggi.file("echo");
    std::fs::copy("/bin/busybox", &emulator).unwrap();
    let name = format!("onggi-test-{}", std::process::id());
    let register = format!(":{name}:M::{ARM}:{MASK}:{}:F", emulator.display());
    let line = onggi.command(run).into_command();
    let output = Command::new("unshare")
        .args(["--mount", "sh", "-c"])
        .arg(
            "at=/proc/sys/fs/binfmt_misc; mount -t binfmt_misc binfmt_misc $at || exit 90
             printf '%s' \"$1\" >$at/register || exit 91
             name=$2; shift 2; \"$@\"; code=$?; echo -1 >\"$at/$name\"; exit $code",
        )
        .args(["sh", &register, &name])
        .arg(line.get_program())
        .args(line.get_args())
        .envs(line.get_envs().filter_map(|(name, value)| Some((name, value?))))
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((output.status.code(), &*stdout), (Some(0), "/bin/jar a b\n"), "{stderr}");
    assert!(!stderr.contains("no emulator"), "{stderr}");
}
