//! Whether the machine grants the caller a namespace at all, for who only wants to know: nothing is made.

use std::fs;
use std::io;
use std::path::PathBuf;

use crate::Error;
use crate::ranges::{self, Ranges};

/// How many ids the caller may give to containers. `settings` are sysctls by name with what each says.
///
/// # Errors
/// The first thing that is missing: [`Error::NoRanges`], [`Error::Program`], [`Error::Forbidden`].
pub fn granted(settings: &[(&'static str, String)]) -> Result<u64, Error> {
    let user = rustix::process::geteuid().as_raw();
    let passwd = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ranges = Ranges::of_user(&ranges::etc(), user, ranges::name_of(&passwd, user).as_deref())?;
    for program in ["newuidmap", "newgidmap"] {
        if find(program).is_none() {
            return Err(Error::Program { program, source: io::ErrorKind::NotFound.into() });
        }
    }
    forbidden(settings)?;
    Ok(ranges.users.iter().map(|range| u64::from(range.count)).sum::<u64>() + 1)
}

pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|directory| directory.join(program)).find(|path| path.is_file())
}

/// A sysctl that leaves ordinary users without namespaces.
fn forbidden(settings: &[(&'static str, String)]) -> Result<(), Error> {
    let forbids = |name: &str, value: &str| match name {
        "kernel.apparmor_restrict_unprivileged_userns" => value != "0",
        _ => value == "0",
    };
    match settings.iter().find(|(name, value)| forbids(name, value)) {
        Some((name, value)) => Err(Error::Forbidden { name, value: value.clone() }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sysctl_that_forbids_is_named() {
        let of = |name, value: &str| {
            forbidden(&[("user.max_user_namespaces", "96365".into()), (name, value.into())])
        };
        assert!(of("kernel.unprivileged_userns_clone", "1").is_ok());
        assert!(of("kernel.apparmor_restrict_unprivileged_userns", "0").is_ok());
        let error = of("kernel.unprivileged_userns_clone", "0").unwrap_err();
        assert_eq!(
            error.to_string(),
            "kernel.unprivileged_userns_clone is 0: ordinary users may make no user namespace"
        );
        assert!(of("kernel.apparmor_restrict_unprivileged_userns", "1").is_err());
    }
}
