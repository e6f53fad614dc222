//! A whole distribution inside: its shell, its package manager, and (with ONGGI_TEST_FULL) Python's prompt.

mod common;

use common::fresh;

#[test]
fn apt_lists_what_is_installed() {
    let onggi = fresh();
    onggi.import("debian");
    let listed = onggi.run(["run", "--rm", "debian", "apt", "list", "--installed"]).code(0).stdout;
    assert!(listed.lines().any(|line| line.starts_with("apt/")) && listed.lines().count() > 50, "{listed}");
    let output = onggi
        .run([
            "run",
            "--rm",
            "debian",
            "bash",
            "-c",
            "dpkg -V 2>&1; echo verified; su nobody -s /bin/sh -c id",
        ])
        .code(0);
    assert!(output.stdout.contains("verified\n"), "{output}");
    assert!(output.stdout.contains("(nobody)"), "{output}");
    let mut window = onggi.terminal(["run", "--rm", "-it", "debian", "bash"]);
    window.expect("# ");
    window.press("echo $((6*7)) && exit 2\r");
    window.expect("42\r\n");
    assert_eq!(window.wait().0, 2);
}

#[test]
fn a_prompt_of_python_s() {
    if !onggi_testkit::full() {
        return;
    }
    let onggi = fresh();
    onggi.import("python");
    let mut window = onggi.terminal(["run", "--rm", "-it", "python", "python3"]);
    window.expect(">>> ");
    window.press("print(6 * 7)\r");
    window.expect("\n42\r\n");
    window.press("\x04");
    assert_eq!(window.wait().0, 0);
}
