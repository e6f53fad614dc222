//! Reading the event log: what happened since, filtered, and what happens from now on.
//!
//! Commands and monitors append to `events/events.jsonl`, which is renamed to `events.jsonl.1` when it is full; a reader reads its file to
//! the end before it follows the name to the next.

use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use onggi_monitor::events::{Event, FILE, PREVIOUS_FILE, Writer};

use crate::Engine;
use crate::error::Error;
use crate::follow::{Lines, Watch, Woken};
use crate::request::{EventOptions, Filters};

impl Engine {
    /// Calls `each` with every event as Docker's JSON object, in order: from `since` (or from now) until `until` (or for ever). An error of `each` ends it and
    /// is answered.
    ///
    /// # Errors
    /// A filter that means nothing, or what `each` says.
    pub fn events(
        &self,
        options: &EventOptions,
        each: &mut dyn FnMut(serde_json::Value) -> io::Result<()>,
    ) -> Result<(), Error> {
        let each = &mut |event: &Event| each(serde_json::to_value(event)?);
        let filter = Filter::new(&options.filters)?;
        let directory = self.paths.events();
        read(&directory, options, &filter, each).map_err(Error::io("read the events in", directory))
    }

    /// Appends an event. An event that cannot be written must not undo what happened, so a failure is only told.
    pub(crate) fn tell(&self, kind: &str, action: &str, id: &str, attributes: BTreeMap<String, String>) {
        let Ok(directory) = File::open(self.paths.events()) else { return };
        // The act itself is done; a full disk shows in the next one.
        let _ = Writer::new(directory.into()).append(&Event::now(kind, action, id, attributes));
    }
}

fn read(
    directory: &Path,
    options: &EventOptions,
    filter: &Filter,
    each: &mut dyn FnMut(&Event) -> io::Result<()>,
) -> io::Result<()> {
    let now = || onggi_monitor::clock::Moment::now().nanoseconds();
    let since = options.since.unwrap_or_else(now);
    let follow = options.until.is_none_or(|until| until > now());
    let watch = if follow { Some(Watch::new(directory)?) } else { None };
    let mut inode = 0;
    let mut first = first_files(directory, options.since.is_some())?;
    loop {
        // Those first; then whatever the name leads to, as long as it is another one. A log that begins while we look may be
        // rotated before we see it.
        if first.is_empty() && inode == 0 {
            first = first_files(directory, true)?;
        }
        let file = match first.pop_front() {
            Some(file) => Some(file),
            None => open(&directory.join(FILE))?,
        };
        let mut lines = match file {
            Some(file) => {
                inode = file.metadata()?.ino();
                Some(Lines::new(file))
            }
            None => None,
        };
        loop {
            while let Some(line) = lines.as_mut().map_or(Ok(None), Lines::next)? {
                // A line that a crash cut short is no event.
                let Ok(event) = serde_json::from_slice::<Event>(line) else { continue };
                if event.time_nano < since || !filter.wants(&event) {
                    continue;
                }
                if options.until.is_some_and(|until| event.time_nano > until) {
                    return Ok(());
                }
                each(&event)?;
            }
            let current = match std::fs::metadata(directory.join(FILE)) {
                Ok(data) => data.ino(),
                Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
                Err(error) => return Err(error),
            };
            if current != 0 && (lines.is_none() || current != inode) {
                // Rotated away while we read: what was written last, then the new one.
                let unread = lines.as_ref().is_some_and(|lines| !at_end(lines.file()));
                if unread {
                    continue;
                }
                break;
            }
            let Some(watch) = &watch else { return Ok(()) };
            let left = options.until.map(|until| (until - now()).div_euclid(1_000_000) + 1);
            if left.is_some_and(|left| left <= 0) || watch.wait(None, left)? == Woken::TimedOut {
                return Ok(());
            }
        }
    }
}

/// The current file, and before it the previous one. In this order: a rotation in between shows the same file twice, and not none.
fn first_files(directory: &Path, previous: bool) -> io::Result<VecDeque<File>> {
    let mut files = VecDeque::from_iter(open(&directory.join(FILE))?);
    let previous = if previous { open(&directory.join(PREVIOUS_FILE))? } else { None };
    if let Some(previous) = previous {
        let inode = previous.metadata()?.ino();
        let known = files.front().map(File::metadata).transpose()?;
        if known.is_none_or(|known| known.ino() != inode) {
            files.push_front(previous);
        }
    }
    Ok(files)
}

