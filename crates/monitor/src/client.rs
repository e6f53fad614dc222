//! The client's side of the protocol: spawn a monitor or connect to one, ask, and hear its answers.
//!
//! Blocking and without threads. One connection may have several questions open; answers carry the number of theirs, and what is not
//! yet wanted is kept. A client that waits and at the same time sends signals can do both on one connection, by polling it.

use std::collections::VecDeque;
use std::ffi::{CStr, CString};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use onggi_cgroup::{Cgroup, Layout};
use onggi_sys::program::ReadOnlyProgram;
use onggi_sys::spawn_into::{Begun, detached_into};
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketAddrUnix, SocketFlags, SocketType,
};

use rustix::net::sockopt::{Timeout, set_socket_timeout};

use crate::Error;
use crate::protocol::{Answer, MAX_DESCRIPTORS, MAX_PACKET, Question, Reply, Request, VERSION};

/// The name of the socket in a sandbox's directory.
pub const SOCKET: &str = "socket";
/// The file in a sandbox's directory on which a living monitor holds an OFD lock.
pub const ALIVE: &str = "alive";
/// The file there that says what the container was started with, and what it has been connected to since: [`crate::protocol::Start`] as JSON.
pub const START: &str = "start";
/// How long a monitor may take to say hello.
const PATIENCE: Duration = Duration::from_secs(5);
/// Where all monitors are, in every hierarchy: beside the containers, so that no limit of theirs counts for them.
pub(crate) const CGROUP: &str = "/onggi-monitors";

/// A connection to one monitor.
#[derive(Debug)]
pub struct Connection {
    socket: OwnedFd,
    pid: i32,
    next_number: u32,
    kept: VecDeque<Answer>,
}

/// Starts a monitor and returns the connection on which it expects `start` or `adopt` (no `hello` is needed: it is the version of
/// the program that was just executed). The monitor has left the caller's session when this returns; of the environment it keeps
/// `PATH` and what begins with `ONGGI_`. The caller reaps it ([`Connection::pid`]) if it means to outlive it. With the host's control
/// groups it is born in its own where the kernel can do that.
///
/// # Errors
/// [`Error::Spawn`] if the program cannot be executed.
pub fn spawn(program: &Path, cgroups: Option<&Layout>) -> Result<Connection, Error> {
    begin(program, cgroups)?.finish()
}

/// A monitor that may not run yet.
#[derive(Debug)]
pub struct Spawning {
    program: PathBuf,
    ours: OwnedFd,
    theirs: OwnedFd,
    /// What enters a container must not lend it the host's file (CVE-2019-5736). An ordinary user may not mount, and could not
    /// write the file either.
    guarded: Option<ReadOnlyProgram>,
    begun: Option<Begun>,
}

/// As [`spawn`], for a caller that has other things to do while the monitor comes to be. If this is dropped, so is the monitor.
///
/// # Errors
/// [`Error::Spawn`] if nothing can be spawned.
pub fn begin(program: &Path, cgroups: Option<&Layout>) -> Result<Spawning, Error> {
    let fail = |source| Error::Spawn { program: program.to_owned(), source };
    let (ours, theirs) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(|errno| fail(errno.into()))?;
    let guarded = ReadOnlyProgram::open(program).ok();
    let mut spawning = Spawning { program: program.to_owned(), ours, theirs, guarded, begun: None };
    // Whatever stands against it (the first monitor since the boot, a caller with threads, an ordinary user), the other way stays open:
    // the monitor moves by itself, which costs 7 ms after an idle moment (docs/decisions/0006-cgroup-join.md).
    if let Some(group) = cgroups.and_then(v2_group) {
        spawning.begun = spawning
            .execute(|program, arguments, environment, descriptor| {
                detached_into(group.as_fd(), program, arguments, environment, descriptor)
            })
            .ok();
    }
    Ok(spawning)
}

impl Spawning {
    /// Waits until the monitor's program runs.
    ///
    /// # Errors
    /// [`Error::Spawn`] if it cannot be executed.
    pub fn finish(mut self) -> Result<Connection, Error> {
        let born = self.begun.take().and_then(|begun| begun.finish().ok());
        let pid = match born {
            Some(pid) => pid,
            None => self
                .execute(onggi_sys::spawn::detached)
                .map_err(|source| Error::Spawn { program: self.program.clone(), source })?,
        };
        Ok(Connection::new(self.ours, pid))
    }

