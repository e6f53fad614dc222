//! Apart from the unit tests, since a child holds the locks of its parent's descriptors until it has executed its program.

use std::io::Read;
use std::os::fd::AsFd;

use onggi_sys::spawn::detached;

#[test]
fn the_child_has_its_own_session_and_the_descriptor_as_its_third() {
    // What the test's own caller left open is not what is tried here.
    onggi_sys::process::cloexec_range(3, u32::MAX).unwrap();
    let (mut ours, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let script =
        c"{ ls /proc/self/fd | tr '\\n' ' '; cut -d' ' -f6 /proc/self/stat; readlink /proc/self/fd/0; } >&3";
    let pid =
        detached(c"/bin/sh", &[c"sh", c"-c", script], &[c"PATH=/usr/bin:/bin"], theirs.as_fd()).unwrap();
    drop(theirs);
    let mut said = String::new();
    ours.read_to_string(&mut said).unwrap();
    let pid_typed = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::waitpid(Some(pid_typed), rustix::process::WaitOptions::empty()).unwrap();
    // `ls` opens one more for the directory it lists; its standard output is the pipe to `tr`.
    assert_eq!(said, format!("0 1 2 3 4 {pid}\n/dev/null\n"));
}

#[test]
fn a_missing_program_is_named_by_its_errno() {
    let null = std::fs::File::open("/dev/null").unwrap();
    let error = detached(c"/nonexistent", &[c"x"], &[], null.as_fd()).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(2));
}
