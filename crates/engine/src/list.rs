//! `ps`: the index's rows, each with its state, filtered. It reads one small file for each container and no record, so that
//! hundreds cost milliseconds.

use std::collections::BTreeSet;

use onggi_monitor::clock::Moment;
use onggi_monitor::state::State;
use onggi_store::ContainerRow;

use crate::Engine;
use crate::container::status;
use crate::error::Error;
use crate::events::label_matches;
use crate::human;
use crate::id::ContainerId;
use crate::request::{Filters, ListOptions};
use crate::state::Status;
use crate::summary::{Row, Summary};

/// A container as filters see it.
struct Candidate {
    row: ContainerRow,
    id: ContainerId,
    row_summary: Row,
    state: State,
}

impl Engine {
    /// The containers, newest first.
    ///
    /// # Errors
    /// A filter that means nothing, an index that cannot be read.
    pub fn list(&self, options: &ListOptions) -> Result<Vec<Summary>, Error> {
        let filter = Filter::new(self, &options.filters)?;
        let all = options.all || options.last.is_some() || filter.chooses_states();
        let now = Moment::now().nanoseconds();
        let mut summaries = Vec::new();
        for row in self.rows()? {
            if options.last.is_some_and(|last| summaries.len() >= last) {
                break;
            }
            let Some(candidate) = self.candidate(row)? else { continue };
            let status = status(&candidate.state);
            if (!all && !status.is_live()) || !filter.wants(&candidate) {
                continue;
            }
            summaries.push(self.summary(candidate, now, options.size));
        }
        Ok(summaries)
    }

    /// The index's rows, after those are put back that a creation cut short, or an index made anew, lacks: a record without a row
    /// is a container, and what has no record is none.
    pub(crate) fn rows(&self) -> Result<Vec<ContainerRow>, Error> {
        let rows = self.store.containers()?;
        let known: BTreeSet<&str> = rows.iter().map(|row| row.id.as_str()).collect();
        // One that has lost its row, and its name with it, is shown all the same.
        let (mut changed, mut damaged) = (false, Vec::new());
        for name in crate::check::names(&self.paths.containers())? {
            let Ok(id) = name.parse::<ContainerId>() else { continue };
            if known.contains(name.as_str()) {
                continue;
            }
            // Whoever creates or removes it right now holds the lock.
            let Ok(Some(lock)) = self.try_lock(&id) else { continue };
            changed = true;
            match self.record(&id) {
                // What the disk has no room for is tried again next time.
                Ok(record) => drop(self.put_back(&record)),
                Err(Error::NoSuchContainer { .. }) => {
                    drop(lock);
                    let _ = self.clear_unborn(&name);
                }
                Err(_) => damaged.push(ContainerRow {
                    name: id.short().to_owned(),
                    id: name,
                    created: String::new(),
                    summary: serde_json::Value::Null,
                }),
            }
        }
        let mut rows = if changed { self.store.containers()? } else { rows };
        rows.extend(damaged);
        Ok(rows)
    }

    /// Gives a container that has a record its name, its lease and its row again.
    pub(crate) fn put_back(&self, record: &crate::record::Record) -> Result<(), Error> {
        // An image that was removed by force cannot be held any more; the layers are, by the record.
        let _ = self.store.lease(record.id.as_str(), &record.image);
        self.store.reserve_name(onggi_store::NameKind::Container, &record.name, record.id.as_str())?;
        Ok(self.store.insert_container(&crate::create::row(record))?)
    }

