//! A person at a terminal: sizes, Ctrl-C, leaving and coming back, several windows at once.

mod common;

use common::busybox;

#[test]
fn the_program_has_a_terminal_of_the_window_s_size() {
    let onggi = busybox();
    let mut window = onggi.terminal(["run", "--rm", "-it", "busybox", "sh"]);
    window.expect("# ");
    window.press("tty; stty size\r");
    window.expect("/dev/pts/0\r\n");
    window.expect("24 80\r\n");
    window.resize(40, 132);
    // The new size travels by a signal and a message: the shell's own trap says when it has arrived.
    window.press("trap 'stty size' WINCH; stty size\r");
    let mut shown = window.expect("/ # ");
    while !shown.contains("40 132") {
        window.press("stty size\r");
        shown = window.expect("/ # ");
    }
    window.press("exit 5\r");
    assert_eq!(window.wait().0, 5);
}

#[test]
fn what_others_have_written_does_not_move_the_cursor() {
    let onggi = busybox();
    onggi.ok(["create", "--name", "jar", "-l", "k=\x1b[2J\u{9b}2Jx", "busybox", "true"]);
    for words in [
        ["inspect", "-f", "{{.Config.Labels.k}}", "jar"].as_slice(),
        &["ps", "-a", "--format", "{{.Label \"k\"}}"],
        &["ps", "-a", "--format", "{{.Labels}}"],
        &["ps", "-a", "--format", "{{json .Labels}}"],
        &["inspect", "jar"],
        &["events", "--since", "1h", "--until", "0s", "--format", "{{.Actor.Attributes.k}}"],
    ] {
        let (code, screen) = onggi.terminal(words).wait();
        assert_eq!(code, 0, "{screen}");
        assert!(screen.contains("u{9b}2Jx") && !screen.contains(['\x1b', '\u{9b}']), "{words:?}: {screen:?}");
    }
    // A program gets what is there.
    assert_eq!(onggi.inspect("jar", "{{.Config.Labels.k}}"), "\x1b[2J\u{9b}2Jx");
}

#[test]
fn ctrl_c_is_the_program_s() {
    let onggi = busybox();
    let mut window =
        onggi.terminal(["run", "--rm", "-it", "--init", "busybox", "sh", "-c", "echo ready; sleep 1000"]);
    window.expect("ready");
    window.press("\x03");
    let (code, screen) = window.wait();
    assert_eq!(code, 130, "{screen}");
}

#[test]
fn leaving_with_ctrl_p_ctrl_q_and_coming_back() {
    let onggi = busybox();
    let mut window = onggi.terminal(["run", "-it", "--name", "shell", "busybox", "sh"]);
    window.expect("# ");
    window.press("word=kept\r");
    window.expect("# ");
    window.press("\x10\x11");
    assert_eq!(window.wait().0, 0);
    assert_eq!(onggi.inspect("shell", "{{.State.Status}}"), "running");
    let mut again = onggi.terminal(["attach", "shell"]);
    again.press("echo $word-$((40 + 2))\r");
    again.expect("kept-42");
    again.press("exit 3\r");
    assert_eq!(again.wait().0, 3);
    assert_eq!(onggi.inspect("shell", "{{.State.ExitCode}}"), "3");
}

#[test]
fn other_detach_keys_can_be_chosen() {
    let onggi = busybox();
    let mut window =
        onggi.terminal(["run", "-it", "--name", "shell", "--detach-keys", "ctrl-x,y", "busybox", "cat"]);
    window.press("\x10\x11 typed\r");
    window.expect("typed\r\n");
    window.press("\x18y");
    assert_eq!(window.wait().0, 0);
    assert_eq!(onggi.inspect("shell", "{{.State.Running}}"), "true");
}

#[test]
fn the_terminal_is_given_back_as_it_was() {
    let onggi = busybox();
    let program = env!("CARGO_BIN_EXE_onggi");
    let script = format!("stty -a > $1; {program} run --rm -it busybox true; stty -a > $2; cmp $1 $2");
    let (before, after) = (onggi.file("before"), onggi.file("after"));
    // `script` is the terminal here: the driver of ours runs onggi alone.
    let line = format!("sh -c '{script}' sh {} {}", before.display(), after.display());
    let mut command = std::process::Command::new("script");
    command.args(["-qec", &line, "/dev/null"]).stdin(std::process::Stdio::null());
    command.env("ONGGI_ROOT", onggi.data()).env("ONGGI_RUN_ROOT", onggi.run_root());
    let output = command.output().expect("util-linux's script is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn closing_the_window_leaves_the_container() {
    let onggi = busybox();
    let mut window = onggi.terminal(["run", "-it", "--name", "shell", "busybox", "sh"]);
    window.expect("# ");
    window.hang_up();
    assert_eq!(onggi.inspect("shell", "{{.State.Running}}"), "true");
    let mut again = onggi.terminal(["attach", "shell"]);
    again.press("exit 4\r");
    assert_eq!(again.wait().0, 4);
}

#[test]
fn three_windows_in_one_container() {
    let onggi = busybox();
    onggi.ok(["run", "-d", "--name", "jar", "busybox", "sleep", "1000"]);
    let mut windows: Vec<_> = (0..3).map(|_| onggi.terminal(["exec", "-it", "jar", "sh"])).collect();
    for (number, window) in windows.iter_mut().enumerate() {
        window.expect("# ");
        window.press(&format!("echo here > /tmp/{number}; tty\r"));
    }
    let mut terminals: Vec<String> = windows
        .iter_mut()
        .map(|window| {
            window.expect("/dev/pts/");
            window.expect("\r\n")
        })
        .collect();
    terminals.sort();
    terminals.dedup();
    assert_eq!(terminals.len(), 3, "each has a terminal of its own: {terminals:?}");
    for (number, mut window) in windows.into_iter().enumerate() {
        window.press("ls /tmp | tr '\\n' ,\r");
        window.expect("0,1,2,");
        window.press(&format!("exit {number}\r"));
        assert_eq!(window.wait().0, i32::try_from(number).expect("small"));
    }
}

#[test]
fn without_a_terminal_t_is_refused() {
    let onggi = busybox();
    // Docker's client ends with 1 here, before it has asked anybody for anything.
    onggi.run(["run", "--rm", "-it", "busybox", "true"]).code(1).says("TTY");
}