fn at_end(file: &File) -> bool {
    let length = file.metadata().map_or(0, |data| data.len());
    rustix::fs::tell(file).is_ok_and(|position| position >= length)
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// `--filter`, understood.
struct Filter {
    filters: Filters,
}

impl Filter {
    fn new(filters: &Filters) -> Result<Filter, Error> {
        const KNOWN: [&str; 8] =
            ["container", "event", "image", "label", "scope", "type", "volume", "network"];
        if let Some(name) = filters.keys().find(|name| !KNOWN.contains(&name.as_str())) {
            return Err(Error::Invalid { what: format!("invalid filter '{name}'") });
        }
        Ok(Filter { filters: filters.clone() })
    }

    /// Several values of a key: one has to match (labels: all of them). Several keys: all have to.
    fn wants(&self, event: &Event) -> bool {
        let attributes = &event.actor.attributes;
        let name = |kind: &str, value: &str| {
            event.kind == kind
                && (event.actor.id.starts_with(value)
                    || attributes.get("name").is_some_and(|name| name == value))
        };
        self.filters.iter().all(|(key, values)| match key.as_str() {
            "label" => values.iter().all(|value| label_matches(attributes, value)),
            _ => values.iter().any(|value| match key.as_str() {
                "type" => event.kind == *value,
                "scope" => event.scope == *value,
                // `exec_create: sh` and its like are found by the word before the colon too.
                "event" => event.action == *value || event.action.split(':').next() == Some(value),
                "image" => {
                    event.actor.id == *value
                        || attributes.get("image").is_some_and(|image| same_image(image, value))
                }
                kind => name(kind, value),
            }),
        })
    }
}

/// `debian` means every tag of it.
fn same_image(image: &str, wanted: &str) -> bool {
    image == wanted || image.strip_prefix(wanted).is_some_and(|rest| rest.starts_with(':'))
}

/// `key` or `key=value`.
pub(crate) fn label_matches(labels: &BTreeMap<String, String>, wanted: &str) -> bool {
    match wanted.split_once('=') {
        Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
        None => labels.contains_key(wanted),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use onggi_monitor::clock::Moment;

    fn event(time: i64, kind: &str, action: &str, attributes: &[(&str, &str)]) -> Event {
        let attributes = attributes.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Event::at(Moment::from_nanoseconds(time), kind, action, "abcdef", attributes)
    }

    fn filter(pairs: &[(&str, &str)]) -> Filter {
        let mut filters = Filters::new();
        for (key, value) in pairs {
            filters.entry((*key).to_owned()).or_default().push((*value).to_owned());
        }
        Filter::new(&filters).map_err(|error| error.to_string()).unwrap()
    }

    #[test]
    fn filters() {
        let it =
            event(1, "container", "exec_create: ls", &[("image", "debian:12"), ("name", "box"), ("a", "b")]);
        for (pairs, wanted) in [
            (vec![], true),
            (vec![("type", "container")], true),
            (vec![("type", "image")], false),
            (vec![("type", "image"), ("type", "container")], true),
            (vec![("event", "exec_create")], true),
            (vec![("event", "exec")], false),
            (vec![("event", "exec_create: ls"), ("type", "image")], false),
            (vec![("container", "box")], true),
            (vec![("container", "abc")], true),
            (vec![("container", "other")], false),
            (vec![("volume", "box")], false),
            (vec![("image", "debian")], true),
            (vec![("image", "deb")], false),
            (vec![("label", "a=b"), ("label", "name")], true),
            (vec![("label", "a=b"), ("label", "c")], false),
        ] {
            assert_eq!(filter(&pairs).wants(&it), wanted, "{pairs:?}");
        }
        assert!(Filter::new(&Filters::from([("colour".into(), vec![])])).is_err());
    }

    #[test]
    fn both_files_in_order_and_within_the_times() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, times: std::ops::Range<i64>| {
            let lines: Vec<u8> =
                times.flat_map(|time| event(time, "container", "start", &[]).line()).collect();
            std::fs::write(directory.path().join(name), lines).unwrap();
        };
        write(PREVIOUS_FILE, 1..4);
        write(FILE, 4..9);
        let mut seen = Vec::new();
        let options = EventOptions { since: Some(2), until: Some(6), filters: Filters::new() };
        read(directory.path(), &options, &filter(&[]), &mut |event| {
            seen.push(event.time_nano);
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, [2, 3, 4, 5, 6]);
    }

    #[test]
    fn a_follower_hears_over_a_rotation() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let writer = std::thread::spawn({
            let path = path.clone();
            move || {
                let writer = Writer::new(File::open(&path).unwrap().into());
                for number in 0..5 {
                    writer
                        .append(&Event::now("container", &number.to_string(), "x", BTreeMap::new()))
                        .unwrap();
                    if number == 2 {
                        std::fs::rename(path.join(FILE), path.join(PREVIOUS_FILE)).unwrap();
                    }
                }
            }
        });
        let mut seen = Vec::new();
        let options = EventOptions { since: Some(1), ..EventOptions::default() };
        let error = read(&path, &options, &filter(&[]), &mut |event| {
            seen.push(event.action.clone());
            if event.action == "4" { Err(io::ErrorKind::BrokenPipe.into()) } else { Ok(()) }
        })
        .unwrap_err();
        writer.join().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::BrokenPipe);
        assert_eq!(seen, ["0", "1", "2", "3", "4"]);
    }
}
