//! Programs of the specification's `hooks`: each gets the container's state on its standard input.
//!
//! The parent runs those of the host's side, the child those of the container's. A hook that takes too long is killed.

use std::io::{self, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use onggi_oci::{Hook, State};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::io::Errno;

/// Of what a hook prints so much is told when it fails.
const LONGEST_OUTPUT: usize = 16 << 10;

/// Runs hooks one after another. `point` is their name in the specification; one without an environment of its own gets `environment`
/// (`NAME=value`), as with runc.
///
/// # Errors
/// The first that fails, in the words of runc.
pub fn run(point: &str, hooks: &[Hook], state: &State, environment: &[String]) -> Result<(), String> {
    let state = serde_json::to_vec(state).map_err(|error| format!("write the state for hooks: {error}"))?;
    for (number, hook) in hooks.iter().enumerate() {
        one(hook, &state, environment)
            .map_err(|problem| format!("error running {point} hook #{number}: {problem}"))?;
    }
    Ok(())
}

fn one(hook: &Hook, state: &[u8], environment: &[String]) -> Result<(), String> {
    let mut command = Command::new(&hook.path);
    if let [name, rest @ ..] = hook.args.as_slice() {
        command.arg0(name).args(rest);
    }
    command.env_clear();
    let environment = if hook.env.is_empty() { environment } else { &hook.env };
    command.envs(environment.iter().filter_map(|variable| variable.split_once('=')));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let words = |error: &io::Error| super::problem::words(error);
    let mut child = command.spawn().map_err(|error| format!("fork/exec {}: {}", hook.path, words(&error)))?;
    let timeout = hook.timeout.filter(|&seconds| seconds > 0).and_then(|seconds| u64::try_from(seconds).ok());
    let end = timeout.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let mut output = [Vec::new(), Vec::new()];
    let in_time = converse(&mut child, state, &mut output, end).map_err(|error| words(&error))?;
    if !in_time {
        // ESRCH only: it has just ended.
        let _ = child.kill();
    }
    let status = child.wait().map_err(|error| words(&error))?;
    if !in_time {
        return Err(format!("hook ran past specified timeout of {:.1}s", timeout.unwrap_or_default() as f64));
    }
    if status.success() {
        return Ok(());
    }
    let [stdout, stderr] = output.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    Err(format!("{}, stdout: {stdout}, stderr: {stderr}", describe(status)))
}

/// Writes the state to the hook and reads what it prints until it has ended; `false` if the time ran out before. What it leaves in the
/// background may keep the pipes, and is not waited for.
fn converse(
    child: &mut Child,
    mut state: &[u8],
    output: &mut [Vec<u8>; 2],
    end: Option<Instant>,
) -> io::Result<bool> {
    let process = rustix::process::pidfd_open(
        rustix::process::Pid::from_child(child),
        rustix::process::PidfdFlags::empty(),
    )?;
    let (mut stdin, mut stdout, mut stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    if let Some(stdin) = &stdin {
        // A long state is more than a pipe holds, and the hook may never read.
        rustix::io::ioctl_fionbio(stdin, true)?;
    }
    loop {
        if stdin.as_mut().is_some_and(|stdin| is_told(stdin, &mut state)) {
            stdin = None;
        }
        let mut polled = vec![PollFd::new(&process, PollFlags::IN)];
        polled.extend(stdout.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        polled.extend(stderr.iter().map(|pipe| PollFd::new(pipe, PollFlags::IN)));
        let read = polled.len();
        polled.extend(stdin.iter().map(|pipe| PollFd::new(pipe, PollFlags::OUT)));
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        let left =
            left.map(|left| Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() });
        match rustix::event::poll(&mut polled, left.as_ref()) {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(Errno::INTR) => continue,
            Err(error) => return Err(error.into()),
        }
        let ready: Vec<bool> = polled[..read].iter().map(|one| !one.revents().is_empty()).collect();
        let has_ended = ready[0];
        let mut others = ready[1..].iter();
        if stdout.is_some() && others.next() == Some(&true) && take(&mut stdout, &mut output[0])? {
            stdout = None;
        }
        if stderr.is_some() && others.next() == Some(&true) && take(&mut stderr, &mut output[1])? {
            stderr = None;
        }
        // Only with nothing left to read: what it printed last comes before its end.
        if has_ended && !ready[1..].contains(&true) {
            return Ok(true);
        }
    }
}

/// One write of what is left of the state; whether there is nothing more to write, or nobody who wants to know.
fn is_told(stdin: &mut impl Write, state: &mut &[u8]) -> bool {
    match stdin.write(state) {
        Ok(count) => *state = &state[count..],
        Err(error) => return !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
    }
    state.is_empty()
}

/// One read of what is there; whether that was the end.
fn take(pipe: &mut Option<impl Read>, output: &mut Vec<u8>) -> io::Result<bool> {
    let Some(pipe) = pipe else { return Ok(true) };
    let mut bytes = [0; 4096];
    let count = pipe.read(&mut bytes)?;
    let room = LONGEST_OUTPUT.saturating_sub(output.len());
    output.extend_from_slice(&bytes[..count.min(room)]);
    Ok(count == 0)
}

/// As Go's `os.ProcessState` says it.
fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("signal: {}", signal_words(signal)),
        (None, None) => "unknown end".to_owned(),
    }
}

