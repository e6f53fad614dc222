//! Credential helpers: programs `docker-credential-NAME` that keep secrets in a keychain (docker/docker-credential-helpers' protocol).

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use onggi_image::excerpt;
use serde::{Deserialize, Serialize};

use super::Credential;
use crate::error::Error;
use crate::watch::Watch;

/// More than any token is long.
const ANSWER_LIMIT: usize = 1 << 20;
/// How long a helper may take where nobody can be asked. Where somebody can, as long as that takes.
const PATIENCE: Duration = Duration::from_secs(60);
const TICK: Duration = Duration::from_millis(100);
const MOMENT: Duration = Duration::from_millis(5);
/// What of its standard error is passed on: lines, and bytes of each.
const MOST_LINES: usize = 100;
const LONGEST_LINE: u64 = 1000;
/// The user name that says that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    #[serde(rename = "ServerURL", default)]
    server_url: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    secret: String,
}

/// What the helper keeps for a server, if anything.
pub(crate) fn get(helper: &str, server: &str, watch: &dyn Watch) -> Result<Option<Credential>, Error> {
    let (success, answer) = call(helper, "get", server.as_bytes(), watch)?;
    if !success {
        let text = String::from_utf8_lossy(&answer).trim().to_owned();
        // The protocol has this text, not a code, for "none".
        if text.contains("credentials not found") {
            return Ok(None);
        }
        return Err(failed(helper, text));
    }
    let entry: Entry = serde_json::from_slice(&answer)
        // The error would quote the secret.
        .map_err(|_| failed(helper, "its answer is not what the protocol says".to_owned()))?;
    Ok(Some(match entry {
        Entry { username, secret: token, .. } if username == TOKEN_USER => Credential::Identity { token },
        Entry { username: user, secret: password, .. } => Credential::Password { user, password },
    }))
}

/// Has the helper keep credentials.
pub(crate) fn store(
    helper: &str,
    server: &str,
    credential: &Credential,
    watch: &dyn Watch,
) -> Result<(), Error> {
    let (username, secret) = match credential {
        Credential::Password { user, password } => (user.clone(), password.clone()),
        Credential::Identity { token } | Credential::Registry { token } => {
            (TOKEN_USER.to_owned(), token.clone())
        }
    };
    let entry = Entry { server_url: server.to_owned(), username, secret };
    let input = serde_json::to_vec(&entry).map_err(|error| failed(helper, error.to_string()))?;
    match call(helper, "store", &input, watch)? {
        (true, _) => Ok(()),
        (false, answer) => Err(failed(helper, String::from_utf8_lossy(&answer).trim().to_owned())),
    }
}

/// Has the helper forget what it keeps for a server. Nothing to forget is no error.
pub(crate) fn erase(helper: &str, server: &str, watch: &dyn Watch) -> Result<(), Error> {
    match call(helper, "erase", server.as_bytes(), watch)? {
        (true, _) => Ok(()),
        (false, answer) if String::from_utf8_lossy(&answer).contains("credentials not found") => Ok(()),
        (false, answer) => Err(failed(helper, String::from_utf8_lossy(&answer).trim().to_owned())),
    }
}

fn failed(helper: &str, reason: String) -> Error {
    Error::Helper { helper: helper.to_owned(), reason: excerpt(&reason) }
}

fn call(helper: &str, verb: &str, input: &[u8], watch: &dyn Watch) -> Result<(bool, Vec<u8>), Error> {
    // The name comes from a file of the user's; it must still be a name, and no path to something else.
    if !helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        return Err(failed(helper, "this is no name of a helper".to_owned()));
    }
    let mut command = Command::new(format!("docker-credential-{helper}"));
    run(command.arg(verb), helper, input, watch, PATIENCE)
}

/// Runs the helper. What it says on standard error is told line by line, as it comes: it may ask for a key to be touched.
fn run(
    command: &mut Command,
    helper: &str,
    input: &[u8],
    watch: &dyn Watch,
    patience: Duration,
) -> Result<(bool, Vec<u8>), Error> {
    let io = |error: io::Error| failed(helper, error.to_string());
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().map_err(io)?;
    let (sender, said) = channel();
    let listening = listen(&mut child, sender, input.to_vec()).map_err(io);
    let waited = listening.and_then(|()| wait(&mut child, &said, helper, watch, patience));
    if waited.is_err() {
        // It may have ended by itself.
        let _ = child.kill();
    }
    let status = child.wait().map_err(io)?;
    Ok((status.success(), waited?))
}

/// What comes from a helper.
enum Said {
    Line(String),
    Answer(Vec<u8>),
}