    /// The row with its state. One whose record is gone was being removed when somebody died: it is no container any more.
    fn candidate(&self, row: ContainerRow) -> Result<Option<Candidate>, Error> {
        let Ok(id) = row.id.parse::<ContainerId>() else { return Ok(None) };
        let state = match self.state(&id) {
            Ok(state) => state,
            Err(Error::NoSuchContainer { .. }) => {
                // What cannot be taken away on a full disk is no container all the same.
                let _ = self.clear_unborn(&row.id);
                return Ok(None);
            }
            Err(error) => {
                // A state that is damaged or cannot be brought up to date must not hide the other containers; `inspect` and `check` say what is wrong with this one.
                State {
                    status: onggi_monitor::state::Phase::Dead,
                    error: error.to_string(),
                    ..State::default()
                }
            }
        };
        if status(&state) == Status::Removing && self.finish_removal(&id) {
            return Ok(None);
        }
        let row_summary = match serde_json::from_value::<Row>(row.summary.clone()) {
            Ok(summary) => summary,
            // An index made anew has no summaries; the record gives it, once.
            Err(_) => {
                match self.record(&id) {
                    Ok(record) => {
                        // On a full disk it is made each time.
                        let _ = self.store.insert_container(&crate::create::row(&record));
                        Row::of(&record)
                    }
                    Err(Error::NoSuchContainer { .. }) => return Ok(None),
                    Err(_) => Row::damaged(),
                }
            }
        };
        let over = row_summary.remove && !status(&state).is_live();
        // The look at its state may have taken it away already.
        if over && (self.clear_ended(&id).unwrap_or(false) || !self.has_record(&id)) {
            return Ok(None);
        }
        Ok(Some(Candidate { row, id, row_summary, state }))
    }

    /// Goes on with a removal that was cut short. Answers whether the container is gone.
    fn finish_removal(&self, id: &ContainerId) -> bool {
        let Ok(Some(lock)) = self.try_lock(id) else { return false };
        match self.record(id) {
            Ok(record) => self.take_away(&record, lock, record.request.remove).is_ok(),
            Err(error) => matches!(error, Error::NoSuchContainer { .. }),
        }
    }

    fn summary(&self, candidate: Candidate, now: i64, size: bool) -> Summary {
        let Candidate { row, id, row_summary, state } = candidate;
        let status = status(&state);
        let ports = if status.is_live() { self.shown_ports(&id, &row_summary) } else { String::new() };
        let size_rw = size.then(|| crate::disk::content(&self.paths.container(&id).join("upper")));
        let size_root = size_rw.map(|own| {
            // An image that was removed by force counts nothing.
            own + self.store.resolve(&row_summary.image_id).map_or(0, |image| image.size)
        });
        Summary {
            name: row.name,
            created_unix: human::nanoseconds(&row.created).unwrap_or(0) / 1_000_000_000,
            created: row.created,
            image: row_summary.image,
            image_id: row_summary.image_id,
            command: row_summary.command,
            state: status,
            status: human::status(status, &state, now),
            exit_code: matches!(status, Status::Exited | Status::Dead).then_some(state.exit_code),
            labels: row_summary.labels,
            mounts: row_summary
                .mounts
                .into_iter()
                .map(|mount| mount.source)
                .filter(|source| !source.is_empty())
                .collect(),
            networks: row_summary.networks,
            ports,
            size_rw,
            size_root,
            id,
        }
    }
}

/// `--filter`, understood: what needs a look-up was looked up once.
struct Filter {
    filters: Filters,
    statuses: Vec<Status>,
    exit_codes: Vec<i32>,
    /// Images that count for `ancestor`.
    ancestors: BTreeSet<String>,
    /// Creation times.
    before: Option<String>,
    since: Option<String>,
}

impl Filter {
    fn new(engine: &Engine, filters: &Filters) -> Result<Filter, Error> {
        let invalid = |what: String| Error::Invalid { what };
        let mut filter = Filter {
            filters: filters.clone(),
            statuses: Vec::new(),
            exit_codes: Vec::new(),
            ancestors: BTreeSet::new(),
            before: None,
            since: None,
        };
        for (key, values) in filters {
            for value in values {
                match key.as_str() {
                    "id" | "name" | "label" | "volume" | "network" => {}
                    "status" => filter.statuses.push(
                        value.parse().map_err(|()| invalid(format!("invalid filter 'status={value}'")))?,
                    ),
                    "exited" => filter.exit_codes.push(
                        value.parse().map_err(|_| invalid(format!("invalid filter 'exited={value}'")))?,
                    ),
                    "ancestor" => filter.ancestors.extend(descendants(engine, value)?),
                    "before" => filter.before = Some(engine.record(&engine.resolve(value)?)?.created),
                    "since" => filter.since = Some(engine.record(&engine.resolve(value)?)?.created),
                    // No health check is run yet, and there are no tasks: every container is as `none` and `false` say.
                    "health" if matches!(value.as_str(), "none" | "starting" | "healthy" | "unhealthy") => {}
                    "is-task" if matches!(value.as_str(), "true" | "1" | "false" | "0") => {}
                    "health" | "is-task" => return Err(invalid(format!("invalid filter '{key}={value}'"))),
                    "publish" | "expose" | "isolation" => {
                        return Err(Error::NotBuilt { what: format!("the filter {key}") });
                    }
                    _ => return Err(invalid(format!("invalid filter '{key}'"))),
                }
            }
        }
        Ok(filter)
    }

