//! `unified`: the kernel's own file names and values, written as they are.

use std::collections::BTreeMap;

use crate::Error;
use crate::plan::Limits;

pub(super) fn limits(limits: &mut Limits<'_>, files: &BTreeMap<String, String>) -> Result<(), Error> {
    for (file, value) in files {
        let bad =
            |reason: &str| Err(Error::BadLimit { limit: format!("unified {file:?}"), reason: reason.into() });
        let Some((controller, rest)) = file.split_once('.') else {
            return bad("the name of a file is <controller>.<what>");
        };
        if controller.is_empty() || rest.is_empty() || file.contains(['/', '\0']) {
            return bad("this is no name of a file in a cgroup");
        }
        if controller == "cgroup" && !matches!(rest, "max.descendants" | "max.depth" | "pressure") {
            return bad("files that move, freeze or kill processes are not limits");
        }
        if controller != "cgroup" && !limits.layout().has_controller(controller) {
            return bad("this host has no such cgroup controller");
        }
        // Files such as io.max take one line for each write.
        for line in value.lines().filter(|line| !line.trim().is_empty()) {
            limits.write_raw(0, file, line);
        }
    }
    Ok(())
}