/// Threads that end when the helper closes its ends, however long that takes: who started them does not wait for them.
fn listen(child: &mut Child, sender: Sender<Said>, input: Vec<u8>) -> io::Result<()> {
    let named = || thread::Builder::new().name("helper".to_owned());
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that has seen enough may close it; its answer says whether that was right.
        named().spawn(move || stdin.write_all(&input))?;
    }
    if let Some(mut stdout) = child.stdout.take() {
        let sender = sender.clone();
        named().spawn(move || {
            let mut buffer = [0; 4096];
            // Nobody listens any more to one that was given up; so below.
            while let Ok(count @ 1..) = stdout.read(&mut buffer)
                && sender.send(Said::Answer(buffer[..count].to_vec())).is_ok()
            {}
        })?;
    }
    if let Some(stderr) = child.stderr.take() {
        named().spawn(move || {
            let mut stderr = BufReader::new(stderr);
            for _ in 0..MOST_LINES {
                let mut line = Vec::new();
                match stderr.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line) {
                    Ok(0) | Err(_) => return,
                    Ok(_) => {
                        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                        let _ = sender.send(Said::Line(line));
                    }
                }
            }
            drop(sender);
            // It must not wait for a reader.
            let _ = io::copy(&mut stderr, &mut io::sink());
        })?;
    }
    Ok(())
}

/// Waits until it has said all and has ended. Returns its answer.
fn wait(
    child: &mut Child,
    said: &Receiver<Said>,
    helper: &str,
    watch: &dyn Watch,
    patience: Duration,
) -> Result<Vec<u8>, Error> {
    let deadline = (!watch.may_ask()).then(|| Instant::now() + patience);
    let (mut answer, mut ended) = (Vec::new(), false);
    loop {
        match said.recv_timeout(TICK) {
            Ok(Said::Line(line)) => watch.said(&format!("docker-credential-{helper}"), &line),
            Ok(Said::Answer(more)) => answer.extend_from_slice(&more),
            // Whoever it has left behind with its output has had the time to say something.
            Err(RecvTimeoutError::Timeout) if ended => return Ok(answer),
            Err(reason) => {
                let status = child.try_wait().map_err(|error| failed(helper, error.to_string()))?;
                ended = status.is_some();
                match reason {
                    RecvTimeoutError::Disconnected if ended => return Ok(answer),
                    // It is about to end.
                    RecvTimeoutError::Disconnected => thread::sleep(MOMENT),
                    RecvTimeoutError::Timeout => {}
                }
            }
        }
        if answer.len() > ANSWER_LIMIT {
            return Err(failed(helper, format!("its answer is longer than {ANSWER_LIMIT} bytes")));
        }
        if watch.is_interrupted() {
            return Err(Error::Interrupted);
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            let reason = format!("it has not answered within {} seconds", patience.as_secs_f64());
            return Err(failed(helper, reason));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Mutex;

    #[derive(Debug, Default)]
    struct Heard {
        lines: Mutex<Vec<String>>,
        somebody: bool,
    }

    impl Watch for Heard {
        fn said(&self, program: &str, line: &str) {
            self.lines.lock().unwrap().push(format!("{program}: {line}"));
        }

        fn may_ask(&self) -> bool {
            self.somebody
        }
    }

    fn shell(script: &str, heard: &Heard, patience: u64) -> Result<(bool, Vec<u8>), Error> {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        run(&mut command, "test", b"in", heard, Duration::from_millis(patience))
    }

    #[test]
    fn what_it_says_is_told_and_what_it_answers_is_its_own() {
        let heard = Heard::default();
        let answer = shell(r"printf '\033[2Jhi\nmore' >&2; cat", &heard, 60_000).unwrap();
        assert_eq!(answer, (true, b"in".to_vec()));
        assert_eq!(
            *heard.lines.lock().unwrap(),
            ["docker-credential-test: \x1b[2Jhi", "docker-credential-test: more"]
        );
        assert_eq!(shell("echo no; exit 1", &heard, 60_000).unwrap(), (false, b"no\n".to_vec()));
        // Neither more lines than anybody reads nor whoever it leaves behind is waited for.
        let heard = Heard::default();
        let answer = shell("sleep 9 & yes | head -n 100000 >&2; echo x", &heard, 60_000).unwrap();
        assert_eq!(answer, (true, b"x\n".to_vec()));
        assert_eq!(heard.lines.lock().unwrap().len(), MOST_LINES);
    }

    #[test]
    fn its_time_and_its_answer_have_an_end() {
        for (script, expected) in [
            ("exec sleep 1000", "not answered within 0.2 seconds"),
            ("exec >&- 2>&-; exec sleep 1000", "not answered"),
        ] {
            let error = shell(script, &Heard::default(), 200).unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let error = shell("exec cat /dev/zero", &Heard::default(), 60_000).unwrap_err();
        assert!(error.to_string().contains("longer than"), "{error}");
        let asked = Heard { somebody: true, ..Heard::default() };
        let answer = shell("sleep 0.5; echo x", &asked, 10).unwrap();
        assert_eq!(answer, (true, b"x\n".to_vec()), "a person takes longer");
    }
}