/// Go's words for signals.
fn signal_words(signal: i32) -> String {
    let words = match signal {
        1 => "hangup",
        2 => "interrupt",
        3 => "quit",
        4 => "illegal instruction",
        5 => "trace/breakpoint trap",
        6 => "aborted",
        7 => "bus error",
        8 => "floating point exception",
        9 => "killed",
        10 => "user defined signal 1",
        11 => "segmentation fault",
        12 => "user defined signal 2",
        13 => "broken pipe",
        14 => "alarm clock",
        15 => "terminated",
        31 => "bad system call",
        other => return format!("signal {other}"),
    };
    words.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hook(script: &str, timeout: Option<i64>) -> Hook {
        let args = ["sh", "-c", script].map(str::to_owned).to_vec();
        Hook { path: "/bin/sh".into(), args, env: vec!["A=b c".into()], timeout }
    }

    fn outcome(script: &str, timeout: Option<i64>) -> Result<(), String> {
        run(
            "prestart",
            &[hook("true", None), hook(script, timeout)],
            &State { id: "jar".into(), ..State::default() },
            &[],
        )
    }

    #[test]
    fn the_state_comes_on_standard_input() {
        outcome(
            r#"read -r state; case $state in *'"id":"jar"'*) test "$A" = "b c";; *) exit 9;; esac"#,
            Some(5),
        )
        .unwrap();
    }

    #[test]
    fn a_failure_says_which_and_what_it_printed() {
        assert_eq!(
            outcome("echo out; echo err >&2; exit 3", None).unwrap_err(),
            "error running prestart hook #1: exit status 3, stdout: out\n, stderr: err\n"
        );
        let missing = Hook { path: "/nonexistent".into(), ..Hook::default() };
        assert_eq!(
            run("poststop", &[missing], &State::default(), &[]).unwrap_err(),
            "error running poststop hook #0: fork/exec /nonexistent: no such file or directory"
        );
    }

    #[test]
    fn one_that_takes_too_long_is_killed() {
        let error = outcome("exec sleep 1000", Some(1)).unwrap_err();
        assert_eq!(error, "error running prestart hook #1: hook ran past specified timeout of 1.0s");
    }

    #[test]
    fn a_state_of_more_than_a_pipe_is_written_and_read_or_not() {
        let annotations = [("long".to_owned(), "x".repeat(1 << 20))].into();
        let state = State { annotations, ..State::default() };
        let end = |script, timeout| run("prestart", &[hook(script, timeout)], &state, &[]);
        assert!(end("exec sleep 1000", Some(1)).unwrap_err().contains("ran past"));
        end("test $(wc -c) -gt 1048576", Some(30)).unwrap();
        end("exec 0<&-; echo not wanted", Some(30)).unwrap();
        end("head -c 100000 > /dev/null", Some(30)).unwrap();
    }

    #[test]
    fn what_it_leaves_behind_is_not_waited_for() {
        let before = Instant::now();
        outcome("sleep 5 & true", None).unwrap();
        assert!(before.elapsed() < Duration::from_secs(4));
    }
}