    fn execute<T>(
        &self,
        how: impl FnOnce(&CStr, &[&CStr], &[&CStr], BorrowedFd<'_>) -> io::Result<T>,
    ) -> io::Result<T> {
        let path = CString::new(self.program.as_os_str().as_bytes())?;
        let environment = environment();
        let environment: Vec<&CStr> = environment.iter().map(CString::as_c_str).collect();
        let executed = self.guarded.as_ref().map_or_else(|| path.clone(), ReadOnlyProgram::path);
        how(&executed, &[path.as_c_str()], &environment, self.theirs.as_fd())
    }
}

/// The monitors' directory in the v2 tree, if there is one already.
fn v2_group(cgroups: &Layout) -> Option<OwnedFd> {
    Cgroup::open_v2_dir(cgroups, CGROUP).ok()?
}

/// Connects to the monitor of a sandbox and says hello.
///
/// # Errors
/// [`Error::Connect`] if nobody listens there, [`Error::Silent`] if nothing is answered within five seconds, [`Error::Refused`] with kind
/// `unsupported` if the monitor does not speak our version.
pub fn connect(sandbox: &Path) -> Result<Connection, Error> {
    let connection = connect_within(sandbox, PATIENCE)?;
    limit(&connection.socket, None)
        .map_err(|errno| Error::Connect { socket: sandbox.join(SOCKET), source: errno.into() })?;
    Ok(connection)
}

/// One question to the monitor of a sandbox, with at most `patience` for each wait: to connect, for its hello, for the answer.
///
/// # Errors
/// As [`connect`]; [`Error::Receive`] if the answer does not come in time.
pub fn ask_within(sandbox: &Path, request: &Request, patience: Duration) -> Result<Reply, Error> {
    connect_within(sandbox, patience)?.call(request, &[])
}

/// A connection whose waits stay bounded.
fn connect_within(sandbox: &Path, patience: Duration) -> Result<Connection, Error> {
    let fail =
        |errno: rustix::io::Errno| Error::Connect { socket: sandbox.join(SOCKET), source: errno.into() };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let directory = rustix::fs::open(sandbox, flags, Mode::empty()).map_err(fail)?;
    // A socket's address holds 107 bytes, and sandbox directories may lie deep.
    let short = format!("/proc/self/fd/{}/{SOCKET}", std::os::fd::AsRawFd::as_raw_fd(&directory));
    let address = SocketAddrUnix::new(short).map_err(fail)?;
    let socket =
        rustix::net::socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
            .map_err(fail)?;
    // A monitor that is stopped takes connections into its queue and never speaks.
    limit(&socket, Some(patience)).map_err(fail)?;
    let silent = |errno: rustix::io::Errno| match errno {
        rustix::io::Errno::AGAIN => Error::Silent { socket: sandbox.join(SOCKET), patience },
        errno => fail(errno),
    };
    rustix::net::connect(&socket, &address).map_err(silent)?;
    let mut connection = Connection::new(socket, 0);
    match connection.call(&Request::Hello { version: VERSION }, &[]) {
        Ok(Reply::Hello { pid, .. }) => connection.pid = pid,
        Ok(other) => return Err(unexpected("hello", &other)),
        Err(Error::Receive { source } | Error::Send { source, .. })
            if source.kind() == io::ErrorKind::WouldBlock =>
        {
            return Err(silent(rustix::io::Errno::AGAIN));
        }
        Err(error) => return Err(error),
    }
    Ok(connection)
}

/// Bounds each wait on a socket.
fn limit(socket: &OwnedFd, time: Option<Duration>) -> Result<(), rustix::io::Errno> {
    set_socket_timeout(socket, Timeout::Send, time)?;
    set_socket_timeout(socket, Timeout::Recv, time)
}

impl Connection {
    fn new(socket: OwnedFd, pid: i32) -> Connection {
        Connection { socket, pid, next_number: 1, kept: VecDeque::new() }
    }

