//! Starting a program that leaves its caller: `posix_spawn(3)`, which in glibc is one `clone` with `CLONE_VM | CLONE_VFORK`, so that
//! a large caller does not pay for copying its page tables.

use std::ffi::CStr;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};

// glibc's value, missing in the crate libc for some targets.
const SETSID: libc::c_short = 0x80;

/// Starts `program` in a session of its own, with default signal dispositions, no signal blocked, `/dev/null` as its standard
/// streams and `descriptor` as its descriptor 3. Of the others it gets those that are not close-on-exec: what the caller itself
/// inherited, which the program closes when it begins (here it may still be needed to reach `program`). Returns the process id,
/// which the caller has to reap.
///
/// # Errors
/// The kernel's word on the clone or the exec (`ENOENT`, `EACCES`, `EAGAIN` …).
pub fn detached(
    program: &CStr,
    arguments: &[&CStr],
    environment: &[&CStr],
    descriptor: BorrowedFd<'_>,
) -> io::Result<i32> {
    let mut actions = FileActions::new()?;
    for stream in 0..3 {
        actions.open_null(stream)?;
    }
    actions.duplicate(descriptor.as_raw_fd(), 3)?;
    let attributes = Attributes::new()?;
    let pointers = |texts: &[&CStr]| -> Vec<*mut libc::c_char> {
        texts.iter().map(|text| text.as_ptr().cast_mut()).chain([std::ptr::null_mut()]).collect()
    };
    let (argv, envp) = (pointers(arguments), pointers(environment));
    let mut pid = 0;
    // SAFETY: the actions and attributes are initialised, both arrays end with a null pointer, and their texts outlive the call.
    check(unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            argv.as_ptr(),
            envp.as_ptr(),
        )
    })?;
    Ok(pid)
}

struct FileActions(libc::posix_spawn_file_actions_t);

impl FileActions {
    fn new() -> io::Result<FileActions> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the call initialises what it is given, and says so by returning 0.
        check(unsafe { libc::posix_spawn_file_actions_init(actions.as_mut_ptr()) })?;
        // SAFETY: initialised by the call above.
        Ok(FileActions(unsafe { actions.assume_init() }))
    }

    fn open_null(&mut self, target: i32) -> io::Result<()> {
        // SAFETY: initialised; the path is copied by glibc and static anyway.
        check(unsafe {
            libc::posix_spawn_file_actions_addopen(
                &raw mut self.0,
                target,
                c"/dev/null".as_ptr(),
                libc::O_RDWR,
                0,
            )
        })
    }

    fn duplicate(&mut self, from: i32, to: i32) -> io::Result<()> {
        // SAFETY: initialised. If both are the same, glibc (2.29 and newer) clears close-on-exec.
        check(unsafe { libc::posix_spawn_file_actions_adddup2(&raw mut self.0, from, to) })
    }
}

impl Drop for FileActions {
    fn drop(&mut self) {
        // SAFETY: initialised, and never used again.
        unsafe { libc::posix_spawn_file_actions_destroy(&raw mut self.0) };
    }
}

struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Attributes> {
        let mut attributes = MaybeUninit::uninit();
        // SAFETY: the call initialises what it is given, and says so by returning 0.
        check(unsafe { libc::posix_spawnattr_init(attributes.as_mut_ptr()) })?;
        // SAFETY: initialised by the call above.
        let mut attributes = Attributes(unsafe { attributes.assume_init() });
        // SAFETY: a signal set is plain data, and the two calls initialise it.
        let (all, none) = unsafe {
            let (mut all, mut none) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&raw mut all);
            libc::sigemptyset(&raw mut none);
            (all, none)
        };
        let flags = SETSID
            | libc::POSIX_SPAWN_SETSIGDEF as libc::c_short
            | libc::POSIX_SPAWN_SETSIGMASK as libc::c_short;
        // SAFETY: initialised; the sets are read during the calls only.
        unsafe {
            check(libc::posix_spawnattr_setsigdefault(&raw mut attributes.0, &raw const all))?;
            check(libc::posix_spawnattr_setsigmask(&raw mut attributes.0, &raw const none))?;
            check(libc::posix_spawnattr_setflags(&raw mut attributes.0, flags))?;
        }
        Ok(attributes)
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: initialised, and never used again.
        unsafe { libc::posix_spawnattr_destroy(&raw mut self.0) };
    }
}

/// These calls return the error instead of setting `errno`.
fn check(code: libc::c_int) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(code)) }
}
