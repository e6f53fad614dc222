//! The states of a container, and who may leave each: a pure table.
//!
//! While a monitor lives it alone writes the state; a command writes it before there is one (created), after it (removing, dead),
//! and, as reconciler, for a monitor that died.

use serde::{Deserialize, Serialize};

/// Docker's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// The record is written; no process has run yet.
    Created,
    Running,
    /// Every process is frozen.
    Paused,
    /// Ended, and its monitor waits to start it again.
    Restarting,
    /// Ended; what it wrote is kept.
    Exited,
    /// Somebody is taking it away.
    Removing,
    /// Could not be taken away whole; only another attempt to remove it is possible.
    Dead,
}

/// Who changes a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Actor {
    /// A command, with the container's lock, when no monitor lives.
    Command,
    /// The container's monitor, with the `alive` lock.
    Monitor,
    /// A command that found the monitor dead: both locks are its own.
    Reconciler,
}

impl Status {
    pub const ALL: [Status; 7] = [
        Status::Created,
        Status::Running,
        Status::Paused,
        Status::Restarting,
        Status::Exited,
        Status::Removing,
        Status::Dead,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Restarting => "restarting",
            Status::Exited => "exited",
            Status::Removing => "removing",
            Status::Dead => "dead",
        }
    }

    /// Whether a monitor should be alive for it.
    #[must_use]
    pub fn is_live(self) -> bool {
        matches!(self, Status::Running | Status::Paused | Status::Restarting)
    }

    /// Whether `actor` may change this state into `next`.
    #[must_use]
    pub fn may_become(self, next: Status, actor: Actor) -> bool {
        use Actor::{Command, Monitor, Reconciler};
        use Status::{Created, Dead, Exited, Paused, Removing, Restarting, Running};
        matches!(
            (self, next, actor),
            (Created | Exited | Restarting, Running, Monitor)
                | (Running, Paused, Monitor)
                | (Paused, Running, Monitor)
                | (Running, Restarting, Monitor)
                | (Running | Paused | Restarting, Exited, Monitor | Reconciler)
                // A start that failed after the monitor had begun leaves what was never running as it was.
                | (Created, Created, Monitor)
                | (Exited, Exited, Monitor)
                | (Created | Exited | Dead, Removing, Command)
                // Somebody died while removing.
                | (Removing, Removing, Command)
                | (Removing, Dead, Command)
        )
    }
}

impl std::fmt::Display for Status {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str(self.name())
    }
}

impl std::str::FromStr for Status {
    type Err = ();

    fn from_str(text: &str) -> Result<Status, ()> {
        Status::ALL.into_iter().find(|status| status.name() == text).ok_or(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One row a state: whoever may leave it, and where to.
    #[test]
    fn the_table() {
        let mut rows = Vec::new();
        for from in Status::ALL {
            let mut row = Vec::new();
            for to in Status::ALL {
                let actors: String = [(Actor::Command, 'c'), (Actor::Monitor, 'm'), (Actor::Reconciler, 'r')]
                    .into_iter()
                    .filter(|(actor, _)| from.may_become(to, *actor))
                    .map(|(_, letter)| letter)
                    .collect();
                if !actors.is_empty() {
                    row.push(format!("{to}:{actors}"));
                }
            }
            rows.push(format!("{from} → {}", row.join(" ")));
        }
        assert_eq!(
            rows,
            [
                "created → created:m running:m removing:c",
                "running → paused:m restarting:m exited:mr",
                "paused → running:m exited:mr",
                "restarting → running:m exited:mr",
                "exited → running:m exited:m removing:c",
                "removing → removing:c dead:c",
                "dead → removing:c",
            ]
        );
    }

    #[test]
    fn words_round_trip() {
        for status in Status::ALL {
            assert_eq!(status.name().parse(), Ok(status));
            assert_eq!(serde_json::to_string(&status).unwrap(), format!("\"{status}\""));
        }
    }
}