    /// The monitor's process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// Sends a question and returns the number that its answers will carry.
    ///
    /// # Errors
    /// [`Error::TooLarge`], [`Error::Send`], [`Error::Gone`].
    pub fn send(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<u32, Error> {
        let op = request.name();
        let number = self.next_number;
        let packet = serde_json::to_vec(&Question { number, request: request.clone() })
            .map_err(|source| Error::Message { source })?;
        if packet.len() > MAX_PACKET {
            return Err(Error::TooLarge { op, size: packet.len(), limit: MAX_PACKET });
        }
        send_packet(self.socket.as_fd(), &packet, descriptors, SendFlags::NOSIGNAL).map_err(|source| {
            match source.kind() {
                io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Error::Gone,
                _ => Error::Send { op, source },
            }
        })?;
        self.next_number += 1;
        Ok(number)
    }

    /// The next answer, to whichever question; waits for it.
    ///
    /// # Errors
    /// [`Error::Gone`] once the monitor has hung up, [`Error::Receive`], [`Error::Message`].
    pub fn receive(&mut self) -> Result<Answer, Error> {
        match self.kept.pop_front() {
            Some(answer) => Ok(answer),
            None => self.receive_new(),
        }
    }

    /// The next answer if one is there already. For those who poll [`Connection::as_fd`]: call it until it says `None`, since
    /// [`Connection::reply_to`] may have kept answers that no longer make the socket readable.
    ///
    /// # Errors
    /// As [`Connection::receive`].
    pub fn try_receive(&mut self) -> Result<Option<Answer>, Error> {
        if let Some(answer) = self.kept.pop_front() {
            return Ok(Some(answer));
        }
        let mut poll = [rustix::event::PollFd::new(&self.socket, rustix::event::PollFlags::IN)];
        let now = rustix::event::Timespec { tv_sec: 0, tv_nsec: 0 };
        let ready = rustix::io::retry_on_intr(|| rustix::event::poll(&mut poll, Some(&now)))
            .map_err(|errno| Error::Receive { source: errno.into() })?;
        if ready == 0 { Ok(None) } else { self.receive_new().map(Some) }
    }

    /// The next answer to this question; waits for it and keeps the others.
    ///
    /// # Errors
    /// As [`Connection::receive`], and [`Error::Refused`] if the answer is an error.
    pub fn reply_to(&mut self, number: u32) -> Result<Reply, Error> {
        let answer = match self.kept.iter().position(|answer| answer.number == number) {
            Some(at) => self.kept.remove(at),
            None => None,
        };
        let answer = match answer {
            Some(answer) => answer,
            None => loop {
                let answer = self.receive_new()?;
                if answer.number == number {
                    break answer;
                }
                self.kept.push_back(answer);
            },
        };
        match answer.reply {
            Reply::Error { kind, step, errno, message } => Err(Error::Refused { kind, step, errno, message }),
            reply => Ok(reply),
        }
    }

    /// Asks and waits for the first answer.
    ///
    /// # Errors
    /// As [`Connection::send`] and [`Connection::reply_to`].
    pub fn call(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<Reply, Error> {
        let number = self.send(request, descriptors)?;
        self.reply_to(number)
    }

    /// Asks something whose answer is `ok`.
    ///
    /// # Errors
    /// As [`Connection::call`], and [`Error::Unexpected`] for another answer.
    pub fn order(&mut self, request: &Request, descriptors: &[BorrowedFd<'_>]) -> Result<u32, Error> {
        let number = self.send(request, descriptors)?;
        match self.reply_to(number)? {
            Reply::Ok => Ok(number),
            other => Err(unexpected(request.name(), &other)),
        }
    }

    fn receive_new(&mut self) -> Result<Answer, Error> {
        let mut buffer = vec![0; MAX_PACKET];
        let length = rustix::io::retry_on_intr(|| {
            rustix::net::recv(&self.socket, buffer.as_mut_slice(), RecvFlags::empty())
                .map(|(length, _)| length)
        })
        .map_err(|errno| match errno {
            // It ended while a question was on its way.
            rustix::io::Errno::CONNRESET => Error::Gone,
            errno => Error::Receive { source: errno.into() },
        })?;
        if length == 0 {
            return Err(Error::Gone);
        }
        serde_json::from_slice(&buffer[..length]).map_err(|source| Error::Message { source })
    }
}

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The error for an answer that does not belong to the question.
#[must_use]
pub fn unexpected(op: &'static str, reply: &Reply) -> Error {
    let got = serde_json::to_string(reply).unwrap_or_default();
    Error::Unexpected { op, got }
}

/// One packet with descriptors beside it; used by both sides.
///
/// # Errors
/// The kernel's; `E2BIG` for more than [`MAX_DESCRIPTORS`].
pub fn send_packet(
    socket: BorrowedFd<'_>,
    packet: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(rustix::io::Errno::TOOBIG.into());
    }
    rustix::io::retry_on_intr(|| {
        rustix::net::sendmsg(socket, &[io::IoSlice::new(packet)], &mut ancillary, flags)
    })?;
    Ok(())
}

/// Receives one packet into `buffer` and its descriptors into `descriptors`. 0: the other side hung up.
///
/// # Errors
/// The kernel's; `EMSGSIZE` if the packet or its descriptors did not fit.
pub fn receive_packet(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    descriptors: &mut Vec<OwnedFd>,
    flags: RecvFlags,
) -> io::Result<usize> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::io::retry_on_intr(|| {
        rustix::net::recvmsg(
            socket,
            &mut [io::IoSliceMut::new(buffer)],
            &mut ancillary,
            flags | RecvFlags::CMSG_CLOEXEC,
        )
    })?;
    for message in ancillary.drain() {
        if let rustix::net::RecvAncillaryMessage::ScmRights(rights) = message {
            descriptors.extend(rights);
        }
    }
    if received.flags.intersects(rustix::net::ReturnFlags::TRUNC | rustix::net::ReturnFlags::CTRUNC) {
        return Err(rustix::io::Errno::MSGSIZE.into());
    }
    Ok(received.bytes)
}

/// Has the allocator keep no freed blocks for the next who asks: some are at hand for each size, on as many pages, and the kernel gets none of
/// those back (`malloc_trim(3)` takes them for used). After some execs that is a third of a monitor's memory.
const NO_SPARE_BLOCKS: &CStr = c"GLIBC_TUNABLES=glibc.malloc.tcache_count=0";

/// What a monitor keeps of its caller's environment: a container outlives the session whose secrets the rest may hold.
fn environment() -> Vec<CString> {
    let kept = std::env::vars_os()
        .filter(|(name, _)| name == "PATH" || name.as_bytes().starts_with(b"ONGGI_"))
        .filter_map(|(name, value)| {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend(value.into_vec());
            CString::new(entry).ok()
        });
    std::iter::once(NO_SPARE_BLOCKS.to_owned()).chain(kept).collect()
}
