//! Talking to the program `criu`: one request, answered over a socket pair, with notifications on the way (`criu swrk`).
//!
//! `criu` is started for one request and ends with it. It is a direct child of this program's, so that what it restores as its own
//! sibling becomes a child of this program's as well.

use std::io::{IoSliceMut, Read};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use rustix::io::FdFlags;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags, SocketFlags,
    SocketType,
};

use super::super::error::Error as ProgramError;
use super::error::Error;
use super::message::{self, Feature, Kind, Notification, Response};

/// As large as runc takes an answer.
const LARGEST_ANSWER: usize = 40 << 10;

/// A `criu` that answers.
#[derive(Debug)]
pub(crate) struct Criu {
    program: PathBuf,
    /// 40200 is 4.2.0.
    pub(crate) version: u32,
}

/// What is done at each notification; with `orphan-pts-master` comes a descriptor.
pub(crate) type Notified<'a> = dyn FnMut(&Notification, Option<OwnedFd>) -> Result<(), ProgramError> + 'a;

impl Criu {
    /// The program of this name, or `criu` in `$PATH`, asked for its version.
    pub(crate) fn find(named: Option<&str>) -> Result<Criu, Error> {
        let program = look_up(named.filter(|name| !name.is_empty()).unwrap_or("criu"))?;
        let criu = Criu { program, version: 0 };
        let answer =
            criu.ask(&message::version_request()).map_err(|error| Error::Version(Box::new(error)))?;
        match answer.version {
            Some(version) => Ok(Criu { version, ..criu }),
            None => Err(Error::Unexpected("it has no version".to_owned())),
        }
    }

    /// Whether it is of this version or a newer one.
    pub(crate) fn require(&self, needed: u32, what: &'static str) -> Result<(), Error> {
        if self.version < needed { Err(Error::TooOld { what, found: self.version, needed }) } else { Ok(()) }
    }

    pub(crate) fn require_feature(&self, feature: Feature) -> Result<(), Error> {
        let answer = self.ask(&message::feature_request(feature))?;
        if answer.has(feature) { Ok(()) } else { Err(Error::Missing { feature: feature.name() }) }
    }

    /// Starts it with these streams (or none) and with descriptors of ours, under the numbers that they have here.
    pub(crate) fn start(&self, streams: bool, descriptors: &[BorrowedFd<'_>]) -> Result<Talk, Error> {
        let flags = SocketFlags::CLOEXEC;
        let (ours, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)
            .map_err(|error| Error::system("socketpair", error))?;
        let mut command = Command::new(&self.program);
        command.arg("swrk").arg(theirs.as_raw_fd().to_string());
        if !streams {
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        }
        // Nothing else that somebody left open for us is for it, or for what it restores.
        onggi_sys::process::cloexec_range(3, u32::MAX)
            .map_err(|error| Error::system("close_range", error))?;
        let passed = [theirs.as_fd()].into_iter().chain(descriptors.iter().copied());
        for descriptor in passed {
            rustix::io::fcntl_setfd(descriptor, FdFlags::empty())
                .map_err(|error| Error::system("fcntl", error))?;
        }
        let child =
            command.spawn().map_err(|error| Error::system(format!("exec {:?}", self.program), error))?;
        // Their own end is dropped here, so that its end is seen.
        for descriptor in descriptors {
            rustix::io::fcntl_setfd(descriptor, FdFlags::CLOEXEC)
                .map_err(|error| Error::system("fcntl", error))?;
        }
        Ok(Talk { child, socket: Some(ours) })
    }

    /// A question that changes nothing.
    fn ask(&self, request: &[u8]) -> Result<Response, Error> {
        let mut talk = self.start(false, &[])?;
        talk.send(request)?;
        let (answer, _) = talk.receive()?;
        if !answer.success {
            return Err(failed(&answer));
        }
        Ok(answer)
    }
}

/// A `criu` that waits for its request.
#[derive(Debug)]
pub(crate) struct Talk {
    child: Child,
    /// Gone once nothing is to be said any more.
    socket: Option<OwnedFd>,
}

impl Talk {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends the request, and follows it to its end.
    pub(crate) fn follow(
        mut self,
        kind: Kind,
        request: &[u8],
        notified: &mut Notified<'_>,
    ) -> Result<(), ProgramError> {
        self.send(request)?;
        loop {
            let (answer, descriptor) = self.receive()?;
            if !answer.success {
                return Err(failed(&answer).into());
            }
            if answer.kind == kind {
                break;
            }
            let Some(notification) = answer.notification.filter(|_| answer.kind == Kind::Notify) else {
                let name = answer.kind.name();
                return Err(Error::Unexpected(format!("type {name} to a {}", kind.name())).into());
            };
            let outcome = notified(&notification, descriptor);
            // Told that it must not go on, it takes back what it has done.
            self.send(&message::notified(outcome.is_ok()))?;
            outcome?;
        }
        self.socket = None;
        let status = self.child.wait().map_err(|error| Error::system("wait for criu", error))?;
        // After a pre-dump it waits for the dump that is to follow, and does not like that none does.
        if !status.success() && kind != Kind::PreDump {
            return Err(Error::Ended(status).into());
        }
        Ok(())
    }

