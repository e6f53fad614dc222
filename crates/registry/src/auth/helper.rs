//! Credential helpers: programs `docker-credential-NAME` that keep secrets in a keychain (docker/docker-credential-helpers' protocol).

use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};

use serde::{Deserialize, Serialize};

use super::Credential;
use crate::error::Error;

/// More than any token is long.
const ANSWER_LIMIT: u64 = 1 << 20;
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
pub(crate) fn get(helper: &str, server: &str) -> Result<Option<Credential>, Error> {
    let (success, answer) = call(helper, "get", server.as_bytes())?;
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
pub(crate) fn store(helper: &str, server: &str, credential: &Credential) -> Result<(), Error> {
    let (username, secret) = match credential {
        Credential::Password { user, password } => (user.clone(), password.clone()),
        Credential::Identity { token } | Credential::Registry { token } => {
            (TOKEN_USER.to_owned(), token.clone())
        }
    };
    let entry = Entry { server_url: server.to_owned(), username, secret };
    let input = serde_json::to_vec(&entry).map_err(|error| failed(helper, error.to_string()))?;
    match call(helper, "store", &input)? {
        (true, _) => Ok(()),
        (false, answer) => Err(failed(helper, String::from_utf8_lossy(&answer).trim().to_owned())),
    }
}

/// Has the helper forget what it keeps for a server. Nothing to forget is no error.
pub(crate) fn erase(helper: &str, server: &str) -> Result<(), Error> {
    match call(helper, "erase", server.as_bytes())? {
        (true, _) => Ok(()),
        (false, answer) if String::from_utf8_lossy(&answer).contains("credentials not found") => Ok(()),
        (false, answer) => Err(failed(helper, String::from_utf8_lossy(&answer).trim().to_owned())),
    }
}

fn failed(helper: &str, reason: String) -> Error {
    Error::Helper { helper: helper.to_owned(), reason }
}

fn call(helper: &str, verb: &str, input: &[u8]) -> Result<(bool, Vec<u8>), Error> {
    let io = |error: std::io::Error| failed(helper, error.to_string());
    // The name comes from a file of the user's; it must still be a name, and no path to something else.
    if !helper.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.')) {
        return Err(failed(helper, "this is no name of a helper".to_owned()));
    }
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg(verb)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(io)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that has seen enough may close it; its answer says whether that was right.
        let _ = stdin.write_all(input);
    }
    let mut answer = Vec::new();
    let read = match child.stdout.take() {
        Some(stdout) => stdout.take(ANSWER_LIMIT).read_to_end(&mut answer),
        None => Ok(0),
    };
    let status = child.wait().map_err(io)?;
    read.map_err(io)?;
    Ok((status.success(), answer))
}
