//! The power may fail at any moment: commands are recorded as the disk sees them, and the disk is then found as it may be after
//! a cut between any two of its flushes. Each such state is mounted, checked, mended and run from.
//!
//! What a command has answered must hold, what it was at may have been done or not, and nothing is ever damaged: a cut leaves leftovers
//! and nothing else.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use onggi_testkit::{Compression, ImageArchive, RecordedDisk, Recording, Survival, TestEnv, write_image};
use serde_json::json;

const PROGRAM: &str = env!("CARGO_BIN_EXE_onggi");
const MEBIBYTES: u64 = 64;
/// How many states are tried, and with `ONGGI_TEST_FULL`.
const STATES: (u64, u64) = (20, 500);

/// Something that a command makes or takes away.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Image(&'static str),
    Container(&'static str),
    Volume(&'static str),
}
use Thing::{Container, Image, Volume};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Effect {
    Makes(Thing),
    Removes(Thing),
    Nothing,
}
use Effect::{Makes, Nothing, Removes};

/// A command, and between which writes and flushes it ran.
#[derive(Debug)]
struct Done {
    words: Vec<String>,
    effect: Effect,
    begin: usize,
    end: usize,
}

/// The commands, recorded. `options` are those that the file system is mounted with.
fn record(options: &str) -> (Recording, Vec<Done>) {
    let disk = RecordedDisk::new(MEBIBYTES);
    let onggi = TestEnv::on_image(PROGRAM, &disk.path(), options);
    let layered = layered(&onggi, "layered:1");
    let busybox = onggi_testkit::image("busybox").display().to_string();
    let work: &[(&[&str], Effect)] = &[
        (&["import", &busybox, "plain"], Makes(Image("plain"))),
        (&["load", "-i", &layered], Makes(Image("layered:1"))),
        (&["tag", "plain", "alias"], Makes(Image("alias"))),
        (&["volume", "create", "shelf"], Makes(Volume("shelf"))),
        (
            &["run", "--name", "jar", "-v", "shelf:/shelf", "plain", "sh", "-c", "echo kept > /shelf/file"],
            Makes(Container("jar")),
        ),
        (&["run", "--rm", "layered:1", "true"], Nothing),
        (&["create", "--name", "idle", "layered:1", "true"], Makes(Container("idle"))),
        (&["rm", "idle"], Removes(Container("idle"))),
        (&["rmi", "layered:1"], Removes(Image("layered:1"))),
        (&["load", "-q", "-i", &layered], Makes(Image("layered:1"))),
        (&["rmi", "alias"], Removes(Image("alias"))),
        (&["create", "--name", "late", "layered:1", "true"], Makes(Container("late"))),
        (&["rename", "jar", "pot"], Removes(Container("jar"))),
        (&["system", "check", "--repair"], Makes(Container("pot"))),
    ];
    let done = work.iter().map(|(words, effect)| {
        let begin = disk.now();
        onggi.ok(*words);
        let words = words.iter().map(|&word| word.to_owned()).collect();
        Done { words, effect: *effect, begin, end: disk.now() }
    });
    let done = done.collect();
    let recording = disk.recording();
    assert!(recording.flushes() > 50, "only {} flushes: nothing is synced", recording.flushes());
    (recording, done)
}

/// An archive of an image of two layers, the upper of which only implies a directory of the lower: so it needs a variant.
fn layered(onggi: &TestEnv, name: &str) -> String {
    let tree = onggi.file("tree");
    fs::create_dir_all(tree.join("tmp")).expect("a directory");
    fs::write(tree.join("tmp/file"), "content\n").expect("a file");
    let tar = std::process::Command::new("tar")
        .args(["-c", "-C"])
        .arg(&tree)
        .arg("tmp/file")
        .output()
        .expect("tar is installed");
    let base = fs::read(onggi_testkit::image("busybox")).expect("the image");
    let image = ImageArchive::new(name, json!({"Cmd": ["cat", "/tmp/file"]})).layer(base).layer(tar.stdout);
    image.oci_archive(&onggi.file(""), Compression::Gzip, |_| {}).display().to_string()
}

/// One moment at which the power fails.
#[derive(Debug)]
struct Cut {
    after: usize,
    survival: Survival,
    chance: u64,
}

impl Cut {
    /// Spread evenly over the recording, the four ways of surviving in turn.
    fn number(number: u64, of: u64, recording: &Recording) -> Cut {
        let survival = [Survival::None, Survival::Writes, Survival::Sectors, Survival::All];
        let length = recording.len() as u64;
        Cut {
            after: usize::try_from((number + 1) * length / of).expect("a small number"),
            survival: survival[(number % 4) as usize],
            chance: number,
        }
    }

    /// Whether a thing must be there (or must not), by what had been answered when the power failed.
    fn expects(&self, thing: Thing, done: &[Done]) -> Option<bool> {
        let last = done.iter().rfind(|done| {
            done.begin < self.after && (done.effect == Makes(thing) || done.effect == Removes(thing))
        });
        last.filter(|done| done.end <= self.after).map(|done| done.effect == Makes(thing))
    }
}

fn survives(recording: &Recording, done: &[Done], options: &str, states: u64) {
    let image = Scratch::new();
    let mut failed = Vec::new();
    for number in 0..states {
        let cut = Cut::number(number, states, recording);
        write_image(&image.0, &recording.cut(cut.after, cut.survival, cut.chance)).expect("room for a disk");
        let onggi = TestEnv::on_image(PROGRAM, &image.0, options);
        if let Err(reason) = is_sound(&onggi, &cut, done) {
            let at = done.iter().rfind(|done| done.begin < cut.after).map(|done| done.words.join(" "));
            failed.push(format!("{cut:?} of {} ({at:?}): {reason}", recording.len()));
            // What it has left is no leak, and must not stand in the way of the reason.
            let _ = onggi.run(["system", "reset", "-f"]);
        }
    }
    assert!(failed.is_empty(), "{} of {states}:\n{}", failed.len(), failed.join("\n"));
}

/// After a cut: everything that had been answered is there, nothing is damaged, and all of it works.
fn is_sound(onggi: &TestEnv, cut: &Cut, done: &[Done]) -> Result<(), String> {
    let run = |words: &[&str]| {
        let output = onggi.run(words);
        if output.code == 0 { Ok(output.stdout) } else { Err(output.to_string()) }
    };
    let looked = onggi.run(["system", "check"]);
    let damaged: Vec<_> = looked.stdout.lines().filter(|line| line.starts_with("  damaged")).collect();
    if !damaged.is_empty() {
        return Err(format!("damaged: {damaged:?}"));
    }
    let mended = run(&["system", "check", "--repair"])?;
    if onggi.data().join("lost").exists() {
        return Err(format!("something was set aside: {mended}"));
    }
    let again = run(&["system", "check"])?;
    if again.lines().count() != 1 {
        return Err(format!("not all was mended: {again}"));
    }
    let images = run(&["images", "--format", "{{.Repository}}:{{.Tag}}"])?;
    let containers = run(&["ps", "-a", "--format", "{{.Names}}"])?;
    let volumes = run(&["volume", "ls", "-q"])?;
    let things = done.iter().filter_map(|done| match done.effect {
        Makes(thing) => Some(thing),
        _ => None,
    });
    for thing in things {
        let is_there = match thing {
            Image(name) => images.lines().any(|line| line.trim_end_matches(":latest") == name),
            Container(name) => containers.lines().any(|line| line == name),
            Volume(name) => volumes.lines().any(|line| line == name),
        };
        if let Some(expected) = cut.expects(thing, done)
            && expected != is_there
        {
            return Err(format!("{thing:?} should be there: {expected}, is there: {is_there}"));
        }
    }
    // Also one that has lost its name, when the power failed in the middle of a removal.
    for image in run(&["images", "-q"])?.lines() {
        run(&["run", "--rm", image, "true"])?;
    }
    for container in containers.lines() {
        run(&["start", "-a", container])?;
        run(&["rm", container])?;
    }
    Ok(())
}

/// A file in memory, gone with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        Scratch(Path::new("/dev/shm").join(format!("onggi-power-{}", std::process::id())))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

fn states() -> u64 {
    // Each of two tests tries half of them.
    if onggi_testkit::full() { STATES.1 / 2 } else { STATES.0 / 2 }
}

#[test]
fn a_cut_leaves_a_journalled_disk_sound() {
    let (recording, done) = record("noatime");
    survives(&recording, &done, "noatime", states());
}

/// Data and metadata in no order but that of `fsync`, and renames that promise nothing.
#[test]
fn a_cut_leaves_a_disk_without_ordered_data_sound() {
    let options = "noatime,data=writeback,noauto_da_alloc";
    let (recording, done) = record(options);
    survives(&recording, &done, options, states());
}