    fn send(&self, message: &[u8]) -> Result<(), Error> {
        let Some(socket) = &self.socket else { return Ok(()) };
        match rustix::io::retry_on_intr(|| rustix::net::send(socket, message, SendFlags::NOSIGNAL)) {
            // What it has died of it may have said.
            Ok(_) | Err(rustix::io::Errno::PIPE) => Ok(()),
            Err(error) => Err(Error::system("send to criu", error)),
        }
    }

    fn receive(&mut self) -> Result<(Response, Option<OwnedFd>), Error> {
        let fail = |error: rustix::io::Errno| Error::system("receive from criu", error);
        let socket = self.socket.as_ref().ok_or_else(|| fail(rustix::io::Errno::NOTCONN))?;
        let mut bytes = vec![0; LARGEST_ANSWER];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let received = rustix::io::retry_on_intr(|| {
            let mut slices = [IoSliceMut::new(&mut bytes)];
            rustix::net::recvmsg(socket, &mut slices, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        });
        let received = match received {
            Ok(received) if received.bytes > 0 => received,
            // It has ended; CONNRESET: before it has read what was said to it.
            Ok(_) | Err(rustix::io::Errno::CONNRESET) => {
                self.socket = None;
                let status = self.child.wait().map_err(|error| Error::system("wait for criu", error))?;
                return Err(Error::Silent(status));
            }
            Err(error) => return Err(fail(error)),
        };
        if received.flags.contains(ReturnFlags::TRUNC) {
            return Err(Error::Unexpected(format!("it is longer than {LARGEST_ANSWER} bytes")));
        }
        let descriptor = ancillary.drain().find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        });
        Ok((Response::parse(&bytes[..received.bytes])?, descriptor))
    }
}

impl Drop for Talk {
    /// It ends when nobody listens; what it has not finished it takes back.
    fn drop(&mut self) {
        self.socket = None;
        let _ = self.child.wait();
    }
}

fn failed(answer: &Response) -> Error {
    Error::Failed { kind: answer.kind.name(), errno: answer.errno }
}

/// As execvp(3), and only to say it before anything is done: a name without a slash is looked for in `$PATH`.
fn look_up(name: &str) -> Result<PathBuf, Error> {
    let is_program = |path: &Path| {
        path.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
    };
    let found = if name.contains('/') {
        Some(PathBuf::from(name)).filter(|path| is_program(path))
    } else {
        let path = std::env::var_os("PATH").unwrap_or_default();
        std::env::split_paths(&path).map(|directory| directory.join(name)).find(|path| is_program(path))
    };
    found.ok_or_else(|| Error::NotFound { program: name.to_owned() })
}

/// `/proc/PID/cgroup` as CRIU wants it: each controller, and the group of it (cgroups(7)). Empty for version 2.
pub(crate) fn cgroup_roots(pid: u32) -> Result<Vec<(String, String)>, Error> {
    let path = format!("/proc/{pid}/cgroup");
    let mut text = String::new();
    std::fs::File::open(&path)
        .and_then(|mut file| file.read_to_string(&mut text))
        .map_err(|error| Error::system(format!("read {path}"), error))?;
    Ok(parse_cgroups(&text))
}

fn parse_cgroups(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().filter_map(|line| line.split_once(':')?.1.split_once(':'));
    lines
        .flat_map(|(controllers, group)| {
            controllers.split(',').map(|controller| (controller.to_owned(), group.to_owned()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_controller_has_its_group() {
        let text = "12:cpu,cpuacct:/a/b\n3:name=systemd:/c:d\n0::/\n";
        let expected = [("cpu", "/a/b"), ("cpuacct", "/a/b"), ("name=systemd", "/c:d"), ("", "/")];
        assert_eq!(parse_cgroups(text), expected.map(|(name, path)| (name.to_owned(), path.to_owned())));
    }

    #[test]
    fn a_program_that_is_not_there_is_named_with_what_to_do() {
        let error = Criu::find(Some("/nonexistent/criu")).unwrap_err().to_string();
        assert!(error.contains("\"/nonexistent/criu\": executable file not found in $PATH"), "{error}");
        assert!(error.contains("install"), "{error}");
    }

    /// What answers with anything else than CRIU's protocol, or not at all, is an error that says so.
    #[test]
    fn a_program_that_is_no_criu_is_found_out() {
        assert!(
            matches!(Criu::find(Some("true")), Err(Error::Version(error)) if matches!(*error, Error::Silent(_)))
        );
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("criu");
        let script = "#!/bin/bash\ndd bs=4096 count=1 of=/dev/null status=none <&$2\nprintf nonsense >&$2\n";
        std::fs::write(&program, script).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let error = Criu::find(program.to_str()).unwrap_err();
        let Error::Version(error) = error else { panic!("{error}") };
        assert!(matches!(*error, Error::Malformed(_)), "{error}");
    }
}
