//! `pids`: how many processes and threads.

use onggi_oci::Pids;

use crate::Error;
use crate::plan::Limits;

pub(super) fn limits(limits: &mut Limits<'_>, pids: &Pids) -> Result<(), Error> {
    match pids.limit {
        None => Ok(()),
        Some(limit) => limits.write("pids limit", "pids", "pids.max", value(limit)),
    }
}

/// As both versions write it: a negative number is no limit, and 0 is 1 (specification 1.3), for a group without
/// processes is no container.
pub(crate) fn value(limit: i64) -> String {
    if limit < 0 { "max".into() } else { limit.max(1).to_string() }
}

#[cfg(test)]
mod tests {
    #[test]
    fn numbers_as_the_specification_reads_them() {
        assert_eq!([-1, 0, 1, 2048].map(super::value), ["max", "1", "1", "2048"]);
    }
}