    /// Docker: who asks for a state or an exit code wants to see those that do not run.
    fn chooses_states(&self) -> bool {
        !self.statuses.is_empty() || !self.exit_codes.is_empty()
    }

    fn wants(&self, it: &Candidate) -> bool {
        let status = status(&it.state);
        let in_time = |limit: &Option<String>, before: bool| match limit {
            None => true,
            Some(limit) => {
                let (own, limit) = (human::nanoseconds(&it.row.created), human::nanoseconds(limit));
                if before { own < limit } else { own > limit }
            }
        };
        in_time(&self.before, true)
            && in_time(&self.since, false)
            && (self.statuses.is_empty() || self.statuses.contains(&status))
            && (self.exit_codes.is_empty()
                || (status == Status::Exited && self.exit_codes.contains(&it.state.exit_code)))
            && self.filters.iter().all(|(key, values)| match key.as_str() {
                "label" => values.iter().all(|value| label_matches(&it.row_summary.labels, value)),
                "id" => values.iter().any(|value| it.id.as_str().starts_with(value.as_str())),
                "name" => values.iter().any(|value| name_matches(&it.row.name, value)),
                "ancestor" => self.ancestors.contains(&it.row_summary.image_id),
                "health" => values.iter().any(|value| value == "none"),
                "is-task" => values.iter().any(|value| matches!(value.as_str(), "false" | "0")),
                "network" => values.iter().any(|value| it.row_summary.networks.contains(value)),
                "volume" => values.iter().any(|value| {
                    it.row_summary
                        .mounts
                        .iter()
                        .any(|mount| mount.source == *value || mount.destination == *value)
                }),
                _ => true,
            })
    }
}

/// The image and those built on it: all whose layers begin with its own.
fn descendants(engine: &Engine, name: &str) -> Result<Vec<String>, Error> {
    let ancestor = match engine.store.resolve(name) {
        Ok(image) => image,
        // Nothing descends from an image that is not here.
        Err(onggi_store::Error::NoSuchImage { .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error.into()),
    };
    let images = engine.store.images()?;
    let ids = images
        .iter()
        .filter(|image| image.layers.starts_with(&ancestor.layers))
        .map(|image| image.id.to_string());
    Ok(ids.chain([ancestor.id.to_string()]).collect())
}

/// Docker takes a regular expression; a part of the name, with `^` and `$` for its ends, is what people write.
fn name_matches(name: &str, pattern: &str) -> bool {
    let (pattern, at_start) = match pattern.strip_prefix('^') {
        Some(rest) => (rest.strip_prefix('/').unwrap_or(rest), true),
        None => (pattern.strip_prefix('/').unwrap_or(pattern), false),
    };
    match (at_start, pattern.strip_suffix('$')) {
        (true, Some(whole)) => name == whole,
        (true, None) => name.starts_with(pattern),
        (false, Some(end)) => name.ends_with(end),
        (false, None) => name.contains(pattern),
    }
}

#[cfg(test)]
mod tests {
    use super::name_matches;

    #[test]
    fn names_by_part_and_ends() {
        for (pattern, matches) in [
            ("web", true),
            ("b-1", true),
            ("^web", true),
            ("^/web-1$", true),
            ("1$", true),
            ("^b", false),
            ("web$", false),
            ("", true),
        ] {
            assert_eq!(name_matches("web-1", pattern), matches, "{pattern}");
        }
    }
}
