//! `--device`, `--device-cgroup-rule` and `--sysctl`, with the sentences of Docker's client.

use crate::request::{DeviceRequest, DeviceRuleRequest};

/// `/dev/host[:/dev/container][:rwm]`.
///
/// # Errors
/// A path that is not absolute, access that is none.
pub fn device(text: &str) -> Result<DeviceRequest, String> {
    let parts: Vec<&str> = text.split(':').collect();
    let (host, container, access) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, access] if is_access(access) => (*host, *host, *access),
        [host, container] => (*host, *container, "rwm"),
        [host, container, access] if is_access(access) => (*host, *container, *access),
        [_, _, access] => return Err(format!("bad mode specified: {access}")),
        _ => return Err(format!("bad format for path: {text}")),
    };
    if let Some(path) = [host, container].into_iter().find(|path| !path.starts_with('/')) {
        return Err(format!("{path} is not an absolute path"));
    }
    if container.split('/').any(|part| part == "..") || container.trim_end_matches('/').is_empty() {
        return Err(format!("bad format for path: {container}"));
    }
    Ok(DeviceRequest { host: host.to_owned(), container: container.to_owned(), access: access.to_owned() })
}

/// `c 13:* rwm`: a kind (`a`, `b`, `c`), numbers or `*`, and the access that is allowed.
///
/// # Errors
/// Anything else.
pub fn device_rule(text: &str) -> Result<DeviceRuleRequest, String> {
    let invalid = || format!("invalid device cgroup format '{text}'");
    let (kind, rest) = text.split_once(' ').ok_or_else(invalid)?;
    let (numbers, access) = rest.split_once(' ').ok_or_else(invalid)?;
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    let number = |text: &str| match text {
        "*" => Ok(None),
        _ if text.bytes().all(|byte| byte.is_ascii_digit()) => {
            text.parse::<u32>().map(|number| Some(i64::from(number))).map_err(|_| invalid())
        }
        _ => Err(invalid()),
    };
    if !matches!(kind, "a" | "b" | "c") || !is_access(access) {
        return Err(invalid());
    }
    Ok(DeviceRuleRequest {
        kind: kind.to_owned(),
        major: number(major)?,
        minor: number(minor)?,
        access: access.to_owned(),
    })
}

fn is_access(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .enumerate()
            .all(|(at, byte)| b"rwm".contains(&byte) && !text.as_bytes()[..at].contains(&byte))
}

/// `KEY=value` of a parameter that belongs to a namespace; the others are the host's (docker/cli `opts.ValidateSysctl`).
///
/// # Errors
/// One that is the host's, or no value.
pub fn sysctl(text: &str) -> Result<(String, String), String> {
    const NAMES: [&str; 9] = [
        "kernel.msgmax",
        "kernel.msgmnb",
        "kernel.msgmni",
        "kernel.sem",
        "kernel.shmall",
        "kernel.shmmax",
        "kernel.shmmni",
        "kernel.shm_rmid_forced",
        "kernel.domainname",
    ];
    let (key, value) = text.split_once('=').ok_or_else(|| format!("sysctl '{text}' is not allowed"))?;
    let dotted = key.replace('/', ".");
    let own =
        NAMES.contains(&dotted.as_str()) || dotted.starts_with("net.") || dotted.starts_with("fs.mqueue.");
    if own { Ok((key.to_owned(), value.to_owned())) } else { Err(format!("sysctl '{text}' is not allowed")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices() {
        for (text, wanted) in [
            ("/dev/fuse", Ok(("/dev/fuse", "/dev/fuse", "rwm"))),
            ("/dev/fuse:r", Ok(("/dev/fuse", "/dev/fuse", "r"))),
            ("/dev/fuse:/dev/x", Ok(("/dev/fuse", "/dev/x", "rwm"))),
            ("/dev/fuse:/dev/x:mr", Ok(("/dev/fuse", "/dev/x", "mr"))),
            ("/dev/fuse:/dev/x:rz", Err("bad mode specified: rz")),
            ("/dev/fuse:/dev/x:rr", Err("bad mode specified: rr")),
            ("/dev/fuse:x:r", Err("x is not an absolute path")),
            ("rel", Err("rel is not an absolute path")),
            ("/dev/fuse:/dev/../etc", Err("bad format for path: /dev/../etc")),
            ("/a:/b:r:d", Err("bad format for path: /a:/b:r:d")),
        ] {
            let got = device(text);
            let got = got.as_ref().map(|d| (d.host.as_str(), d.container.as_str(), d.access.as_str()));
            assert_eq!(got.map_err(String::as_str), wanted, "{text}");
        }
    }

    #[test]
    fn rules() {
        let rule = device_rule("c 13:* rm").unwrap();
        assert_eq!(
            (rule.kind.as_str(), rule.major, rule.minor, rule.access.as_str()),
            ("c", Some(13), None, "rm")
        );
        for text in ["", "c 1:3", "x 1:3 r", "c 1 r", "c 1:3 x", "c -1:3 r", "c 1:3  r", "c 99999999999:1 r"]
        {
            assert!(device_rule(text).unwrap_err().contains("invalid device cgroup format"), "{text}");
        }
    }

    #[test]
    fn parameters_of_namespaces() {
        for (text, allowed) in [
            ("net.ipv4.ip_forward=1", true),
            ("net/ipv4/ip_forward=1", true),
            ("kernel.shmmax=4096", true),
            ("fs.mqueue.msg_max=8", true),
            ("kernel.hostname=x", false),
            ("vm.swappiness=1", false),
            ("net.core.somaxconn", false),
        ] {
            assert_eq!(sysctl(text).is_ok(), allowed, "{text}");
        }
    }
}
