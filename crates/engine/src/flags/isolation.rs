//! The texts of `--pid`, `--ipc`, `--uts`, `--cgroupns` and `--security-opt`: what of the host a container shares, and what holds it.

use super::boolean;
use crate::request::{IpcMode, PidMode, SeccompChoice, Security, UtsMode};

/// `--pid`.
///
/// # Errors
/// An unknown mode.
pub fn pid_mode(text: &str) -> Result<PidMode, String> {
    match text {
        "" | "private" => Ok(PidMode::Private),
        "host" => Ok(PidMode::Host),
        _ => container_of(text)
            .map(PidMode::Container)
            .ok_or_else(|| format!("--pid: invalid PID mode: {text}")),
    }
}

/// `--ipc`.
///
/// # Errors
/// An unknown mode.
pub fn ipc_mode(text: &str) -> Result<IpcMode, String> {
    match text {
        "" | "private" => Ok(IpcMode::Private),
        "shareable" => Ok(IpcMode::Shareable),
        "none" => Ok(IpcMode::None),
        "host" => Ok(IpcMode::Host),
        _ => container_of(text)
            .map(IpcMode::Container)
            .ok_or_else(|| format!("--ipc: invalid IPC mode: {text}")),
    }
}

/// `--uts`.
///
/// # Errors
/// An unknown mode.
pub fn uts_mode(text: &str) -> Result<UtsMode, String> {
    match text {
        "" | "private" => Ok(UtsMode::Private),
        "host" => Ok(UtsMode::Host),
        _ => Err(format!("--uts: invalid UTS mode: {text}")),
    }
}

/// `--cgroupns`: whether it is the host's.
///
/// # Errors
/// An unknown mode.
pub fn cgroup_namespace(text: &str) -> Result<bool, String> {
    match text {
        "" | "private" => Ok(false),
        "host" => Ok(true),
        _ => Err(format!("invalid cgroup namespace mode: {text}: write private or host")),
    }
}

/// One `--security-opt`, added to those before. `read_profile` gives the content of a file that `seccomp=FILE` names.
///
/// # Errors
/// What is unknown or not built; what reading the profile says.
pub fn security_option(
    text: &str,
    security: &mut Security,
    read_profile: impl FnOnce(&str) -> Result<String, String>,
) -> Result<(), String> {
    let (key, value) = match text.split_once('=').or_else(|| text.split_once(':')) {
        Some((key, value)) => (key, Some(value)),
        None => (text, None),
    };
    match (key, value) {
        ("no-new-privileges", value) => security.no_new_privileges = value.map_or(Ok(true), boolean)?,
        ("seccomp", Some("unconfined")) => security.seccomp = SeccompChoice::Unconfined,
        ("seccomp", Some("default" | "builtin")) => security.seccomp = SeccompChoice::Default,
        ("seccomp", Some(file)) => {
            let content = read_profile(file)?;
            let profile =
                serde_json::from_str(&content).map_err(|error| format!("seccomp profile {file}: {error}"))?;
            security.seccomp = SeccompChoice::Profile(profile);
        }
        ("unmask", Some(paths)) => security.unmask.extend(paths.split(':').map(str::to_owned)),
        ("systempaths", Some("unconfined")) => security.unconfined_paths = true,
        // There is nothing to switch off: no label and no profile is applied.
        ("label", Some("disable")) | ("apparmor", Some("unconfined")) => {}
        ("label", _) => {
            return Err("SELinux labels are not built yet (label=disable is what holds)".to_owned());
        }
        ("apparmor", _) => {
            return Err("AppArmor profiles are not built yet (apparmor=unconfined is what holds)".to_owned());
        }
        _ => return Err(format!("invalid --security-opt: \"{text}\"")),
    }
    Ok(())
}

fn container_of(text: &str) -> Option<String> {
    text.strip_prefix("container:").filter(|name| !name.is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn security_options_add_up() {
        let mut security = Security::default();
        let no_file = |_: &str| Err("no such file".to_owned());
        for text in
            ["no-new-privileges", "seccomp=unconfined", "unmask=/proc/acpi:/sys/firmware", "label=disable"]
        {
            security_option(text, &mut security, no_file).unwrap();
        }
        assert!(security.no_new_privileges && security.seccomp == SeccompChoice::Unconfined);
        assert_eq!(security.unmask, ["/proc/acpi", "/sys/firmware"]);
        for text in ["label=type:x", "apparmor=docker-default", "seccomp=/none", "colour"] {
            assert!(security_option(text, &mut security, no_file).is_err(), "{text}");
        }
        security_option("seccomp=f", &mut security, |_| Ok("{\"defaultAction\":\"SCMP_ACT_ALLOW\"}".into()))
            .unwrap();
        assert!(matches!(security.seccomp, SeccompChoice::Profile(_)));
    }
}
