//! How the last exec sessions ended, for those who ask later.
//!
//! They lie in one block of memory: ids of their own, taken between what comes and goes with a session, would each keep a page of the heap.

use serde::{Deserialize, Serialize};

/// So many ends are remembered.
const MOST: usize = 32;

/// The oldest first.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(from = "Vec<(String, i32)>", into = "Vec<(String, i32)>")]
pub(super) struct EndedExecs {
    /// A line for each: its exit code and its id.
    lines: String,
}

impl EndedExecs {
    /// Remembers an end, in the place of the oldest if need be.
    pub(super) fn add(&mut self, id: &str, code: i32) {
        if self.lines.lines().count() >= MOST {
            let end = self.lines.find('\n').map_or(0, |end| end + 1);
            self.lines.drain(..end);
        }
        self.lines.push_str(&format!("{code} {id}\n"));
    }

    /// The exit code of the session, if it is remembered.
    pub(super) fn code(&self, id: &str) -> Option<i32> {
        self.each().find(|(ended, _)| *ended == id).map(|(_, code)| code)
    }

    fn each(&self) -> impl Iterator<Item = (&str, i32)> {
        self.lines.lines().filter_map(|line| {
            let (code, id) = line.split_once(' ')?;
            Some((id, code.parse().ok()?))
        })
    }
}

impl From<Vec<(String, i32)>> for EndedExecs {
    fn from(ends: Vec<(String, i32)>) -> EndedExecs {
        let mut ended = EndedExecs::default();
        ends.iter().for_each(|(id, code)| ended.add(id, *code));
        ended
    }
}

impl From<EndedExecs> for Vec<(String, i32)> {
    fn from(ended: EndedExecs) -> Vec<(String, i32)> {
        ended.each().map(|(id, code)| (id.to_owned(), code)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_ends_are_remembered_and_survive_a_snapshot() {
        let mut ended = EndedExecs::default();
        for number in 0..40 {
            ended.add(&format!("exec{number}"), number);
        }
        let text = serde_json::to_string(&ended).unwrap();
        assert!(text.starts_with(r#"[["exec8",8],["exec9",9]"#), "{text}");
        for ended in [ended, serde_json::from_str(&text).unwrap()] {
            assert_eq!(
                (ended.code("exec7"), ended.code("exec8"), ended.code("exec39")),
                (None, Some(8), Some(39))
            );
            assert_eq!(ended.code("exec"), None);
        }
    }
}
