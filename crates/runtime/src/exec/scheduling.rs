//! Scheduler, processors and memory policy of the process that is to be the program.

use onggi_sys::schedule;

use super::StartError;
use super::problem::{Doing, Outcome, Problem};
use crate::plan::Scheduling;

pub(super) fn schedule(given: &Scheduling) -> Outcome {
    let &Scheduling { policy, flags, nice, priority, runtime, deadline, period } = given;
    let attributes = schedule::Attributes { policy, flags, nice, priority, runtime, deadline, period };
    match schedule::set_scheduler(&attributes) {
        // The kernel's word for a deadline on fewer processors than there are (sched_setattr(2)); the sentence is runc's.
        Err(error) if error.raw_os_error() == Some(EPERM) && is_limited() => Err(Problem {
            errno: EPERM,
            message: "process scheduler can't be used together with AllowedCPUs".to_owned(),
        }),
        other => other.doing(|| "error setting scheduler"),
    }
}

const EPERM: i32 = 1;

/// Whether this process may not run on every processor that is there.
fn is_limited() -> bool {
    let allowed: u32 = schedule::affinity().unwrap_or_default().iter().map(|word| word.count_ones()).sum();
    allowed < schedule::processors()
}

pub(super) fn set_memory_policy(mode: u32, nodes: &[u32]) -> Outcome {
    schedule::set_memory_policy(mode, nodes)
        .doing(|| format!("set_mempolicy {mode:#x} for the nodes {nodes:?}"))
}

pub(super) fn set_processors(allowed: Option<&[u32]>) -> Outcome {
    match allowed {
        None => schedule::reset_affinity().doing(|| "reset the CPU affinity"),
        Some(allowed) => {
            schedule::set_affinity(allowed).doing(|| format!("error setting final CPU affinity {allowed:?}"))
        }
    }
}

/// Starts something on these processors: a child begins on those that its parent may run on.
pub(super) fn on<T>(processors: Option<&[u32]>, start: impl FnOnce() -> T) -> Result<T, StartError> {
    let Some(processors) = processors else { return Ok(start()) };
    let fail = |call| move |error| StartError::System { call, error };
    let before = schedule::affinity().map_err(fail("sched_getaffinity"))?;
    schedule::set_affinity(processors).map_err(fail("error setting initial CPU affinity"))?;
    let started = start();
    // Nothing of the caller's work depends on it, and what was started is there.
    let _ = schedule::set_mask(&before);
    Ok(started)
}
