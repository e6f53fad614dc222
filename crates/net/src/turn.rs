//! Whose turn it is at the table: many may add and take away elements at once, one makes it anew and then nobody else; and one monitor
//! of all sees to it that somebody does. Locks on two files of the run root, which end with their holder.
//!
//! Who makes the table anew reads the live files and sends what they come to. Elements that came or went in between would be lost, or come
//! back from the dead: so whoever changes elements does it in the same turn in which it changes the files that they follow from.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::Error;

/// Adding and taking away elements; waits until nobody makes the table anew.
///
/// # Errors
/// [`Error::File`].
pub fn change(run_root: &Path) -> Result<File, Error> {
    let (file, path) = open(run_root, REBUILD)?;
    onggi_sys::ofd::lock_shared(file.as_fd()).map_err(Error::file("lock", path))?;
    Ok(file)
}

/// Making the table anew; waits for everybody else.
///
/// # Errors
/// [`Error::File`].
pub fn rebuild(run_root: &Path) -> Result<File, Error> {
    let (file, path) = open(run_root, REBUILD)?;
    onggi_sys::ofd::lock(file.as_fd()).map_err(Error::file("lock", path))?;
    Ok(file)
}

/// Seeing to it that the table is made anew; `None` if another does that already.
///
/// # Errors
/// [`Error::File`].
pub fn watch(run_root: &Path) -> Result<Option<Watching>, Error> {
    let (file, path) = open(run_root, WATCH)?;
    let taken = onggi_sys::ofd::try_lock(file.as_fd()).map_err(Error::file("lock", path))?;
    Ok(taken.then_some(Watching { file }))
}

const REBUILD: &str = "rebuild.lock";
const WATCH: &str = "watch.lock";

fn open(run_root: &Path, name: &str) -> Result<(File, PathBuf), Error> {
    let path = run_root.join("networks").join(name);
    let file = onggi_sys::ofd::open(&path).map_err(Error::file("open", &path))?;
    Ok((file, path))
}

/// The turn of [`watch`], while it lives.
#[derive(Debug)]
pub struct Watching {
    file: File,
}

impl Watching {
    /// How long (nanoseconds) to wait before the table is made anew, `now` (monotonic nanoseconds) being the moment at which it was found
    /// missing. It is written down for who has the next turn: however many watch, somebody who deletes it again and again is outrun at
    /// one pace.
    pub fn pause(&self, now: u64) -> u64 {
        let mut bytes = [0; 16];
        // What cannot be read or written is as in the beginning: at once, and no worse than that.
        let before =
            self.file.read_exact_at(&mut bytes, 0).map_or_else(|_| Pace::default(), |()| Pace::parse(bytes));
        let pace = before.next(now);
        let _ = self.file.write_all_at(&pace.to_bytes(), 0);
        pace.pause
    }
}

/// When the table was last made anew, and after what pause; nanoseconds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Pace {
    at: u64,
    pause: u64,
}

/// The first pause, the longest, and how long it must have been quiet for the next time to be the first; nanoseconds. With the longest the table
/// is back within a second still, and who takes it away in a loop has one program of some milliseconds run each time.
const FIRST: u64 = 100_000_000;
const LONGEST: u64 = 800_000_000;
const QUIET: u64 = 30_000_000_000;

impl Pace {
    /// At once, unless that was done a moment ago; then after a pause that doubles.
    fn next(self, now: u64) -> Pace {
        let pause = match self {
            Pace { at: 0, .. } => 0,
            // `at` may lie ahead: that turn was given up before its pause was over.
            Pace { at, .. } if now.saturating_sub(at) > QUIET => 0,
            Pace { pause, .. } => (2 * pause).clamp(FIRST, LONGEST),
        };
        Pace { at: now.saturating_add(pause), pause }
    }

    fn parse(bytes: [u8; 16]) -> Pace {
        let bits = u128::from_ne_bytes(bytes);
        // A pause that nobody wrote is no reason to wait for ever.
        Pace { at: bits as u64, pause: ((bits >> 64) as u64).min(LONGEST) }
    }

    fn to_bytes(self) -> [u8; 16] {
        (u128::from(self.pause) << 64 | u128::from(self.at)).to_ne_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_at_once_and_the_next_ones_ever_later() {
        let mut pace = Pace::default();
        let mut now = 1_000_000_000_000;
        let mut pauses = Vec::new();
        for _ in 0..10 {
            pace = Pace::parse(pace.next(now).to_bytes());
            pauses.push(pace.pause / 1_000_000);
            now += pace.pause + 1_000_000;
        }
        assert_eq!(pauses, [0, 100, 200, 400, 800, 800, 800, 800, 800, 800]);
        assert_eq!(pace.next(now + QUIET + LONGEST).pause, 0);
    }

    #[test]
    fn turns_keep_each_other_out() {
        let run = tempfile::tempdir().unwrap();
        std::fs::create_dir(run.path().join("networks")).unwrap();
        let (one, other) = (change(run.path()).unwrap(), change(run.path()).unwrap());
        let (file, _) = open(run.path(), REBUILD).unwrap();
        assert!(!onggi_sys::ofd::try_lock(file.as_fd()).unwrap(), "elements are being changed");
        drop((one, other));
        let making = rebuild(run.path()).unwrap();
        assert!(!onggi_sys::ofd::try_lock(file.as_fd()).unwrap(), "the table is being made");
        let watching = watch(run.path()).unwrap().unwrap();
        assert!(watch(run.path()).unwrap().is_none());
        assert_eq!((watching.pause(5), watching.pause(6)), (0, FIRST));
        drop((making, watching));
        assert_eq!(watch(run.path()).unwrap().unwrap().pause(7), 2 * FIRST);
    }
}
